//! Whom a span talked to: host, port, peer address, and where that host is.

use std::borrow::Cow;
use std::net::IpAddr;

use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::field::Field;
use super::url::{self, Url};
use crate::model::{HostClass, HostSource, Kind};

/// What the attributes of one span say of addresses.
#[derive(Default)]
pub(super) struct Names<'a> {
    server: Field<'a>,
    server_port: Field<'a>,
    peer_name: Field<'a>,
    peer_port: Field<'a>,
    own_name: Field<'a>,
    own_port: Field<'a>,
    http_host: Field<'a>,
    peer_address: Field<'a>,
    peer_service: Field<'a>,
}

/// Whom a span talked to.
#[derive(Default)]
pub(super) struct Target {
    pub(super) host: Option<String>,
    pub(super) source: HostSource,
    pub(super) port: Option<u16>,
    pub(super) class: HostClass,
    pub(super) peer_ip: Option<IpAddr>,
    pub(super) peer_service: Option<String>,
}

impl<'a> Names<'a> {
    /// Takes an attribute that names an address.
    pub(super) fn take(&mut self, key: &str, value: &'a Value) {
        match key {
            "server.address" => self.server.current(value),
            "server.port" => self.server_port.current(value),
            "net.peer.name" => self.peer_name.current(value),
            "net.peer.port" => self.peer_port.current(value),
            "net.host.name" => self.own_name.current(value),
            "net.host.port" => self.own_port.current(value),
            "http.host" => self.http_host.current(value),
            "http.server_name" => self.http_host.former(value),
            "tls.client.server_name" => self.http_host.ranked(2, value),
            "network.peer.address" => self.peer_address.current(value),
            "net.sock.peer.addr" => self.peer_address.former(value),
            "net.peer.ip" => self.peer_address.ranked(2, value),
            "peer.ipv4" | "peer.ipv6" => self.peer_address.ranked(3, value),
            "peer.address" => self.peer_address.ranked(4, value),
            "upstream_address" => self.peer_address.ranked(5, value),
            "peer.port" => self.peer_port.former(value),
            "service.peer.name" => self.peer_service.current(value),
            "peer.service" => self.peer_service.former(value),
            _ => {}
        }
    }

    /// Whom the span talked to. On server spans `net.peer.*` is the client, so it names no host there.
    pub(super) fn target(&self, kind: Kind, full: Option<&Url<'_>>) -> Target {
        let of_server = matches!(kind, Kind::Server | Kind::Consumer);
        let from_url = full.and_then(|url| url.host).filter(|_| !of_server);
        let named = |field: Field<'a>, source| field.text().map(|text| (text, source));
        let asked = from_url
            .map(|host| (Cow::Borrowed(host), HostSource::Url))
            .or_else(|| named(self.server, HostSource::ServerAddress));
        let asked = if of_server {
            asked
                .or_else(|| named(self.own_name, HostSource::ServerAddress))
                .or_else(|| named(self.http_host, HostSource::ServerAddress))
        } else {
            asked
                .or_else(|| named(self.peer_name, HostSource::PeerName))
                .or_else(|| named(self.http_host, HostSource::ServerAddress))
        };
        let (host, port_in_host, source) = match &asked {
            Some((text, source)) => {
                let (host, port) = url::split_port(text);
                (Some(host.trim_matches(['[', ']', '.']).to_ascii_lowercase()), port, *source)
            }
            None => (None, None, HostSource::None),
        };
        let host = host.filter(|host| !host.is_empty());
        let peer_ip = self.peer_address.text().and_then(|text| parse_ip(&text));
        let port = self
            .server_port
            .port()
            .or_else(|| if of_server { self.own_port.port() } else { self.peer_port.port() });
        Target {
            port: port.or_else(|| full.and_then(|url| url.port)).or(port_in_host),
            class: host.as_deref().map_or(HostClass::Unknown, |host| class(host, peer_ip)),
            source: if host.is_some() { source } else { HostSource::None },
            host,
            peer_ip,
            peer_service: self.peer_service.string(),
        }
    }
}

