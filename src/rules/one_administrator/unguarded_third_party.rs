//! Somebody else's system fails and takes the request with it.
//!
//! ## What it detects
//! A request failed, its only failed call was one to a public host that sends no spans here, once, and nothing else was
//! tried afterwards.
//! ## Why it matters
//! Nobody here runs that system, knows when it is maintained, or is woken when it breaks. As often as it fails, so do
//! requests that could have been answered with something less.
//! ## Example
//! ```trace
//! |==================| shop  server  GET /geo/{}  {http.response.status_code=500}
//! | ===============x |   shop  client  GET /v1/lookup  {url.full=https://api.acme-geo.com/v1/lookup/75649, http.response.status_code=503}  << call
//! ```
//! ## Not flagged
//! A request that does without it.
//! ```trace
//! |==================| shop  server  GET /geo/{}
//! | ===============x |   shop  client  GET /v1/lookup  {url.full=https://api.acme-geo.com/v1/lookup/75649, http.response.status_code=503}
//! ```
//! One that asks elsewhere, whatever came of that.
//! ```trace
//! |==================| shop  server  GET /geo/{}  {http.response.status_code=500}
//! | ======x          |   shop  client  GET /v1/lookup  {url.full=https://api.acme-geo.com/v1/lookup/75649, http.response.status_code=503}
//! |         =======  |   shop  client  GET /locate  {url.full=https://geo.initech-maps.com/locate?ip=75649}
//! ```
//! An answer: what was asked for is not there, or was asked wrongly.
//! ```trace
//! |==================| shop  server  GET /geo/{}  {http.response.status_code=500}
//! | ===============x |   shop  client  GET /v1/lookup  {url.full=https://api.acme-geo.com/v1/lookup/75649, http.response.status_code=404}
//! ```
//! Storage and databases of a cloud provider, and own services that have public names (`own_hosts`).
//! ## Remedy
//! Bound the wait, stop asking for a while when it keeps failing (a circuit breaker), and decide what to answer without
//! it: the last answer, a default, a request that is finished later. Where it is what the request is about, as a payment
//! is, say so in so many words and let it be tried again. Watch its failures and quotas as your own.
//! ## Blind spots
//! A service of your own that has a public name and sends no spans looks like somebody else's: name it in `own_hosts`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, Call, HostClass, Kind, Outcome, Role, Trace, Unit};
use crate::rules::{Confidence, Cost, Evidence, Harm, Occurrence, told};

/// Registries under which names are given out one level further down: `example.co.uk`.
const SECOND_LEVEL: &[&str] = &["co", "com", "net", "org", "gov", "ac", "edu", "or", "ne", "go"];

/// Which hosts are one's own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Hosts, and all below them, that are one's own although their names are public.
    pub own_hosts: Vec<String>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enabled: true, own_hosts: Vec::new() }
    }
}

/// Finds requests that failed with somebody else's system.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    trace.units().filter(|unit| failed(*unit)).filter_map(|unit| of_unit(unit, limits)).collect()
}

fn failed(unit: Unit<'_>) -> bool {
    unit.span().kind == Kind::Server
        && matches!(unit.outcome(), Outcome::Error | Outcome::Timeout | Outcome::Abandoned)
        && unit.is_whole()
        && !unit.is_self_defence()
}

fn of_unit(unit: Unit<'_>, limits: &Thresholds) -> Option<Occurrence> {
    let mut failures = unit.calls().filter(|call| call.failed());
    let call = failures.next().filter(|_| failures.next().is_none())?;
    let host = foreign_host(call.last(), limits)?;
    let alternative = |later: Call<'_>| {
        let asks = matches!(later.role(), Role::Http | Role::Rpc | Role::Remote | Role::Cloud);
        asks && later.at() != call.at() && call.end_ns() <= later.start_ns()
    };
    let guarded = call.is_retried()
        || 0 < call.hidden_retries()
        || unit.calls().any(alternative)
        || unit.span().end_ns() < call.end_ns();
    (broke(call.last()) && !guarded).then(|| occurrence(call, host))
}

/// The public host of a call of which no span of the other side came.
fn foreign_host<'t>(attempt: Attempt<'t>, limits: &Thresholds) -> Option<&'t str> {
    let facts = attempt.facts();
    let host = facts.host.as_deref()?;
    let remote = matches!(facts.role, Role::Http | Role::Rpc | Role::Remote);
    let is_below =
        |known: &str| host == known || host.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
    let own = facts.rented || limits.own_hosts.iter().any(|known| is_below(known));
    let foreign = remote
        && facts.host_class == HostClass::Public
        && host.parse::<std::net::IpAddr>().is_err()
        && attempt.servers().is_empty()
        && attempt
            .callee()
            .is_some_and(|callee| attempt.trace().units().all(|unit| unit.service() != callee))
        && !facts.self_defence;
    (foreign && !own).then_some(host)
}

