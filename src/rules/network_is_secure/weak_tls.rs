//! A connection is encrypted, but by an obsolete protocol, to an unverified peer, or with a certificate about to expire.
//!
//! ## What it detects
//! The span of a TLS handshake, or of a call, that says that SSL or a TLS before 1.2 was agreed; that the peer's
//! certificate was not verified and the call was made all the same; or that the certificate ends within `min_days_left`, seen
//! from the time of the span.
//! ## Why it matters
//! Whoever stands between can break an obsolete protocol, and answer in the place of a peer that nobody verifies: the
//! encryption then hides nothing. A certificate that expires on a Sunday ends all calls at once.
//! ## Example
//! Verification was switched off.
//! ```trace
//! |============| kiosk  server  GET /parcel
//! | ========== |   kiosk  client  GET /v2/parcels  {url.full=https://api.initech-ship.com/v2/parcels}  << call
//! |  ===       |     kiosk  local  tls.connect  {tls.protocol=TLSv1.3, tls.authorized="false"}  << connection
//! |  =         |       kiosk  local  tcp.connect  {server.address=api.initech-ship.com, server.port=443}
//! ```
//! A protocol that was retired in 2021 (RFC 8996).
//! ```trace
//! |============| kiosk  server  GET /parcel
//! | ========== |   kiosk  client  GET /v2/parcels  {url.full=https://api.initech-ship.com/v2/parcels, tls.protocol.name=tls, tls.protocol.version="1.1"}  << call
//! ```
//! A certificate that ends in nine days.
//! ```trace
//! |============| kiosk  server  GET /parcel
//! | ========== |   kiosk  client  GET /v2/parcels  {url.full=https://api.initech-ship.com/v2/parcels}  << call
//! |  ===       |     kiosk  local  tls.connect  {tls.protocol=TLSv1.3, tls.authorized="true", tls.certificate.validTo="Jan 10 00:00:00 2026 GMT"}  << connection
//! ```
//! ## Not flagged
//! A verified connection of today, whose certificate lasts.
//! ```trace
//! |============| kiosk  server  GET /invoice
//! | ========== |   kiosk  client  GET /v2/invoices  {url.full=https://api.globex-billing.com/v2/invoices}
//! |  ===       |     kiosk  local  tls.connect  {tls.protocol=TLSv1.3, tls.authorized="true", tls.certificate.validTo="Mar 25 10:28:46 2026 GMT"}
//! ```
//! A peer on the same host, and a call that was not made because the certificate could not be verified.
//! ```trace
//! |==========================| kiosk  server  GET /parcel
//! | ==========               |   kiosk  client  GET /v2/parcels  {url.full=https://localhost:8443/v2/parcels}
//! |  ===                     |     kiosk  local  tls.connect  {tls.protocol=TLSv1.3, tls.authorized="false"}
//! |             ====x        |   kiosk  client  GET /v2/parcels  {url.full=https://api.initech-ship.com/v2/parcels, exception.type=DEPTH_ZERO_SELF_SIGNED_CERT}
//! |              ==x         |     kiosk  local  tls.connect  {tls.protocol=TLSv1.3, tls.authorized="false"}
//! ```
//! Development environments.
//! ## Remedy
//! Allow TLS 1.2 and later only, on both sides. Verify the chain and the host's name; give clients the private root
//! instead of switching verification off. Renew certificates by a job, and alarm on their end.
//! ## Blind spots
//! Few SDKs say anything of TLS: Node's instrumentation of `net` does, and .NET's of handshakes. Connections that were
//! opened before the trace began have no span in it. A client that compares a fingerprint of its own cannot be told from
//! one that verifies nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, HostClass, Kind, Outcome, Span, SpanIdx, Status, TlsFacts, Trace};
use crate::rules::{Confidence, Cost, Evidence, Exposed, Harm, Occurrence};

const DAY_NS: i64 = 86_400_000_000_000;
/// Days before the end in which nobody may be left to renew it.
const TOO_LATE_DAYS: i64 = 3;

/// What is weak.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Least days that a certificate should last.
    pub min_days_left: u32,
    /// Environments in which nothing is worth hiding.
    pub ignored_environments: Vec<String>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, min_days_left: 14, ignored_environments: vec!["development".to_owned()] }
    }
}

/// What is wrong with a connection.
struct Weakness {
    variant: &'static str,
    headline: String,
    why: String,
    harm: Exposed,
    not_visible: Option<String>,
}

