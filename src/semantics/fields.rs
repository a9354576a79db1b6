//! The grammar that field values share: lists (RFC 9110 §5.6.1), dates (§5.6.7), entity tags
//! (§8.8.3).
//!
//! Parsers here borrow from the field's value and allocate nothing. A value outside the grammar
//! never fails a request; what that means for the field is for its evaluation to say.

use std::time::SystemTime;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AsHeaderName, GetAll},
};

/// The value of a field that stands once. Nothing where it is absent or stands on several lines,
/// which no field that is not a list may do (RFC 9110 §5.3).
pub fn single(fields: &HeaderMap, name: impl AsHeaderName) -> Option<&HeaderValue> {
    let mut lines = fields.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// The date in a field that stands once, in any of the three formats.
pub fn date(fields: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    parse_date(single(fields, name)?)
}

/// Parses an HTTP-date.
pub fn parse_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// The members of a comma-separated list in which no member has a comma. Empty members, which
/// recipients must bear, are left out.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(trim)
        .filter(|member| !member.is_empty())
}

/// The greatest weight (RFC 9110 §12.4.2), which is also that of what has none.
pub const WHOLE: u16 = 1000;

/// A weight: `0`, `1`, or one of them with up to three decimals, in thousandths.
pub fn weight(value: &[u8]) -> Option<u16> {
    let (whole, decimals) = match value {
        [whole @ (b'0' | b'1')] => (whole, &b""[..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut thousandths = u16::from(whole - b'0') * WHOLE;
    for (digit, place) in decimals.iter().zip([100, 10, 1]) {
        thousandths += u16::try_from(char::from(*digit).to_digit(10)?).ok()? * place;
    }
    (thousandths <= WHOLE).then_some(thousandths)
}

/// Takes off optional white space (RFC 9110 §5.6.3).
fn trim(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !is_white_space(*byte);
    let start = value.iter().position(is_text).unwrap_or(value.len());
    let end = value.iter().rposition(is_text).map_or(start, |at| at + 1);
    &value[start..end]
}

fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// An entity tag as a client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedTag<'v> {
    /// Whether the tag is marked `W/`.
    pub weak: bool,
    /// The opaque tag with its quotes.
    pub opaque: &'v [u8],
}

impl<'v> ReceivedTag<'v> {
    /// Parses a value that is one entity tag.
    pub fn parse(value: &'v [u8]) -> Option<Self> {
        let (tag, rest) = Self::split(trim(value))?;
        rest.is_empty().then_some(tag)
    }

    /// The entity tag that a value begins with, and what follows it.
    fn split(value: &'v [u8]) -> Option<(Self, &'v [u8])> {
        let (weak, value) = match value.strip_prefix(b"W/") {
            Some(value) => (true, value),
            None => (false, value),
        };
        let content = value.strip_prefix(b"\"")?;
        let is_tag_byte = |byte: u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        let length = content.iter().position(|&byte| !is_tag_byte(byte))?;
        let rest = content[length..].strip_prefix(b"\"")?;
        let opaque = &value[..length + 2];
        Some((Self { weak, opaque }, rest))
    }
}

/// What If-Match and If-None-Match hold.
#[derive(Debug)]
pub enum EntityTags<'v> {
    /// `*`: any current representation.
    Any,
    /// A list, over one or more field lines.
    List(GetAll<'v, HeaderValue>),
}

impl<'v> EntityTags<'v> {
    /// What the field holds; nothing where it is absent.
    pub fn of(fields: &'v HeaderMap, name: &HeaderName) -> Option<Self> {
        if !fields.contains_key(name) {
            return None;
        }
        let is_any = |value: &HeaderValue| trim(value.as_bytes()) == b"*";
        Some(match single(fields, name) {
            Some(value) if is_any(value) => Self::Any,
            _ => Self::List(fields.get_all(name)),
        })
    }

    /// Whether the field is `*` or has a tag that fits. A line is read up to its first malformed
    /// member: a tag that is missed costs a full answer or a 412, never wrong content.
    pub fn fit(&self, fits: impl Fn(ReceivedTag<'v>) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::List(lines) => lines
                .iter()
                .flat_map(|line| Tags(line.as_bytes()))
                .any(fits),
        }
    }
}

/// The members of one line's list of entity tags. An opaque tag may contain commas, so the list
/// cannot be split before it is parsed.
struct Tags<'v>(&'v [u8]);

impl<'v> Iterator for Tags<'v> {
    type Item = ReceivedTag<'v>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = std::mem::take(&mut self.0);
        let is_filling = |byte: u8| byte == b',' || is_white_space(byte);
        let start = line.iter().position(|&byte| !is_filling(byte))?;
        let (tag, rest) = ReceivedTag::split(&line[start..])?;
        let rest = trim(rest);
        if !(rest.is_empty() || rest.starts_with(b",")) {
            return None;
        }
        self.0 = rest;
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use http::header::{DATE, IF_NONE_MATCH};
    use proptest::prelude::*;

    use super::*;

    fn fields(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| {
                (
                    name.clone(),
                    HeaderValue::from_bytes(line.as_bytes()).unwrap(),
                )
            })
            .collect()
    }

    fn tags(line: &str) -> Vec<String> {
        Tags(line.as_bytes())
            .map(|tag| {
                let weak = if tag.weak { "W/" } else { "" };
                format!("{weak}{}", String::from_utf8_lossy(tag.opaque))
            })
            .collect()
    }

    #[test]
    fn a_list_of_entity_tags_is_read_up_to_what_is_malformed() {
        for (line, expected) in [
            (r#""a""#, &[r#""a""#][..]),
            (r#"W/"a""#, &[r#"W/"a""#]),
            (r#""""#, &[r#""""#]),
            (r#""a","b" ,	W/"c" "#, &[r#""a""#, r#""b""#, r#"W/"c""#]),
            (r#", ,"a",,"b","#, &[r#""a""#, r#""b""#]),
            (r#""a,b", "c\""#, &[r#""a,b""#, r#""c\""#]),
            (r#""a", b, "c""#, &[r#""a""#]),
            (r#""a", *"#, &[r#""a""#]),
            (r#""a" "b""#, &[]),
            (r#""a"b"#, &[]),
            (r#"w/"a""#, &[]),
            (r#"W/ "a""#, &[]),
            (r#""a b""#, &[]),
            (r#""a"#, &[]),
            ("a", &[]),
            ("", &[]),
        ] {
            assert_eq!(tags(line), expected, "{line}");
        }
    }

    #[test]
    fn a_list_may_stand_on_several_lines() {
        let fields = fields(&IF_NONE_MATCH, &[r#"x, "a""#, r#""b""#]);
        let list = EntityTags::of(&fields, &IF_NONE_MATCH).unwrap();
        assert!(list.fit(|tag| tag.opaque == b"\"b\""));
        assert!(!list.fit(|tag| tag.opaque == b"\"a\""));
    }

    #[test]
    fn an_asterisk_stands_alone() {
        for (lines, expected) in [
            (&["*"][..], true),
            (&[" * "], true),
            (&["*", "*"], false),
            (&["*, \"a\""], false),
            (&["\"*\""], false),
        ] {
            let fields = fields(&IF_NONE_MATCH, lines);
            let tags = EntityTags::of(&fields, &IF_NONE_MATCH).unwrap();
            assert_eq!(tags.fit(|_| false), expected, "{lines:?}");
        }
        assert!(EntityTags::of(&HeaderMap::new(), &IF_NONE_MATCH).is_none());
    }

    #[test]
    fn a_date_has_three_formats_and_one_line() {
        let formats = [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ];
        let seconds = std::time::Duration::from_secs(784_111_777);
        for text in formats {
            let time = date(&fields(&DATE, &[text]), &DATE);
            assert_eq!(time, Some(SystemTime::UNIX_EPOCH + seconds), "{text}");
        }
        for lines in [
            &[][..],
            &["yesterday"],
            &[""],
            &["1994-11-06"],
            &[formats[0], formats[0]],
            &["Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT"],
            &["Sun, 06 Nov 1994 08:49:37 \u{e9}"],
        ] {
            assert_eq!(date(&fields(&DATE, lines), &DATE), None, "{lines:?}");
        }
    }

    #[test]
    fn members_of_a_list_are_trimmed_and_not_empty() {
        let members: Vec<_> = members(b" a,\tb ,, c d,").collect();
        assert_eq!(members, [&b"a"[..], b"b", b"c d"]);
    }

    proptest! {
        #[test]
        fn a_list_of_tags_has_the_tags(
            written in proptest::collection::vec("(W/)?\"[!#a,/-]{0,3}\"", 0..5)
        ) {
            prop_assert_eq!(tags(&written.join(" ,")), written);
        }

        #[test]
        fn parsing_never_panics(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Tags(&value).count() + members(&value).count();
            let _ = ReceivedTag::parse(&value);
        }
    }
}