/// An address, also with a port behind it; host names, which some SDKs write here, are none.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().or_else(|_| url::split_port(text).0.parse()).ok()?;
    Some(address.to_canonical())
}

/// Parts of a cloud that are rented rather than somebody else's: their owners are the account's.
const RENTED: &[&str] = &[
    "amazonaws.com",
    "googleapis.com",
    "windows.net",
    "azure.com",
    "azure.net",
    "aliyuncs.com",
    "digitaloceanspaces.com",
    "cloudflarestorage.com",
];

/// The host is storage, a queue or a database that a cloud provider lets.
pub(super) fn is_rented(host: &str) -> bool {
    RENTED.iter().any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
}

/// Where a host is, as its name or address tells.
pub(super) fn class(host: &str, peer: Option<IpAddr>) -> HostClass {
    let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let own = match address {
        Some(address) => of_address(address),
        None => of_name(host),
    };
    let through_sidecar = peer.is_some_and(|peer| peer.is_loopback()) && own != HostClass::Loopback;
    if through_sidecar && own == HostClass::Private { HostClass::MeshLocal } else { own }
}

fn of_address(address: IpAddr) -> HostClass {
    match address {
        _ if address.is_loopback() => HostClass::Loopback,
        IpAddr::V4(v4) if v4.is_link_local() => HostClass::LinkLocal,
        IpAddr::V4(v4) if v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64) => {
            HostClass::Private
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => HostClass::LinkLocal,
        IpAddr::V6(v6) if v6.is_unique_local() => HostClass::Private,
        _ if address.is_unspecified() => HostClass::Loopback,
        _ => HostClass::Public,
    }
}

fn of_name(host: &str) -> HostClass {
    if host == "localhost" || host.ends_with(".localhost") {
        return HostClass::Loopback;
    }
    if host == "metadata.google.internal" {
        return HostClass::LinkLocal;
    }
    let suffixes = [".svc", ".cluster.local", ".internal", ".local", ".lan", ".consul"];
    let is_private = !host.contains('.') || suffixes.iter().any(|suffix| host.ends_with(suffix));
    if is_private { HostClass::Private } else { HostClass::Public }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_placed_by_name_and_address() {
        for (host, place) in [
            ("127.0.0.1", HostClass::Loopback),
            ("::1", HostClass::Loopback),
            ("localhost", HostClass::Loopback),
            ("169.254.169.254", HostClass::LinkLocal),
            ("fe80::1", HostClass::LinkLocal),
            ("metadata.google.internal", HostClass::LinkLocal),
            ("10.1.2.3", HostClass::Private),
            ("::ffff:10.1.2.3", HostClass::Private),
            ("100.64.0.1", HostClass::Private),
            ("100.128.0.1", HostClass::Public),
            ("fd00::1", HostClass::Private),
            ("cart", HostClass::Private),
            ("cart.shop.svc.cluster.local", HostClass::Private),
            ("pay.shop.internal", HostClass::Private),
            ("api.example.com", HostClass::Public),
            ("8.8.8.8", HostClass::Public),
        ] {
            assert_eq!(class(host, None), place, "{host}");
        }
    }

    #[test]
    fn what_a_cloud_lets_is_no_third_partys() {
        assert!(is_rented("bucket.s3.eu-west-1.amazonaws.com") && is_rented("storage.googleapis.com"));
        assert!(!is_rented("api.notamazonaws.com") && !is_rented("amazonaws.com.evil.com"));
    }

    #[test]
    fn a_loopback_peer_of_another_host_is_a_sidecar() {
        let sidecar = "127.0.0.6".parse().ok();
        assert_eq!(class("cart", sidecar), HostClass::MeshLocal);
        assert_eq!(class("localhost", sidecar), HostClass::Loopback);
    }

    #[test]
    fn only_addresses_are_addresses() {
        assert_eq!(parse_ip("::ffff:172.25.0.22"), "172.25.0.22".parse().ok());
        assert_eq!(parse_ip("172.25.0.20:8080"), "172.25.0.20".parse().ok());
        assert_eq!(parse_ip("payments.shop.internal"), None);
    }
}
