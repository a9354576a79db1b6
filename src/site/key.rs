//! Path keys: which paths a rule of the configuration is for.
//!
//! A key is decoded as a request's path is, so both compare as bytes. A directory's path without
//! its slash belongs to the directory's key: otherwise `/private` would escape a rule for
//! `/private/`. For the same reason an ending is looked for in every name below its prefix, not
//! only in the last: `*.php` covers `/x.php/info`, which runs or shows `x.php`.

use std::{cmp::Reverse, fmt};

use crate::semantics::target::{self, Path};

/// A path key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// `/a/b`: this path only.
    Exact(Box<[u8]>),
    /// `/a/`: this path, everything below, and `/a` itself; always ends with a slash.
    Prefix(Box<[u8]>),
    /// `*.php` or `/a/*.php`: paths with a name below the prefix that ends so.
    Ending {
        /// Always ends with a slash; `/` for a bare ending.
        prefix: Box<[u8]>,
        /// What follows the asterisk.
        ending: Box<[u8]>,
    },
}

impl Key {
    /// Parses a key as a configuration writes it; the error is for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let key = match text.split_once('*') {
            _ if text.contains(['?', '#']) => {
                Err("a key is only a path; in a name, write %3F for `?` and %23 for `#`".to_owned())
            }
            Some((prefix, ending)) => Self::parse_ending(prefix, ending),
            None if text.starts_with('/') => decoded(text).map(|path| {
                if path.ends_with(b"/") {
                    Self::Prefix(path)
                } else {
                    Self::Exact(path)
                }
            }),
            None => Err("it begins with `/`, or is an ending such as \"*.php\"".to_owned()),
        };
        key.map_err(|reason| format!("{text:?} is not a path key: {reason}"))
    }

    fn parse_ending(prefix: &str, ending: &str) -> Result<Self, String> {
        let prefix = if prefix.is_empty() { "/" } else { prefix };
        let is_directory = prefix.starts_with('/') && prefix.ends_with('/');
        if is_directory && ending.is_empty() {
            return Err(format!("write {prefix:?} for everything below"));
        }
        if !is_directory || ending.is_empty() || ending.contains(['*', '/']) {
            let reason = "`*` stands once, for the beginning of the last name (\"/a/*.php\")";
            return Err(reason.to_owned());
        }
        // An ending is decoded as what it is: the end of a name.
        let name = decoded(&format!("/x{ending}"))?;
        Ok(Self::Ending {
            prefix: decoded(prefix)?,
            ending: name[2..].into(),
        })
    }

    /// Whether the key is for this decoded path.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => path == &**exact,
            Self::Prefix(prefix) => below(prefix, path).is_some(),
            Self::Ending { prefix, ending } => below(prefix, path).is_some_and(|rest| {
                rest.split(|&byte| byte == b'/')
                    .any(|name| name.ends_with(ending))
            }),
        }
    }

    /// Whether every path that `other` matches is matched by `self`.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(path)) => self.matches(path),
            (Self::Exact(_), _) => false,
            // What matches the directory matches all below it.
            (_, Self::Prefix(directory)) => self.matches(directory),
            (
                Self::Ending { prefix, ending },
                Self::Ending {
                    prefix: directory,
                    ending: other,
                },
            ) => {
                self.matches(directory)
                    || (directory.starts_with(prefix) && other.ends_with(ending))
            }
            (
                Self::Prefix(prefix),
                Self::Ending {
                    prefix: directory, ..
                },
            ) => directory.starts_with(prefix),
        }
    }

    /// What keys are ordered by: the most specific is the least.
    pub fn rank(&self) -> impl Ord {
        let (group, prefix, ending) = match self {
            Self::Exact(path) => (0, &path[..], &b""[..]),
            Self::Prefix(prefix) => (1, &prefix[..], &b""[..]),
            Self::Ending { prefix, ending } => (1, &prefix[..], &ending[..]),
        };
        let lengths = (Reverse(prefix.len()), Reverse(ending.len()));
        (group, lengths, prefix, ending)
    }
}

fn decoded(text: &str) -> Result<Box<[u8]>, String> {
    let path = Path::parse(text).map_err(|failure| failure.to_string())?;
    Ok(path.as_bytes().into())
}

/// What a path has below a prefix, which ends with a slash. Nothing for the directory's own path,
/// with its slash and without.
fn below<'p>(prefix: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    match path.strip_prefix(prefix) {
        None if prefix.strip_suffix(b"/") == Some(path) => Some(b""),
        rest => rest,
    }
}

