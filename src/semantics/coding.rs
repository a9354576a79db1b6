//! Content codings and which of them a client takes (RFC 9110 §8.4.1, §12.5.3).

use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};

use crate::semantics::fields::{self, WHOLE, weight};

/// A content coding that this server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstandard,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstandard, Self::Gzip];

    /// Its name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstandard => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The ending of a file's name that has this coding.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstandard => ".zst",
            Self::Gzip => ".gz",
        }
    }

    fn is(self, name: &[u8]) -> bool {
        let is_old_name = self == Self::Gzip && name.eq_ignore_ascii_case(b"x-gzip");
        is_old_name || name.eq_ignore_ascii_case(self.name().as_bytes())
    }
}

/// What a client takes: a weight from 0 (not at all) to 1000 for each coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acceptable {
    codings: [u16; 3],
    identity: u16,
}

/// The least weight: of content as it is, where a client does not speak of it. It is taken, but
/// everything that the client does speak of is better.
const LEAST: u16 = 1;

impl Acceptable {
    /// What the request's field says. Without the field this server leaves the content as it is; a
    /// member that is malformed is as if it were not there.
    pub fn of(fields: &HeaderMap) -> Self {
        let lines = fields.get_all(ACCEPT_ENCODING);
        Self::parse(lines.iter().map(HeaderValue::as_bytes))
    }

    /// The same of the lines of a field.
    pub fn parse<'v>(lines: impl Iterator<Item = &'v [u8]>) -> Self {
        let mut codings = [None; 3];
        let mut identity = None;
        let mut others = None;
        for (name, weight) in lines.flat_map(fields::members).filter_map(member) {
            let known = Coding::ALL.iter().position(|coding| coding.is(name));
            match known {
                Some(at) => codings[at] = Some(weight),
                None if name.eq_ignore_ascii_case(b"identity") => identity = Some(weight),
                None if name == b"*" => others = Some(weight),
                None => {}
            }
        }
        Self {
            codings: codings.map(|weight| weight.or(others).unwrap_or(0)),
            identity: match (identity, others) {
                (Some(weight), _) => weight,
                (None, Some(0)) => 0,
                (None, _) => LEAST,
            },
        }
    }

    /// The codings that are taken and no worse than the content as it is, the most wanted first,
    /// and among equals the best.
    pub fn ranked(&self) -> impl Iterator<Item = Coding> {
        let Self { codings, identity } = *self;
        let mut ranked = [0, 1, 2].map(|at| (Coding::ALL[at], codings[at]));
        ranked.sort_by_key(|&(_, weight)| std::cmp::Reverse(weight));
        ranked
            .into_iter()
            .filter(move |&(_, weight)| weight > 0 && weight >= identity)
            .map(|(coding, _)| coding)
    }

    /// Whether the client takes the content as it is.
    pub fn takes_identity(&self) -> bool {
        self.identity > 0
    }
}

/// A coding and its weight (RFC 9110 §12.4.2).
fn member(text: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = text.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = match (parts.next(), parts.next()) {
        (None, _) => WHOLE,
        (Some([b'q' | b'Q', b'=', value @ ..]), None) => weight(value)?,
        _ => return None,
    };
    Some((name, weight))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranked(value: &str) -> (Vec<&'static str>, bool) {
        let acceptable = Acceptable::parse(std::iter::once(value.as_bytes()));
        let names = acceptable.ranked().map(Coding::name).collect();
        (names, acceptable.takes_identity())
    }

    #[test]
    fn a_client_gets_what_it_takes() {
        for (value, expected, identity) in [
            ("", vec![], true),
            ("gzip", vec!["gzip"], true),
            ("gzip, deflate, br, zstd", vec!["br", "zstd", "gzip"], true),
            ("GZIP", vec!["gzip"], true),
            ("x-gzip", vec!["gzip"], true),
            ("*", vec!["br", "zstd", "gzip"], true),
            ("*;q=0", vec![], false),
            ("*;q=0, gzip", vec!["gzip"], false),
            ("br;q=0, *", vec!["zstd", "gzip"], true),
            (
                "br;q=0.5, gzip;q=0.8, zstd;q=0.001",
                vec!["gzip", "br", "zstd"],
                true,
            ),
            ("gzip;q=0", vec![], true),
            ("gzip;q=0.000", vec![], true),
            ("gzip;q=1.000", vec!["gzip"], true),
            ("identity", vec![], true),
            ("identity, gzip;q=0.5", vec![], true),
            ("identity;q=0.5, gzip;q=0.5, br;q=0.4", vec!["gzip"], true),
            ("identity;q=0", vec![], false),
            ("identity;q=0, gzip;q=0.1", vec!["gzip"], false),
            ("gzip ; q=0.5 , br ;Q=0.1", vec!["gzip", "br"], true),
            // Malformed members are as if they were not there.
            ("gzip;q=2", vec![], true),
            ("gzip;q=1.001", vec![], true),
            ("gzip;q=0.0001", vec![], true),
            ("gzip;q=-1", vec![], true),
            ("gzip;q=", vec![], true),
            ("gzip;level=9", vec![], true),
            ("gzip;q=1;q=0, br", vec!["br"], true),
            (",,; ,;q=1, br", vec!["br"], true),
            ("compress, deflate, exi", vec![], true),
        ] {
            assert_eq!(ranked(value), (expected, identity), "{value}");
        }
    }

    #[test]
    fn lines_add_up() {
        let lines = [&b"gzip;q=0.2"[..], b"br"];
        let names: Vec<_> = Acceptable::parse(lines.into_iter()).ranked().collect();
        assert_eq!(names, [Coding::Brotli, Coding::Gzip]);
        assert!(Acceptable::of(&HeaderMap::new()).takes_identity());
    }

    proptest! {
        #[test]
        fn a_weight_has_its_value(thousandths in 0_u16..=1000) {
            let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            prop_assert_eq!(weight(text.as_bytes()), Some(thousandths));
        }

        #[test]
        fn parsing_never_panics(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let acceptable = Acceptable::parse(std::iter::once(&value[..]));
            prop_assert!(acceptable.ranked().count() <= 3);
        }
    }
}
