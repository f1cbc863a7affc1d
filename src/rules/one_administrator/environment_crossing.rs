//! A request crossed from one deployment environment into another.
//!
//! ## What it detects
//! A call whose caller says it runs in one environment and whose server says it runs in another, by their resources
//! (`deployment.environment.name`), after names for the same thing were made one (`prod`, `prd`, `live`).
//! ## Why it matters
//! Environments are separated so that one can be broken without harm to the other. A base URL or a credential that
//! points across them lets a test write to what customers see, or lets production wait for a machine that somebody
//! switches off at night.
//! ## Example
//! ```trace
//! |==========| web  server  POST /profile  {resource.deployment.environment.name=staging}
//! | ======== |   web  client  POST users/77/email  << call
//! |  ======  |     users  server  POST /users/{}/email  {resource.deployment.environment.name=production}  << server
//! ```
//! ## Not flagged
//! Services that say they are shared by all environments.
//! ```trace
//! |==========| web  server  POST /profile  {resource.deployment.environment.name=staging}
//! | ======== |   web  client  POST auth/check
//! |  ======  |     auth  server  POST /check  {resource.deployment.environment.name=shared}
//! ```
//! Two names of one environment, and services that name none.
//! ```trace
//! |===============| web  server  POST /profile  {resource.deployment.environment.name=prod}
//! | ======        |   web  client  POST users/77/email
//! |  ====         |     users  server  POST /users/{}/email  {resource.deployment.environment.name=Production}
//! |        ====== |   web  client  POST mail/welcome
//! |         ====  |     mail  server  POST /welcome
//! ```
//! An instance that itself reports two environments is mislabelled; nothing is concluded from it.
//! ## Remedy
//! Find where the address comes from: a default, a copied secret, a shared configuration. Give each environment its own
//! credentials and names, and let the network refuse what crosses.
//! ## Blind spots
//! Both sides must send their resource's environment to this service. Databases and brokers name none, so a test that
//! writes into a production database directly is not seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Attempt, EffectClass, Resource, Trace, Unit};
use crate::rules::{Confidence, Cost, Crossed, Evidence, Harm, Occurrence};

const PRODUCTION: &str = "production";

/// Which environments may be entered from any other.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Whether the rule runs.
    pub enabled: bool,
    /// Environments that serve all others, lower-case.
    pub shared: Vec<String>,
}

impl Default for Thresholds {
    fn default() -> Self {
        let shared =
            ["shared", "common", "global", "infra", "platform", "management", "default", "unknown", "none"];
        Self { enabled: true, shared: shared.map(str::to_owned).to_vec() }
    }
}

/// Finds calls from one environment into another.
pub(crate) fn inspect(trace: &Trace, limits: &Thresholds) -> Vec<Occurrence> {
    let mut crossings = trace
        .units()
        .filter(|unit| !unit.is_self_defence())
        .flat_map(Unit::attempts)
        .filter_map(|attempt| Some((attempt, attempt.server_unit()?)))
        .filter(|(attempt, server)| crosses(attempt.unit().resource(), server.resource(), limits))
        .peekable();
    if crossings.peek().is_none() {
        return Vec::new();
    }
    let labelled = Labelled::of(trace);
    crossings
        .filter(|(attempt, server)| {
            labelled.once(attempt.unit().resource()) && labelled.once(server.resource())
        })
        .map(|(attempt, server)| occurrence(attempt, server))
        .collect()
}

fn crosses(from: &Resource, to: &Resource, limits: &Thresholds) -> bool {
    let (from, to) = (&from.environment, &to.environment);
    let is_own = |environment: &String| !environment.is_empty() && !limits.shared.contains(environment);
    from != to && is_own(from) && is_own(to)
}

/// The environments that each instance of a service reports.
struct Labelled<'t>(BTreeMap<(&'t str, &'t str), &'t str>);

impl<'t> Labelled<'t> {
    /// Instances that report more than one have an empty one here.
    fn of(trace: &'t Trace) -> Self {
        let mut labels = BTreeMap::new();
        for resource in trace.units().map(Unit::resource) {
            if let Some(instance) = &resource.instance {
                let environment = resource.environment.as_str();
                let label =
                    labels.entry((resource.service.as_str(), instance.as_str())).or_insert(environment);
                if *label != environment {
                    *label = "";
                }
            }
        }
        Self(labels)
    }

