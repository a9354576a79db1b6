//! Who may: sets of client addresses.
//!
//! An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) counts as the IPv4 address it carries, in a
//! list and in a client, so a dual-stack listener changes nothing. No name is ever looked up.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A set of networks such as `192.168.0.0/16` and `::1`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks(Vec<Network>);

/// The addresses that begin with the same bits (RFC 4632 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u32,
}

/// The bits before the IPv4 address in a mapped one.
const MAPPED: u32 = 96;

impl Networks {
    /// Whether the address belongs to one of the networks. `None` is a client on a Unix socket:
    /// it belongs where loopback does.
    pub fn contains(&self, address: Option<IpAddr>) -> bool {
        let has = |address: IpAddr| self.0.iter().any(|network| network.contains(address));
        match address {
            Some(address) => has(address.to_canonical()),
            None => has(Ipv4Addr::LOCALHOST.into()) || has(Ipv6Addr::LOCALHOST.into()),
        }
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl FromStr for Network {
    type Err = String;

    /// Parses an address or a network; the error is for the person who wrote the text.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, digits) = match text.split_once('/') {
            Some((address, digits)) => (address, Some(digits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| not_an_address(text, address))?;
        let prefix = prefix(address, digits).map_err(|reason| format!("{text:?}: {reason}"))?;
        let first = first(address, prefix);
        if first != address {
            return Err(format!(
                "{text:?} has bits beyond its prefix: write \"{first}/{prefix}\" for the network, \
                 or \"{address}\" for the one address"
            ));
        }
        let is_mapped = first.is_ipv6() && first.to_canonical().is_ipv4();
        Ok(Self {
            first: first.to_canonical(),
            // A mapped address has its last set bit at 96 or later, so its prefix is as long.
            prefix: if is_mapped { prefix - MAPPED } else { prefix },
        })
    }
}

impl Network {
    /// Takes a canonical address, as `first` is.
    fn contains(self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && first(address, self.prefix) == self.first
    }
}

/// The length of a prefix; without one, a network is a single address.
fn prefix(address: IpAddr, digits: Option<&str>) -> Result<u32, String> {
    let width = if address.is_ipv4() { 32 } else { 128 };
    let Some(digits) = digits else {
        return Ok(width);
    };
    // Rust's own parser would take a sign.
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .parse()
        .ok()
        .filter(|prefix| is_number && *prefix <= width)
        .ok_or_else(|| format!("after the slash stands the prefix's length, 0 to {width}"))
}

/// The first address of the network that has this address: all bits beyond the prefix are 0. The
/// prefix is not longer than the address.
fn first(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(u32::BITS - prefix).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(u128::BITS - prefix).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

fn not_an_address(text: &str, address: &str) -> String {
    let remedy = if address == "localhost" {
        "write \"127.0.0.1\" and \"::1\""
    } else if address.contains('*') {
        "write a network with the length of its prefix, as in \"192.168.0.0/16\""
    } else if address.contains(['[', ']']) {
        "write it without brackets"
    } else {
        "write an address (\"10.0.0.1\", \"::1\") or a network (\"192.168.0.0/16\"); names are not \
         looked up"
    };
    format!("{text:?} is not an address: {remedy}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(networks: &[&str]) -> Networks {
        networks.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn contains(networks: &[&str], address: &str) -> bool {
        parsed(networks).contains(Some(address.parse().unwrap()))
    }

    #[test]
    fn a_network_has_the_addresses_with_its_prefix() {
        for (network, address, expected) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("192.168.0.0/16", "192.168.255.255", true),
            ("192.168.0.0/16", "192.169.0.0", false),
            ("10.1.2.128/25", "10.1.2.127", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
            ("::1", "::1", true),
            ("fe80::/10", "febf::1", true),
            ("fe80::/10", "fec0::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
        ] {
            assert_eq!(
                contains(&[network], address),
                expected,
                "{network} {address}"
            );
        }
    }

    #[test]
    fn a_mapped_address_counts_as_ipv4() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::ffff:0:0/96", "1.2.3.4", true),
            ("::ffff:10.0.0.1", "10.0.0.2", false),
            ("::/0", "::ffff:10.0.0.1", false),
        ] {
            assert_eq!(
                contains(&[network], address),
                expected,
                "{network} {address}"
            );
        }
    }

    #[test]
    fn a_unix_client_belongs_where_loopback_does() {
        for (networks, expected) in [
            (&["127.0.0.0/8"][..], true),
            (&["10.0.0.0/8", "::1"], true),
            (&["0.0.0.0/0"], true),
            (&["10.0.0.0/8"], false),
            (&[], false),
        ] {
            assert_eq!(parsed(networks).contains(None), expected, "{networks:?}");
        }
    }

    #[test]
    fn an_error_names_the_remedy() {
        for (text, remedy) in [
            ("192.168.1.5/16", "\"192.168.0.0/16\""),
            ("192.168.1.5/16", "\"192.168.1.5\""),
            ("::1/64", "\"::/64\""),
            ("::ffff:0:0/90", "bits beyond"),
            ("10.0.0.0/33", "0 to 32"),
            ("::/129", "0 to 128"),
            ("10.0.0.0/", "0 to 32"),
            ("10.0.0.0/+8", "0 to 32"),
            ("10.0.0.0/8/8", "0 to 32"),
            ("localhost", "127.0.0.1"),
            ("192.168.*", "192.168.0.0/16"),
            ("[::1]", "without brackets"),
            ("example.org", "not looked up"),
            ("", "not looked up"),
        ] {
            let message = text.parse::<Network>().unwrap_err();
            assert!(message.contains(remedy), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn membership_is_the_equality_of_leading_bits(
            network in any::<u32>(), address in any::<u32>(), length in 0_u32..=32
        ) {
            let leading = |bits: u32| {
                (0..length).map(move |at| bits >> (31 - at) & 1).collect::<Vec<_>>()
            };
            let start = first(Ipv4Addr::from_bits(network).into(), length);
            let networks = parsed(&[&format!("{start}/{length}")]);
            let has = networks.contains(Some(Ipv4Addr::from_bits(address).into()));
            prop_assert_eq!(has, leading(network) == leading(address));
        }

        #[test]
        fn parsing_never_panics(text in "[0-9a-f:./]{0,24}") {
            let _ = text.parse::<Network>();
        }
    }
}
