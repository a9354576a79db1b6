//! Hosts to sites: exact beats the longest wildcard beats `*`.
//!
//! A look-up costs one hash for the host and one for each of its parent domains, however many
//! sites there are. It never looks at a port: the authority's parser has taken it off.

use std::{collections::HashMap, fmt};

use crate::{semantics::authority::Host, site::SiteId, transport::Listen};

/// A host as a configuration writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `example.org`
    Exact(Host),
    /// `*.example.org`: every host below it, at any depth; the value is `.example.org`.
    Wildcard(Box<str>),
    /// `*`
    Any,
}

/// The look-up table over all sites of a snapshot.
#[derive(Debug, Default)]
pub struct Hosts {
    exact: HashMap<Host, Takers>,
    /// By what follows the asterisk, so with a leading dot.
    wildcard: HashMap<Box<str>, Takers>,
    any: Takers,
}

/// The sites that share a pattern, each on its own listeners.
#[derive(Debug, Default)]
struct Takers(Vec<Taker>);

#[derive(Debug)]
struct Taker {
    /// Empty: every listener.
    listen: Vec<Listen>,
    site: SiteId,
}

impl Hosts {
    /// The table of these patterns. A site with listeners takes only what comes in by them. Where
    /// two sites take the same pattern on the same listener, the one that names the listener wins,
    /// then the first.
    pub fn new(entries: impl IntoIterator<Item = (HostPattern, Vec<Listen>, SiteId)>) -> Self {
        let mut hosts = Self::default();
        for (pattern, listen, site) in entries {
            let takers = match pattern {
                HostPattern::Exact(host) => hosts.exact.entry(host).or_default(),
                HostPattern::Wildcard(suffix) => hosts.wildcard.entry(suffix).or_default(),
                HostPattern::Any => &mut hosts.any,
            };
            takers.0.push(Taker { listen, site });
        }
        hosts
    }

    /// The site for a host on a listener. A request without a host is for `*`.
    pub fn find(&self, listener: &Listen, host: Option<&Host>) -> Option<SiteId> {
        host.and_then(|host| self.named(listener, host))
            .or_else(|| self.any.on(listener))
    }

    /// The patterns that each of so many sites takes, in the order of the alphabet.
    pub fn by_site(&self, sites: usize) -> Vec<Vec<String>> {
        let exact = self
            .exact
            .iter()
            .map(|(host, takers)| (host.to_string(), takers));
        let wildcard = self.wildcard.iter();
        let wildcard = wildcard.map(|(suffix, takers)| (format!("*{suffix}"), takers));
        let any = [("*".to_owned(), &self.any)];
        let all = exact.chain(wildcard).chain(any);
        let mut patterns = vec![Vec::new(); sites];
        for (pattern, takers) in all {
            for taker in &takers.0 {
                patterns[taker.site.0].push(pattern.clone());
            }
        }
        for own in &mut patterns {
            own.sort();
            // One that stands twice, or for each of several listeners.
            own.dedup();
        }
        patterns
    }

    fn named(&self, listener: &Listen, host: &Host) -> Option<SiteId> {
        let exact = self.exact.get(host);
        let name = host.as_str();
        // The leftmost dot begins the longest parent domain.
        let parents = name.match_indices('.').map(|(dot, _)| &name[dot..]);
        let wildcards = parents.filter_map(|parent| self.wildcard.get(parent));
        exact
            .into_iter()
            .chain(wildcards)
            .find_map(|takers| takers.on(listener))
    }
}

impl Takers {
    fn on(&self, listener: &Listen) -> Option<SiteId> {
        let named = self.0.iter().find(|taker| taker.listen.contains(listener));
        let everywhere = || self.0.iter().find(|taker| taker.listen.is_empty());
        named.or_else(everywhere).map(|taker| taker.site)
    }
}

impl HostPattern {
    /// Parses a host as a configuration writes it; the error is for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(domain) = text.strip_prefix("*.") {
            let domain = host(text, domain)?;
            if domain.as_str().starts_with('[') {
                return Err(format!("{text:?}: an address has no hosts below it"));
            }
            return Ok(Self::Wildcard(format!(".{domain}").into()));
        }
        if text.contains('*') {
            return Err(format!(
                "{text:?}: `*` can only be the whole first label, as in \"*.example.org\""
            ));
        }
        host(text, text).map(Self::Exact)
    }
}

/// Parses the host that `text` names, and points out the usual slips where there is none.
fn host(text: &str, name: &str) -> Result<Host, String> {
    Host::parse(name).map_err(|_| {
        let remedy = if name.is_empty() {
            "it is empty"
        } else if name.contains("//") {
            "write only the host, without scheme and path"
        } else if name.parse::<std::net::Ipv6Addr>().is_ok() {
            "an IPv6 address stands in brackets, as in \"[::1]\""
        } else if name.contains(':') {
            "a host has no port here; `listen` has"
        } else if !name.is_ascii() {
            "write the name as the domain name system has it (\"xn--...\")"
        } else {
            "a host has letters, digits, `-`, `_` and single dots, or is an address"
        };
        format!("{text:?} is not a host: {remedy}")
    })
}

