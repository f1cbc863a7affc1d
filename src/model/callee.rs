//! Whom an interaction asked (RULES A4.4): the service that answered, else the best name that the caller's side has.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::legs::Interaction;
use super::trace::Trace;
use super::{Facts, Role};

const NONE: u32 = u32::MAX;

/// For each interaction an index into the names, `u32::MAX` where nobody can be named; and the names, sorted.
///
/// An address tells callees apart, but never names them: it changes from one deployment to the next.
pub(super) fn name(trace: &Trace, interactions: &[Interaction]) -> (Vec<u32>, Vec<String>) {
    let reached = reached_services(trace, interactions);
    let keys: Vec<Option<Key>> =
        interactions.iter().map(|interaction| key(trace, interaction, &reached)).collect();
    let mut distinct: Vec<&Key> = keys.iter().flatten().collect();
    distinct.sort_unstable();
    distinct.dedup();
    let position = |key: &Key| distinct.binary_search(&key).map_or(NONE, |at| at as u32);
    let indices = keys.iter().map(|key| key.as_ref().map_or(NONE, position)).collect();
    (indices, distinct.into_iter().map(|key| key.name.clone()).collect())
}

/// A callee's name, and its address where only that tells it from another of the same name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    address: Option<IpAddr>,
}

impl Key {
    fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), address: None }
    }
}

type Target<'t> = (&'t str, Option<u16>);

/// Host and port, from the outermost span that states them.
fn target<'t>(trace: &'t Trace, interaction: &Interaction) -> Option<Target<'t>> {
    facts(trace, interaction).find_map(|facts| Some((facts.host.as_deref()?, facts.port)))
}

fn facts<'t>(trace: &'t Trace, interaction: &Interaction) -> impl Iterator<Item = &'t Facts> {
    std::iter::once(interaction.span).chain(interaction.legs.clone()).map(move |at| &trace.span(at).facts)
}

/// Which service stands behind a host and port, where the trace shows exactly one.
fn reached_services<'t>(
    trace: &'t Trace,
    interactions: &[Interaction],
) -> BTreeMap<Target<'t>, Option<&'t str>> {
    let mut reached: BTreeMap<Target<'t>, Option<&'t str>> = BTreeMap::new();
    for interaction in interactions {
        let (Some(server), Some(target)) = (interaction.servers.first(), target(trace, interaction)) else {
            continue;
        };
        let service = trace.span(*server).resource.service.as_str();
        let known = reached.entry(target).or_insert(Some(service));
        if *known != Some(service) {
            *known = None;
        }
    }
    reached
}

fn key(
    trace: &Trace,
    interaction: &Interaction,
    reached: &BTreeMap<Target<'_>, Option<&str>>,
) -> Option<Key> {
    let span = trace.span(interaction.span);
    let is_message = span.facts.role == Role::Messaging;
    if let Some(server) = interaction.servers.first()
        && !is_message
    {
        return Some(Key::named(&trace.span(*server).resource.service));
    }
    let target = target(trace, interaction);
    if let Some(Some(service)) = target.and_then(|target| reached.get(&target)).filter(|_| !is_message) {
        return Some(Key::named(*service));
    }
    if let Some(peer) = facts(trace, interaction).find_map(|facts| facts.peer_service.as_deref()) {
        return Some(Key::named(peer));
    }
    let system = system(&span.facts);
    match target {
        Some((host, port)) if !is_message => {
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            Some(match host.trim_matches(['[', ']']).parse() {
                Ok(address) => {
                    Key { name: system.unwrap_or_else(|| format!("address{port}")), address: Some(address) }
                }
                Err(_) => Key::named(format!("{host}{port}")),
            })
        }
        _ => system.map(Key::named).or_else(|| {
            let owner = &trace.unit_of(interaction.span).resource().service;
            (span.resource.service != *owner).then(|| Key::named(&span.resource.service))
        }),
    }
}

/// `postgresql shop`, `rabbitmq orders`.
fn system(facts: &Facts) -> Option<String> {
    let (system, place) = match (&facts.db.system, &facts.messaging.system) {
        (Some(system), _) => (system, &facts.db.namespace),
        (None, Some(system)) => (system, &facts.messaging.destination),
        (None, None) => return None,
    };
    Some(place.as_ref().map_or_else(|| system.clone(), |place| format!("{system} {place}")))
}