/// Writes the key so that it parses to itself.
impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = |bytes: &[u8]| target::encode(bytes).to_string().replace('*', "%2A");
        match self {
            Self::Exact(path) | Self::Prefix(path) => out.write_str(&encoded(path)),
            Self::Ending { prefix, ending } => {
                let prefix = if &**prefix == b"/" { &b""[..] } else { prefix };
                write!(out, "{}*{}", encoded(prefix), encoded(ending))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    #[test]
    fn a_key_is_decoded_as_a_path_is() {
        let ending = |prefix: &[u8], ending: &[u8]| Key::Ending {
            prefix: prefix.into(),
            ending: ending.into(),
        };
        for (text, expected) in [
            ("/", Key::Prefix((*b"/").into())),
            ("/a/b", Key::Exact((*b"/a/b").into())),
            ("/a/b/", Key::Prefix((*b"/a/b/").into())),
            ("//a///b/", Key::Prefix((*b"/a/b/").into())),
            ("/caf%C3%A9/", Key::Prefix("/caf\u{e9}/".as_bytes().into())),
            ("/caf\u{e9}/", Key::Prefix("/caf\u{e9}/".as_bytes().into())),
            ("/a%2A", Key::Exact((*b"/a*").into())),
            ("/a%3Fb", Key::Exact((*b"/a?b").into())),
            ("*.php", ending(b"/", b".php")),
            ("/*.php", ending(b"/", b".php")),
            ("/a/*.p%68p", ending(b"/a/", b".php")),
            ("*~", ending(b"/", b"~")),
        ] {
            assert_eq!(key(text), expected, "{text}");
            assert_eq!(key(&expected.to_string()), expected, "{expected}");
        }
    }

    #[test]
    fn what_is_no_key_is_told_with_a_remedy() {
        for (text, remedy) in [
            ("", "begins with `/`"),
            ("a/b", "begins with `/`"),
            ("http://a.org/", "begins with `/`"),
            ("*", "write \"/\""),
            ("/*", "write \"/\""),
            ("/a/*", "write \"/a/\""),
            ("/a*", "last name"),
            ("/a*.php", "last name"),
            ("a/*.php", "last name"),
            ("/*/b", "last name"),
            ("*.a*", "last name"),
            ("/a?b", "%3F"),
            ("/a#b", "%23"),
            ("/a/../b", "dot segment"),
            ("/%2e%2e/*.php", "dot segment"),
            ("/a%2Fb", "encoded slash"),
            ("*.%zz", "percent-encoding"),
        ] {
            let message = Key::parse(text).unwrap_err();
            assert!(message.contains(remedy), "{text}: {message}");
        }
    }

    #[test]
    fn a_key_matches_its_paths() {
        for (text, path, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/a/b", false),
            ("/a/", "/a", true),
            ("/a/", "/a/b/c", true),
            ("/a/", "/ab", false),
            ("/a/", "/", false),
            ("/", "/", true),
            ("/", "/a", true),
            ("*.php", "/x.php", true),
            ("*.php", "/a/x.php", true),
            ("*.php", "/x.php/info", true),
            ("*.php", "/x.php5", false),
            ("/a/*.php", "/x.php", false),
            ("/a.php/*.php", "/a.php/x", false),
            ("/a.php/*.php", "/a.php", false),
        ] {
            assert_eq!(
                key(text).matches(path.as_bytes()),
                expected,
                "{text} {path}"
            );
        }
    }

    #[test]
    fn a_key_covers_what_can_only_match_with_it() {
        for (text, other, expected) in [
            ("/", "*.php", true),
            ("/", "/a", true),
            ("/a/", "/a", true),
            ("/a/", "/a/*.php", true),
            ("/a/", "*.php", false),
            ("/a/", "/", false),
            ("/a", "/a/", false),
            ("/a", "/a", true),
            ("*.php", "/a/x.php", true),
            ("*.php", "/x.php/info", true),
            ("*.php", "/x.php/", true),
            ("*.php", "/x.php/*.html", true),
            ("*.php", "/a/", false),
            ("*.php", "/a/*.php", true),
            ("*.php", "*.inc.php", true),
            ("*.inc.php", "*.php", false),
            ("/a/*.php", "*.php", false),
        ] {
            assert_eq!(key(text).covers(&key(other)), expected, "{text} {other}");
        }
    }

    fn keys() -> impl Strategy<Value = Key> {
        "((/[ab]\\.x?){0,2}/)?(\\*(\\.x|x|\\.)|[ab]\\.x?)?"
            .prop_filter_map("not a key", |text| Key::parse(&text).ok())
    }

    proptest! {
        #[test]
        fn covering_is_matching_every_path(
            one in keys(), other in keys(), path in "(/[ab]\\.x?){0,3}/?"
        ) {
            let path = if path.is_empty() { "/" } else { &path };
            if one.covers(&other) && other.matches(path.as_bytes()) {
                prop_assert!(one.matches(path.as_bytes()), "{one} {other} {path}");
            }
            prop_assert!(one.covers(&one));
        }

        #[test]
        fn a_key_is_written_as_it_parses(text in "/?(\\PC|[/*.]|%[2-9a-f][0-9a-f]){0,16}") {
            if let Ok(parsed) = Key::parse(&text) {
                prop_assert_eq!(Key::parse(&parsed.to_string()), Ok(parsed));
            }
        }
    }
}