    fn once(&self, resource: &Resource) -> bool {
        let Some(instance) = &resource.instance else { return true };
        self.0.get(&(resource.service.as_str(), instance.as_str())).is_none_or(|label| !label.is_empty())
    }
}

fn occurrence(attempt: Attempt<'_>, server: Unit<'_>) -> Occurrence {
    let (from, to) = (&attempt.unit().resource().environment, &server.resource().environment);
    let writes = matches!(attempt.class(), EffectClass::NonIdempotent | EffectClass::Idempotent);
    let (variant, crossed) = match (from.as_str(), to.as_str()) {
        (_, PRODUCTION) if writes => ("nonprod_to_prod_write", Crossed::WritesProduction),
        (_, PRODUCTION) => ("nonprod_to_prod", Crossed::Production),
        (PRODUCTION, _) => ("prod_to_nonprod", Crossed::Production),
        _ => ("nonprod_mix", Crossed::Others),
    };
    Occurrence {
        at: attempt.at(),
        variant,
        family: variant,
        group: format!("{from} to {to}"),
        headline: format!("{from} calls `{}` of {to}", server.service()),
        why: format!(
            "`{}` in {from} sent `{}` to `{}` in {to}",
            attempt.unit().service(),
            attempt.operation(),
            server.service()
        ),
        evidence: vec![
            Evidence::new(attempt.at(), "call", format!("environment {from}")),
            Evidence::new(server.owner(), "server", format!("environment {to}")),
        ],
        cost: Cost { exposed_calls: 1, ..Cost::default() },
        harm: Harm::Crossed(crossed),
        // Stated by both sides; among the lesser ones a second trace is asked for.
        confidence: if crossed == Crossed::Others { Confidence::High } else { Confidence::Confirmed },
        not_visible: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sketch;

    fn found(from: &str, to: &str, request: &str) -> Option<(&'static str, Confidence)> {
        let drawing = format!(
            "\
|==========| web  server  GET /profile  {{resource.deployment.environment={from}}}
| ======== |   web  client  {request}
|  ======  |     users  server  GET /users  {{resource.deployment.environment={to}}}
"
        );
        let trace = sketch::parse(&drawing).unwrap().trace();
        inspect(&trace, &Thresholds::default()).pop().map(|found| (found.variant, found.confidence))
    }

    #[test]
    fn the_form_tells_who_entered_what() {
        for (from, to, request, expected) in [
            (
                "staging",
                "prod",
                "POST users/77/email",
                Some(("nonprod_to_prod_write", Confidence::Confirmed)),
            ),
            ("qa", "live", "GET users/77", Some(("nonprod_to_prod", Confidence::Confirmed))),
            ("production", "dev", "POST users/77/email", Some(("prod_to_nonprod", Confidence::Confirmed))),
            ("dev", "staging", "GET users/77", Some(("nonprod_mix", Confidence::High))),
            ("prod", "Live", "GET users/77", None),
            ("dev", "infra", "GET users/77", None),
            ("", "production", "GET users/77", None),
        ] {
            assert_eq!(found(from, to, request), expected, "{from} {to} {request}");
        }
    }

    #[test]
    fn an_instance_with_two_environments_is_mislabelled() {
        let drawing = "\
|====================| web  server  POST /profile  {resource.deployment.environment.name=staging}
| ========           |   web  client  POST users/77/email
|  ======            |     users  server  POST /users  {resource.deployment.environment.name=production, resource.service.instance.id=u1}
|           ======== |   web  client  POST users/77/name
|            ======  |     users  server  POST /users  {resource.deployment.environment.name=staging, resource.service.instance.id=u1}
";
        assert!(inspect(&sketch::parse(drawing).unwrap().trace(), &Thresholds::default()).is_empty());
        let two = drawing.replacen("instance.id=u1", "instance.id=u2", 1);
        assert_eq!(inspect(&sketch::parse(&two).unwrap().trace(), &Thresholds::default()).len(), 1);
    }
}
