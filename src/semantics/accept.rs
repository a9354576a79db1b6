//! Which media types a client wants (RFC 9110 §12.5.1).

use http::{HeaderMap, HeaderValue, header::ACCEPT};

use crate::semantics::fields::{self, WHOLE, weight};

/// Whether a client would rather have `other` than `usual`, both media types without parameters. A
/// client that does not say gets the usual.
pub fn prefers(fields: &HeaderMap, other: &str, usual: &str) -> bool {
    let of = |media_type| wanted(fields, media_type).unwrap_or(0);
    of(other) > of(usual)
}

/// The weight of a media type: that of the most specific range it is in. None where no range has it.
fn wanted(fields: &HeaderMap, media_type: &str) -> Option<u16> {
    let lines = fields.get_all(ACCEPT).iter().map(HeaderValue::as_bytes);
    let ranges = lines.flat_map(fields::members).filter_map(range);
    ranges
        .filter_map(|(range, weight)| Some((specificity(range, media_type)?, weight)))
        .max_by_key(|&(specificity, _)| specificity)
        .map(|(_, weight)| weight)
}

/// A media range without its parameters, and its weight.
fn range(text: &[u8]) -> Option<(&str, u16)> {
    let mut parts = text.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let range = std::str::from_utf8(parts.next()?).ok()?;
    let q = parts.find_map(|part| match part {
        [b'q' | b'Q', b'=', value @ ..] => Some(value),
        _ => None,
    });
    Some((range, q.map_or(Some(WHOLE), weight)?))
}

/// How closely a range names a media type; none where it does not have it.
fn specificity(range: &str, media_type: &str) -> Option<u8> {
    let kind = |text: &str| {
        text.split_once('/')
            .map(|(kind, _)| kind.to_ascii_lowercase())
    };
    match range.strip_suffix("/*") {
        _ if range.eq_ignore_ascii_case(media_type) => Some(2),
        Some("*") => Some(0),
        Some(whole) if kind(media_type) == Some(whole.to_ascii_lowercase()) => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_wants_the_other_more_gets_it() {
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                false,
            ),
            ("application/json", true),
            ("Application/JSON", true),
            ("application/*", true),
            ("application/json, */*", false),
            ("application/json, text/html", false),
            ("application/json, text/html;q=0.9", true),
            ("application/json, */*;q=0.1", true),
            ("application/json;q=0.5, text/*;q=0.6", false),
            ("application/json;q=0, */*;q=0", false),
            (
                "application/json;charset=utf-8;q=0.7, text/html;q=0.5",
                true,
            ),
            ("application/json;q=x", false),
            ("json", false),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(ACCEPT, HeaderValue::from_static(accept));
            let prefers = prefers(&fields, "application/json", "text/html");
            assert_eq!(prefers, expected, "{accept}");
        }
        assert!(!prefers(&HeaderMap::new(), "application/json", "text/html"));
    }
}
