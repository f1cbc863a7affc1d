//! A request left the network of its sender unencrypted.
//!
//! ## What it detects
//! A client span whose own URL or scheme says `http`, to a host that by its name or address is public.
//! ## Why it matters
//! Whoever carries the bytes can read them, keep them and change them: the request, its credentials, and the answer
//! that is trusted.
//! ## Example
//! ```trace
//! |============| billing  server  POST /invoices
//! | ========== |   billing  client  POST /v2/invoices  {url.full=http://api.partner.com/v2/invoices}  << call
//! ```
//! Credentials that go with it make it worse.
//! ```trace
//! |============| billing  server  POST /invoices
//! | ========== |   billing  client  POST /v2/invoices  {url.full=http://api.partner.com/v2/invoices, http.request.header.authorization="Bearer [authorization:0a1b2c3d]"}  << call
//! ```
//! A request that is only told to come back encrypted was still sent in the clear.
//! ```trace
//! |============| billing  server  GET /rates
//! | ====       |   billing  client  GET /rates  {url.full=http://api.rates.com/rates, http.response.status_code=301}  << call
//! |      ===== |   billing  client  GET /rates  {url.full=https://api.rates.com/rates}
//! ```
//! ## Not flagged
//! Hosts of the own network, where a mesh may encrypt what the application does not.
//! ```trace
//! |============================| shop  server  GET /page
//! | ======                     |   shop  client  GET /  {url.full=http://reviews:9080/}
//! |        ======              |   shop  client  GET /  {url.full=http://10.0.4.7/}
//! |               =====        |   shop  client  GET /  {url.full=http://users.prod.svc.cluster.local/}
//! |                     ====== |   shop  client  GET /  {url.full=http://localhost:8080/}
//! ```
//! A server that speaks plainly behind a balancer, whose client spoke TLS.
//! ```trace
//! |============| shop  client  GET /  {url.full=https://api.partner.com/}
//! |  ========  |   partner  server  GET /  {url.scheme=http}
//! ```
//! Development and test environments, and names that are reserved for examples.
//! ## Remedy
//! Write `https` where the address is configured, let the client refuse to follow a redirect back, and close the plain
//! port. Inside a cluster, make mutual TLS strict.
//! ## Blind spots
//! HTTP only. Spans of databases and brokers rarely say whether they use TLS, and a proxy that encrypts on its way out of
//! the cluster (an egress gateway) without a span of its own is not seen.

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, HostClass, Role, Trace, Unit};
use crate::rules::{Confidence, Cost, Evidence, Exposed, Harm, Occurrence, whole_ms as ms};

/// Names that no host on the Internet has (RFC 2606, RFC 6761).
const RESERVED: &[&str] =
    &["test", "example", "invalid", "localhost", "example.com", "example.net", "example.org"];

/// Where plain text is tolerated.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Hosts, and all below them, that may be spoken to in the clear.
    pub allowed_hosts: Vec<String>,
    /// Environments in which nothing is worth hiding.
    pub ignored_environments: Vec<String>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            enabled: true,
            allowed_hosts: Vec::new(),
            ignored_environments: vec!["development".to_owned(), "test".to_owned()],
        }
    }
}

/// Finds calls to public hosts in the clear.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    trace
        .units()
        .filter(|unit| !unit.is_self_defence())
        .filter(|unit| !limits.ignored_environments.contains(&unit.resource().environment))
        .flat_map(Unit::attempts)
        .filter_map(|attempt| Some((attempt, exposed_host(attempt, limits)?)))
        .map(|(attempt, host)| occurrence(attempt, host))
        .collect()
}

/// The public host that is spoken to in the clear.
fn exposed_host<'t>(attempt: Attempt<'t>, limits: &Thresholds) -> Option<&'t str> {
    let facts = attempt.facts();
    let plain = facts.role != Role::ConnectionPhase && facts.http.scheme.as_deref() == Some("http");
    let host = facts.host.as_deref().filter(|_| plain && facts.host_class == HostClass::Public)?;
    // A proxy on the way may well encrypt.
    let is_meshed = attempt.sides().any(|side| side.facts.proxy);
    let is_allowed =
        |known: &str| host == known || host.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
    let allowed =
        RESERVED.iter().copied().chain(limits.allowed_hosts.iter().map(String::as_str)).any(is_allowed);
    (!is_meshed && !allowed && !facts.self_defence).then_some(host)
}