/// A connection, and the call that it carried.
struct Connection<'t> {
    at: SpanIdx,
    span: &'t Span,
    tls: &'t TlsFacts,
    call: Option<Attempt<'t>>,
    host: &'t str,
}

/// Finds connections that protect less than they seem to.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for connection in trace.indices().filter_map(|at| connection(trace, at, limits)) {
        for weakness in weaknesses(&connection, limits) {
            // A pool opens many; one of each host and form in a unit says it.
            let unit = trace.unit_of(connection.at).index();
            if known.insert((unit, connection.host, weakness.variant)) {
                found.push(occurrence(trace, &connection, weakness));
            }
        }
    }
    found
}

fn connection<'t>(trace: &'t Trace, at: SpanIdx, limits: &Thresholds) -> Option<Connection<'t>> {
    let span = trace.span(at);
    let tls = span.facts.tls.as_deref()?;
    let ours = !matches!(span.kind, Kind::Server | Kind::Consumer)
        && !limits.ignored_environments.contains(&span.resource.environment);
    let call = trace.call_over(at);
    let asked = call.and_then(|call| Some((call.facts().host.as_deref()?, call.facts().host_class)));
    let reached = || {
        let (host, _) = trace.connected_to(at)?;
        let below = std::iter::once(&at).chain(trace.children(at));
        let class = below.map(|at| &trace.span(*at).facts).find(|facts| facts.host.as_deref() == Some(host));
        Some((host, class.map_or(HostClass::Unknown, |facts| facts.host_class)))
    };
    let (host, class) = asked.or_else(reached)?;
    let elsewhere = matches!(class, HostClass::Private | HostClass::Public);
    // A pool may hang a connection under whatever request was at hand; alone, it is what its trace is about.
    let placed = call.is_some() || trace.unit_of(at).attempts().len() == 0;
    (ours && elsewhere && placed).then_some(Connection { at, span, tls, call, host })
}

fn weaknesses(connection: &Connection<'_>, limits: &Thresholds) -> Vec<Weakness> {
    let Connection { span, tls, call, host, .. } = connection;
    let opened = span.status != Status::Error && call.is_none_or(|call| !call.verdict().never_sent);
    let mut found = Vec::new();
    if let Some(protocol) = tls.protocol.as_ref().filter(|_| tls.obsolete && opened) {
        found.push(Weakness {
            variant: "version",
            headline: format!("speaks an obsolete TLS with {host}"),
            why: format!("{protocol} was agreed with {host}"),
            harm: Exposed::Obsolete,
            not_visible: None,
        });
    }
    let used = call.is_some_and(|call| call.outcome() == Outcome::Ok || call.verdict().answered);
    if tls.unverified && opened && used {
        found.push(Weakness {
            variant: "unverified",
            headline: format!("trusts {host} without verifying it"),
            why: format!("the certificate of {host} was not verified, and the call was made all the same"),
            harm: Exposed::Plain,
            not_visible: Some("whether the client compares a fingerprint of its own".to_owned()),
        });
    }
    let left_ns = tls.not_after_ns.map(|end| end.saturating_sub(span.start_ns));
    if let Some(left) = left_ns.filter(|left| *left <= i64::from(limits.min_days_left) * DAY_NS) {
        let days = left / DAY_NS;
        let ends = if left < 0 { "had ended before".to_owned() } else { format!("ends {days} days after") };
        found.push(Weakness {
            variant: "expiry",
            headline: format!("relies on a certificate of {host} that runs out"),
            why: format!("the certificate of {host} {ends} this connection was opened"),
            harm: if days < TOO_LATE_DAYS { Exposed::Plain } else { Exposed::Lesser },
            not_visible: None,
        });
    }
    found
}

