//! The authority of a target: host and port (RFC 3986 §3.2, RFC 9110 §7.2).
//!
//! A host is parsed once into the one form in which hosts are compared. Never accepted: user
//! information, zone identifiers, percent-encoding, an empty host, an empty label.

use std::net::Ipv6Addr;

use crate::semantics::failure::Failure;

/// Bytes of the longest host that is taken: what the domain name system knows (RFC 1035 §2.3.4).
const LONGEST: usize = 255;

/// A host in its one comparable form: lower case, no trailing dot, an IPv6 literal in brackets
/// and in canonical text (RFC 5952).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Box<str>);

/// Host and optional port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, where one is written.
    pub port: Option<u16>,
}

impl Host {
    /// Parses a host without a port, as it stands in a configuration. Fails with 400.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        match text.strip_prefix('[') {
            Some(rest) => {
                let literal = rest.strip_suffix(']').ok_or_else(malformed)?;
                Self::ipv6(literal)
            }
            None => Self::name(text),
        }
    }

    /// The comparable text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands between the brackets. `IPvFuture` has no use, and a zone identifier has no
    /// meaning on another machine (RFC 9110 §4.2).
    fn ipv6(literal: &str) -> Result<Self, Failure> {
        let address: Ipv6Addr = literal.parse().map_err(|_| malformed())?;
        Ok(Self(format!("[{address}]").into()))
    }

    /// A registered name or an IPv4 address. Percent-encoding, which RFC 3986 would allow, stands
    /// for nothing in the domain name system.
    fn name(text: &str) -> Result<Self, Failure> {
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &[u8]| !label.is_empty() && label.iter().copied().all(is_name_byte);
        let name = text.strip_suffix('.').unwrap_or(text);
        if text.len() > LONGEST || !name.as_bytes().split(|&byte| byte == b'.').all(is_label) {
            return Err(malformed());
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl Authority {
    /// Parses `host[:port]`, the value of a `Host` field or the authority of an absolute-form
    /// target. Fails with 400 for anything outside the grammar, user information included.
    pub fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
        let (host, port) = split_port(text);
        let port = match port {
            // RFC 3986 §3.2.3: an empty port stands for the default one.
            None | Some("") => None,
            // Rust's own parser would take a sign.
            Some(digits) if digits.starts_with('+') => return Err(malformed()),
            Some(digits) => Some(digits.parse().map_err(|_| malformed())?),
        };
        Ok(Self {
            host: Host::parse(host)?,
            port,
        })
    }
}

/// Splits at the colon that is not within the brackets of an IPv6 literal.
fn split_port(text: &str) -> (&str, Option<&str>) {
    let after_literal = text.rfind(']').map_or(0, |bracket| bracket + 1);
    match text[after_literal..].split_once(':') {
        Some((name, port)) => (&text[..after_literal + name.len()], Some(port)),
        None => (text, None),
    }
}

fn malformed() -> Failure {
    Failure::bad_target("the host is malformed")
}

impl std::fmt::Display for Host {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<(String, Option<u16>)> {
        let authority = Authority::parse(text.as_bytes()).ok()?;
        Some((authority.host.to_string(), authority.port))
    }

    #[test]
    fn an_authority_has_one_comparable_form() {
        for (text, host, port) in [
            ("example.org", "example.org", None),
            ("EXAMPLE.Org.", "example.org", None),
            ("example.org:8080", "example.org", Some(8080)),
            ("example.org:00080", "example.org", Some(80)),
            ("example.org.:", "example.org", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:", "[::1]", None),
            ("[0:0:0:0:0:0:0:1]:8000", "[::1]", Some(8000)),
            ("[2001:DB8::A]", "[2001:db8::a]", None),
            ("[::ffff:7f00:1]", "[::ffff:127.0.0.1]", None),
            ("my_host", "my_host", None),
            ("xn--caf-dma.example", "xn--caf-dma.example", None),
        ] {
            assert_eq!(parse(text), Some((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        for text in [
            "",
            ".",
            "..",
            ":80",
            "[]",
            "a b",
            " a",
            "user@host",
            "@",
            "a:b",
            "a:1:2",
            "a:65536",
            "a:-1",
            "a:+1",
            "a: 1",
            "::1",
            "[::1",
            "::1]",
            "[[::1]]",
            "[::1]x",
            "[::1%25eth0]",
            "[v1.a]",
            "[127.0.0.1]",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a%41",
            "é",
            "a..b",
            "a..",
            ".a",
            "a\0",
            "a,b",
            "*.a",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(Authority::parse(b"\xff").ok(), None);
    }

    #[test]
    fn a_host_has_at_most_255_bytes() {
        assert!(Host::parse(&"a".repeat(255)).is_ok());
        assert!(Host::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn a_host_alone_has_no_port() {
        assert!(Host::parse("example.org:80").is_err());
        assert!(Host::parse("[::1]:80").is_err());
    }

    proptest! {
        #[test]
        fn parsing_is_stable(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(authority) = Authority::parse(&bytes) {
                let again = Host::parse(authority.host.as_str()).unwrap();
                prop_assert_eq!(again, authority.host);
            }
        }

        #[test]
        fn case_dot_and_port_do_not_matter(
            name in "[a-z0-9_-]{1,9}(\\.[a-z0-9_-]{1,9}){0,3}", port in any::<u16>()
        ) {
            let plain = Authority::parse(name.as_bytes()).unwrap();
            let written = format!("{}.:{port}", name.to_uppercase());
            let other = Authority::parse(written.as_bytes()).unwrap();
            prop_assert_eq!(plain.host, other.host);
            prop_assert_eq!(other.port, Some(port));
        }

        #[test]
        fn every_ipv6_address_has_one_literal(address in any::<[u16; 8]>()) {
            let address = Ipv6Addr::from(address);
            let full = address.segments().map(|segment| format!("{segment:04X}")).join(":");
            let host = Host::parse(&format!("[{full}]")).unwrap();
            prop_assert_eq!(host.to_string(), format!("[{address}]"));
        }
    }
}
