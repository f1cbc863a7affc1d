//! Which addresses a receiver may have. What people put into settings can point inwards, by number, by name or by a
//! name that changes its mind, so every address is looked at after resolving and the connection goes to that address.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Resolves names and leaves out every address that is not public.
#[derive(Debug)]
pub(super) struct PublicOnly;

/// A name that leads only inwards.
#[derive(Debug)]
pub(super) struct Private {
    address: IpAddr,
}

impl fmt::Display for Private {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} is a private address; say allow_private = true if it is meant", self.address)
    }
}

impl Error for Private {}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> =
                found.iter().copied().filter(|address| is_public(address.ip())).collect();
            match (public.is_empty(), found.first()) {
                (true, Some(address)) => Err(Box::new(Private { address: address.ip() }).into()),
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

/// Checks an address that is written as a number; resolving never sees those.
pub(super) fn check_literal(host: &str) -> Result<(), Private> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) if !is_public(address) => Err(Private { address }),
        _ => Ok(()),
    }
}

/// Reachable from anywhere: neither this machine, this network, its provider, nor its metadata service.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// What the registry of RFC 6890 sets aside, multicast, and the reserved rest are not.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let inward = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (169, 254, _) // link-local, where clouds keep their metadata
            | (100, 64..=127, _) // shared by a provider's customers
    );
    let special = matches!(
        (a, b, c),
        (224.., _, _) // multicast, reserved, broadcast
            | (192, 0, 0 | 2) // protocol assignments, documentation
            | (198, 18 | 19, _) // benchmarks
            | (198, 51, 100) // documentation
            | (203, 0, 113) // documentation
    );
    !inward && !special
}

/// Only what is handed out as global unicast, less what hides an IPv4 address or is set aside in it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    if let [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] = parts {
        return is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    }
    let special = matches!(
        parts,
        [0x2001, 0..=0x01ff | 0x0db8, ..] // Teredo, ORCHID and other protocol assignments; documentation
            | [0x3fff, 0..=0x0fff, ..] // documentation
            | [0x2002, ..] // 6to4
    );
    parts[0] & 0xe000 == 0x2000 && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inward_addresses_are_not_public() {
        for text in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::127.0.0.1",
            "fec0::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn outward_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.0.1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_literal_is_checked_with_and_without_brackets() {
        assert!(check_literal("127.0.0.1").is_err());
        assert!(check_literal("[::1]").is_err());
        assert!(check_literal("1.1.1.1").is_ok());
        assert!(check_literal("hooks.example.com").is_ok());
    }

    #[tokio::test]
    async fn a_name_that_leads_inwards_is_refused_after_resolving() {
        let refused = PublicOnly.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert!(refused.to_string().contains("allow_private"), "{refused}");
    }
}