fn occurrence(trace: &Trace, connection: &Connection<'_>, weakness: Weakness) -> Occurrence {
    let protocol = connection.tls.protocol.clone().unwrap_or_else(|| "TLS".to_owned());
    let call = connection.call.map(Attempt::at).filter(|call| *call != connection.at);
    let role = if call.is_none() && connection.call.is_some() { "call" } else { "connection" };
    Occurrence {
        at: connection.call.map_or_else(|| trace.unit_of(connection.at).owner(), Attempt::at),
        variant: weakness.variant,
        family: weakness.variant,
        group: connection.host.to_owned(),
        headline: weakness.headline,
        why: weakness.why,
        evidence: call
            .map(|call| Evidence::new(call, "call", format!("to {}", connection.host)))
            .into_iter()
            .chain([Evidence::new(connection.at, role, protocol)])
            .collect(),
        cost: Cost { exposed_calls: 1, ..Cost::default() },
        harm: Harm::Exposed(weakness.harm),
        confidence: Confidence::Confirmed,
        not_visible: weakness.not_visible.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(call: &str, tls: &str) -> Vec<(&'static str, Exposed)> {
        let drawing = format!(
            "\
|============| kiosk  server  GET /parcel
| ========== |   kiosk  client  GET /v2/parcels  {{{call}}}
|  ===       |     kiosk  local  tls.connect  {{{tls}}}
"
        );
        let found = inspect(&sketch::parse(&drawing).unwrap().trace(), &Thresholds::default());
        let told = |found: Occurrence| match found.harm {
            Harm::Exposed(how) => (found.variant, how),
            other => panic!("{other:?}"),
        };
        found.into_iter().map(told).collect()
    }

    const PUBLIC: &str = "url.full=https://api.ship.com/v2/parcels";

    #[test]
    fn each_weakness_has_its_form() {
        for (tls, expected) in [
            ("tls.protocol=TLSv1.1", vec![("version", Exposed::Obsolete)]),
            ("tls.protocol=TLSv1.2", vec![]),
            ("tls.protocol.name=ssl, tls.protocol.version=3", vec![("version", Exposed::Obsolete)]),
            ("tls.authorized=false", vec![("unverified", Exposed::Plain)]),
            ("tls.authorized=\"true\"", vec![]),
            ("tls.server.not_after=2026-01-10T00:00:00Z", vec![("expiry", Exposed::Lesser)]),
            ("tls.server.not_after=2026-01-02T00:00:00Z", vec![("expiry", Exposed::Plain)]),
            ("tls.server.not_after=2025-12-31T00:00:00Z", vec![("expiry", Exposed::Plain)]),
            ("tls.server.not_after=2026-01-16T00:00:00Z", vec![]),
            (
                "tls.protocol=TLSv1, tls.authorized=\"false\"",
                vec![("version", Exposed::Obsolete), ("unverified", Exposed::Plain)],
            ),
        ] {
            assert_eq!(found(PUBLIC, tls), expected, "{tls}");
        }
    }

    #[test]
    fn a_connection_belongs_to_the_call_that_waited_for_it_or_stands_alone() {
        let kinds = |drawing: &str| {
            let found = inspect(&sketch::parse(drawing).unwrap().trace(), &Thresholds::default());
            found.into_iter().map(|found| (found.variant, found.evidence.len())).collect::<Vec<_>>()
        };
        let beside = "\
|==============| kiosk  server  GET /parcel
| ==========   |   kiosk  client  GET /v2  {url.full=https://api.ship.com/v2, server.port=443}
| ===          |   kiosk  local  tls.connect  {tls.protocol=TLSv1.1}
| =            |     kiosk  local  tcp.connect  {server.address=api.ship.com, server.port=443}
";
        assert_eq!(kinds(beside), [("version", 2)]);
        assert_eq!(kinds(&beside.replace("server.address=api.ship.com", "server.address=api.other.com")), []);
        let alone = "\
|===| kiosk  local  TLS client handshake api.ship.com  {server.address=api.ship.com, tls.protocol.name=tls, tls.protocol.version=1.0}
";
        assert_eq!(kinds(alone), [("version", 1)]);
    }

    #[test]
    fn who_is_on_the_same_host_or_was_not_called_does_not_count() {
        for (call, exposed) in [
            (PUBLIC, true),
            ("url.full=https://parcels.shop.internal/v2", true),
            ("url.full=https://127.0.0.1/v2", false),
            ("url.full=https://localhost/v2", false),
            ("url.full=https://api.ship.com/v2, http.response.status_code=503", true),
        ] {
            assert_eq!(!found(call, "tls.authorized=false").is_empty(), exposed, "{call}");
        }
        let dev = "\
|====| kiosk  server  GET /parcel  {resource.deployment.environment.name=dev}
| == |   kiosk  client  GET /v2  {url.full=https://api.ship.com/v2, tls.protocol.version=1.1}
";
        let found = inspect(&sketch::parse(dev).unwrap().trace(), &Thresholds::default());
        assert!(found.is_empty());
    }
}