fn occurrence(attempt: Attempt<'_>, host: &str) -> Occurrence {
    let credentials = attempt.sides().flat_map(|side| &side.facts.leaks).find(|leak| leak.is_sent());
    // 301, 308: the peer itself asks for another address; 302 and 307 may mean anything.
    let redirected = credentials.is_none() && matches!(attempt.facts().http.status, Some(301 | 308));
    let (variant, harm) = match credentials {
        Some(_) => ("with_credentials", Exposed::Account),
        None if redirected => ("upgrade_round_trip", Exposed::Redirected),
        None => ("plain", Exposed::Plain),
    };
    let with = credentials.map_or_else(String::new, |leak| format!(" with {}", leak.kind.replace('_', " ")));
    let path = attempt.facts().http.path.as_deref().unwrap_or_default();
    Occurrence {
        at: attempt.at(),
        variant,
        family: variant,
        group: host.to_owned(),
        headline: format!("speaks to {host} without encryption"),
        why: if redirected {
            let took = ms(attempt.duration_ns());
            format!("`http://{host}{path}` was sent in the clear and redirected after {took} ms")
        } else {
            format!("`http://{host}{path}` was sent in the clear{with} to a public host")
        },
        evidence: vec![Evidence::new(attempt.at(), "call", peer(attempt))],
        cost: Cost {
            exposed_calls: 1,
            time: if redirected {
                std::time::Duration::from_nanos(attempt.duration_ns().max(0) as u64)
            } else {
                std::time::Duration::ZERO
            },
            ..Cost::default()
        },
        harm: Harm::Exposed(harm),
        confidence: Confidence::Confirmed,
        not_visible: Vec::new(),
    }
}

fn peer(attempt: Attempt<'_>) -> String {
    attempt.facts().peer_ip.map_or_else(|| "scheme http".to_owned(), |ip| format!("scheme http, peer {ip}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(words: &str) -> Vec<Occurrence> {
        let drawing = format!(
            "|============| billing  server  POST /invoices\n| ========== |   billing  client  POST /v2  {{{words}}}\n"
        );
        let limits =
            Thresholds { allowed_hosts: vec!["old.partner.com".to_owned()], ..Thresholds::default() };
        inspect(&sketch::parse(&drawing).unwrap().trace(), &limits)
    }

    #[test]
    fn only_what_is_public_and_plain_is_exposed() {
        for (words, exposed) in [
            ("url.full=http://api.partner.com/v2", true),
            ("http.url=http://api.partner.com/v2", true),
            ("url.scheme=http, server.address=api.partner.com, url.path=/v2", true),
            ("url.full=http://93.184.216.34/v2", true),
            ("url.full=https://api.partner.com/v2", false),
            ("server.address=api.partner.com, url.path=/v2", false),
            ("url.full=http://192.168.1.4/v2", false),
            ("url.full=http://shop.example/v2", false),
            ("url.full=http://old.partner.com/v2", false),
            ("url.full=http://eu.old.partner.com/v2", false),
            ("url.full=http://threshold.partner.com/v2", true),
        ] {
            assert_eq!(found(words).len(), usize::from(exposed), "{words}");
        }
    }

    #[test]
    fn a_host_is_the_finding_and_a_redirect_weighs_less() {
        let [plain] = found("url.full=http://api.partner.com/v2").try_into().unwrap();
        assert_eq!((plain.group.as_str(), plain.harm), ("api.partner.com", Harm::Exposed(Exposed::Plain)));
        let [moved] =
            found("url.full=http://api.partner.com/v2, http.response.status_code=308").try_into().unwrap();
        assert_eq!((moved.variant, moved.harm), ("upgrade_round_trip", Harm::Exposed(Exposed::Redirected)));
        let header = r#"url.full=http://api.partner.com/v2, http.response.status_code=301, http.request.header.authorization="Bearer [authorization:0a1b2c3d]""#;
        let [known] = found(header).try_into().unwrap();
        assert_eq!((known.variant, known.harm), ("with_credentials", Harm::Exposed(Exposed::Account)));
        assert!(known.why.contains("in the clear with authorization"), "{}", known.why);
    }
}