/// It failed for reasons of its own, rather than refuse what it was asked.
fn broke(attempt: Attempt<'_>) -> bool {
    let facts = attempt.facts();
    let verdict = attempt.verdict();
    let over_quota =
        facts.http.status == Some(429) || facts.rpc.code.as_deref() == Some("RESOURCE_EXHAUSTED");
    let unavailable = facts.http.status.is_some_and(|status| 500 <= status);
    verdict.outcome != Outcome::Cancelled && (verdict.row != 6 || over_quota || unavailable)
}

fn occurrence(call: Call<'_>, host: &str) -> Occurrence {
    let attempt = call.last();
    let waited = Duration::from_nanos(call.duration_ns().max(0) as u64);
    let ended = call.unit().outcome().id();
    let domain = domain(host);
    Occurrence {
        at: call.at(),
        variant: "propagated",
        family: "propagated",
        group: domain.to_owned(),
        headline: format!("fails whenever {domain} does"),
        why: format!(
            "`{}` of {host} {}; nothing else was tried, and the request ended {ended}",
            call.operation(),
            told::ending(attempt)
        ),
        evidence: vec![
            Evidence::new(call.unit().owner(), "unit", format!("ended {ended}")),
            Evidence::new(attempt.at(), "call", told::ending(attempt)),
        ],
        cost: Cost { calls: 1, time: waited, ..Cost::default() },
        harm: Harm::Failing,
        // That nothing else was tried is concluded from absence.
        confidence: if attempt.trace().is_settled() { Confidence::High } else { Confidence::Medium },
        not_visible: vec![format!("whether {host} is somebody else's: no span of it came")],
    }
}

/// The name that somebody registered: `api.geo.acme.co.uk` is `acme.co.uk`'s.
fn domain(host: &str) -> &str {
    let mut dots = host.rmatch_indices('.').map(|(at, _)| at);
    let (last, second, third) = (dots.next(), dots.next(), dots.next());
    let Some((last, second)) = last.zip(second) else { return host };
    let is_country = host.len() - last == 3;
    if is_country && SECOND_LEVEL.contains(&&host[second + 1..last]) {
        third.map_or(host, |third| &host[third + 1..])
    } else {
        &host[second + 1..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(owner: &str, call: &str, more: &str) -> Option<String> {
        let drawing = format!(
            "\
|==================| shop  server  GET /geo  {{{owner}}}
| ======x          |   shop  client  GET /v1/lookup  {{{call}}}
{more}"
        );
        let limits = Thresholds { own_hosts: vec!["shop.com".to_owned()], ..Thresholds::default() };
        inspect(&sketch::parse(&drawing).unwrap().trace(), &limits).pop().map(|found| found.group)
    }

    const FAILED: &str = "http.response.status_code=500";

    #[test]
    fn what_broke_is_told_from_what_refused() {
        for (how, broken) in [
            ("http.response.status_code=503", true),
            ("http.response.status_code=429", true),
            ("exception.type=ReadTimeout", true),
            ("exception.type=ECONNREFUSED", true),
            ("http.response.status_code=404", false),
            ("http.response.status_code=401", false),
            ("exception.type=CancelledError", false),
        ] {
            let call = format!("url.full=https://api.acme-geo.com/v1, {how}");
            assert_eq!(found(FAILED, &call, "").as_deref(), broken.then_some("acme-geo.com"), "{how}");
        }
    }

    #[test]
    fn only_others_systems_are_others() {
        for (url, domain) in [
            ("https://api.acme-geo.com/v1", Some("acme-geo.com")),
            ("https://api.shop.com/v1", None),
            ("https://bucket.s3.amazonaws.com/v1", None),
            ("http://geo.shop.internal/v1", None),
            ("http://geo/v1", None),
            ("https://93.184.216.34/v1", None),
        ] {
            let call = format!("url.full={url}, http.response.status_code=503");
            assert_eq!(found(FAILED, &call, "").as_deref(), domain, "{url}");
        }
    }

    #[test]
    fn a_request_that_did_more_is_not_told() {
        let call = "url.full=https://api.acme-geo.com/v1, http.response.status_code=503";
        for (owner, more, told) in [
            (FAILED, "", true),
            ("http.response.status_code=200", "", false),
            ("http.response.status_code=499", "", false),
            (
                FAILED,
                "|         =====    |   shop  client  GET /locate  {url.full=https://maps.com/}\n",
                false,
            ),
            (FAILED, "|         ===x     |   shop  db  SELECT a  {span.message=oh}\n", false),
            (FAILED, "|         ====     |   shop  db  INSERT INTO errors VALUES (?)\n", true),
        ] {
            assert_eq!(found(owner, call, more).is_some(), told, "{owner} {more}");
        }
    }

    #[test]
    fn domains_are_what_somebody_registered() {
        for (host, expected) in [
            ("api.eu.acme.com", "acme.com"),
            ("acme.com", "acme.com"),
            ("api.acme.co.uk", "acme.co.uk"),
            ("acme.co.uk", "acme.co.uk"),
            ("api.acme.de", "acme.de"),
            ("acme", "acme"),
        ] {
            assert_eq!(domain(host), expected, "{host}");
        }
    }
}