impl fmt::Display for HostPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(out),
            Self::Wildcard(suffix) => write!(out, "*{suffix}"),
            Self::Any => out.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    fn listen(port: u16) -> Listen {
        Listen::Tcp(([127, 0, 0, 1], port).into())
    }

    fn table(entries: &[(&str, &[u16], usize)]) -> Hosts {
        Hosts::new(entries.iter().map(|&(text, ports, site)| {
            let ports = ports.iter().map(|&port| listen(port)).collect();
            (pattern(text), ports, SiteId(site))
        }))
    }

    fn find(hosts: &Hosts, port: u16, host: &str) -> Option<usize> {
        let host = (!host.is_empty()).then(|| Host::parse(host).unwrap());
        hosts.find(&listen(port), host.as_ref()).map(|site| site.0)
    }

    #[test]
    fn exact_beats_the_longest_wildcard_beats_any() {
        let hosts = table(&[
            ("*", &[], 0),
            ("*.example.org", &[], 1),
            ("*.b.example.org", &[], 2),
            ("a.b.example.org", &[], 3),
            ("[::1]", &[], 4),
            ("127.0.0.1", &[], 5),
        ]);
        for (host, site) in [
            ("", 0),
            ("example.org", 0),
            ("notexample.org", 0),
            ("x.example.org", 1),
            ("X.Example.ORG.", 1),
            ("x.y.example.org", 1),
            ("b.example.org", 1),
            ("x.b.example.org", 2),
            ("a.b.example.org", 3),
            ("[0::1]", 4),
            ("127.0.0.1", 5),
        ] {
            assert_eq!(find(&hosts, 80, host), Some(site), "{host}");
        }
    }

    #[test]
    fn a_host_that_no_site_takes_has_none() {
        let hosts = table(&[("a.org", &[], 0), ("*.b.org", &[], 1)]);
        for host in ["", "b.org", "org", "x.a.org"] {
            assert_eq!(find(&hosts, 80, host), None, "{host}");
        }
    }

    #[test]
    fn a_site_takes_only_its_listeners() {
        let hosts = table(&[
            ("a.org", &[81], 0),
            ("a.org", &[82, 83], 1),
            ("*.org", &[80], 2),
            ("*", &[], 3),
            ("*", &[84], 4),
        ]);
        for (port, host, site) in [
            (81, "a.org", 0),
            (82, "a.org", 1),
            (83, "a.org", 1),
            (80, "a.org", 2),
            (81, "b.org", 3),
            (84, "b.org", 4),
            (84, "", 4),
        ] {
            assert_eq!(find(&hosts, port, host), Some(site), "{host}:{port}");
        }
    }

    #[test]
    fn a_pattern_is_shown_as_it_compares() {
        for (text, shown) in [
            ("Example.org.", "example.org"),
            ("*.Example.org", "*.example.org"),
            ("*.org", "*.org"),
            ("*", "*"),
            ("[0::1]", "[::1]"),
        ] {
            assert_eq!(pattern(text).to_string(), shown);
            assert_eq!(pattern(shown), pattern(text));
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_with_a_remedy() {
        for (text, remedy) in [
            ("", "empty"),
            ("a.*.org", "first label"),
            ("*a.org", "first label"),
            ("**", "first label"),
            ("*.", "empty"),
            ("*.*.org", "is not a host"),
            ("http://a.org/", "without scheme"),
            ("a.org:80", "`listen`"),
            ("::1", "brackets"),
            ("*.[::1]", "below it"),
            ("caf\u{e9}.org", "xn--"),
            ("a b", "letters"),
        ] {
            let message = HostPattern::parse(text).unwrap_err();
            assert!(message.contains(remedy), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn finding_agrees_with_trying_every_pattern(
            patterns in proptest::collection::vec("(\\*\\.)?[ab](\\.[ab]){0,2}", 0..8),
            host in "[ab](\\.[ab]){0,3}",
        ) {
            let hosts = Hosts::new(
                patterns
                    .iter()
                    .enumerate()
                    .map(|(at, text)| (pattern(text), Vec::new(), SiteId(at))),
            );
            let best = patterns
                .iter()
                .enumerate()
                .filter(|(_, text)| match text.strip_prefix('*') {
                    Some(suffix) => host.ends_with(suffix),
                    None => host == **text,
                })
                .max_by_key(|(at, text)| {
                    (!text.starts_with('*'), text.len(), std::cmp::Reverse(*at))
                });
            prop_assert_eq!(find(&hosts, 80, &host), best.map(|(at, _)| at));
        }
    }
}
