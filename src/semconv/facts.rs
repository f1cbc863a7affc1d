//! What the attributes of one span add up to: role, operation, and everything rules may know.

use opentelemetry_proto::tonic::trace::v1 as otlp;

use super::attributes::Attributes;
use super::db::Reading;
use super::errors::Errors;
use super::library::{self, Library};
use super::url::Url;
use super::{effect, host, http, idempotency, messages, outcome, secrets, template};
use crate::model::{Basis, EffectClass, Facts, Kind, MessagingOperation, Role, Status};

const MOST_TOKENS: usize = 16;
const LONGEST_NAME: usize = 200;

/// The facts of one span.
pub(super) fn of(sent: &otlp::Span, kind: Kind, status: Status, library: Library) -> Facts {
    let attributes = Attributes::read(&sent.attributes);
    let messages = messages::read(&sent.events);
    let status_message = sent.status.as_ref().map_or("", |status| status.message.as_str());
    let url_text = attributes.http.url.text();
    let url = url_text.as_deref().map(Url::parse);
    let store = attributes.db.is_present().then(|| attributes.db.read(&sent.name));
    let role = role(&attributes, sent, kind, library);

    let mut facts = Facts { role, orm: library.orm, ..Facts::default() };
    facts.always_records_code = library.always_records_code;
    fill_protocols(&mut facts, &attributes, sent, kind, url.as_ref());
    let target = attributes.host.target(kind, url.as_ref());
    facts.rented = target.host.as_deref().is_some_and(host::is_rented);
    facts.host = target.host;
    facts.host_source = target.source;
    facts.port = target.port;
    facts.host_class = target.class;
    facts.peer_ip = target.peer_ip;
    facts.peer_service = target.peer_service;
    facts.tls = attributes.tls.facts();
    fill_sizes(&mut facts, &attributes, &messages, kind);
    facts.content_type = attributes.http.content_type();
    facts.ordinal = ordinal(&attributes);
    let count = |number: Option<u64>| number.map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX));
    facts.speculative = count(attributes.db.speculative.count());
    facts.hidden_retries = count(attributes.retries_inside.count()).saturating_add(facts.speculative);
    facts.proxy = attributes.component.text().is_some_and(|component| component == "proxy");
    facts.synthetic_test = attributes.http.synthetic.text().is_some_and(|kind| kind == "test");
    facts.streaming = is_streaming(&facts, &messages);
    facts.arguments_visible = arguments_visible(&facts, &attributes, store.as_ref());
    let (class, basis) = class(&facts, &attributes, &sent.name, kind, store.as_ref());
    facts.class = class;
    facts.basis = basis;
    if let Some(store) = store {
        facts.db = store.facts;
    }
    let (operation, template) = names(&facts, &sent.name);
    facts.operation = operation;
    facts.template = template;
    facts.connects = role == Role::ConnectionPhase && connects(&sent.name, &attributes, library);
    facts.self_defence = library.telemetry || is_self_defence(&facts, &attributes);
    facts.tokens = tokens(&facts, kind);

    let mut errors = Errors::default();
    errors.add_events(&sent.events, status == Status::Error);
    attributes.errors.collect(&mut errors);
    for text in [Some(status_message.into()), attributes.rpc.message.text()].into_iter().flatten() {
        errors.add_text(&text);
    }
    if let Some(name) = attributes.rpc.error_name.text() {
        errors.add_word(&name);
    }
    facts.verdict = outcome::verdict(&facts, &errors, kind, status);
    facts.errors = errors.into_list();
    facts.idempotency = attributes.idempotency;
    for (name, value) in &facts.http.query {
        idempotency::argument(&mut facts.idempotency, name, value);
    }
    facts.idempotency.keys.sort();
    facts.custom = attributes.custom;
    facts.leaks = secrets::marks(sent);
    facts
}

fn role(attributes: &Attributes<'_>, sent: &otlp::Span, kind: Kind, library: Library) -> Role {
    let is_store = attributes.db.is_present();
    if kind != Kind::Server && library::is_connection_phase(&sent.name, library, is_store) {
        return Role::ConnectionPhase;
    }
    if is_store {
        return if attributes.db.is_cache() { Role::Cache } else { Role::Db };
    }
    if attributes.messaging.is_present() {
        return Role::Messaging;
    }
    let rpc_system = attributes.rpc.system();
    let is_cloud = attributes.is_cloud || rpc_system.as_deref() == Some("aws-api");
    let says_http = attributes.http.is_present();
    let named_rpc = !says_http && super::rpc::method_in_name(&sent.name).is_some();
    if !is_cloud && (attributes.rpc.is_present() || named_rpc) {
        return Role::Rpc;
    }
    if is_cloud {
        return Role::Cloud;
    }
    let is_named_http = kind != Kind::Internal && http::method_in_name(&sent.name).is_some();
    if says_http || (is_named_http && !attributes.is_genai) {
        return Role::Http;
    }
    match kind {
        _ if attributes.is_genai => Role::GenAi,
        Kind::Producer | Kind::Consumer => Role::Messaging,
        Kind::Client => Role::Remote,
        Kind::Internal | Kind::Server => Role::Internal,
    }
}

fn connects(name: &str, attributes: &Attributes<'_>, library: Library) -> bool {
    let reused = attributes.http.reused;
    let is_new = reused.is_some() && !reused.is_true();
    is_new || library::opens_connection(name, library, attributes.db.is_present())
}

fn fill_protocols(
    facts: &mut Facts,
    attributes: &Attributes<'_>,
    sent: &otlp::Span,
    kind: Kind,
    url: Option<&Url<'_>>,
) {
    let status_message = sent.status.as_ref().map_or("", |status| status.message.as_str());
    match facts.role {
        Role::Http => facts.http = attributes.http.facts(url, &sent.name),
        Role::Rpc | Role::Cloud => {
            facts.rpc = attributes.rpc.facts(&sent.name, status_message);
            // The request that carried it, where one library writes both.
            if attributes.http.is_present() {
                facts.http = attributes.http.facts(url, "");
            }
        }
        Role::Messaging => facts.messaging = attributes.messaging.facts(kind),
        Role::Db | Role::Cache if attributes.http.is_present() => {
            facts.http = attributes.http.facts(url, "");
        }
        _ => {}
    }
}

fn fill_sizes(facts: &mut Facts, attributes: &Attributes<'_>, messages: &messages::Messages, kind: Kind) {
    let (request, response) = match kind {
        Kind::Server | Kind::Consumer => (messages.received_bytes, messages.sent_bytes),
        Kind::Client | Kind::Producer | Kind::Internal => (messages.sent_bytes, messages.received_bytes),
    };
    let http = &attributes.http;
    let rpc = &attributes.rpc;
    facts.request_bytes = http
        .request_size
        .count()
        .or_else(|| rpc.request_size.count())
        .or_else(|| attributes.messaging.size.count())
        .or(request);
    facts.response_bytes = http.response_size.count().or_else(|| rpc.response_size.count()).or(response);
}

fn ordinal(attributes: &Attributes<'_>) -> Option<u32> {
    let attempt = || {
        let text = attributes.attempt_count.text()?;
        let number = text.rsplit("attempt=").next()?.split(';').next()?.trim().parse::<i64>().ok()?;
        Some(number - 1)
    };
    let sent = attributes
        .http
        .resend_count
        .integer()
        .or_else(|| attributes.ordinal.integer())
        .or_else(|| attributes.rpc.previous_attempts.integer())
        .or_else(attempt)?;
    u32::try_from(sent).ok()
}

fn is_streaming(facts: &Facts, messages: &messages::Messages) -> bool {
    let by_name = facts.rpc.method.as_deref().is_some_and(|method| {
        let last = method.rsplit('/').next().unwrap_or_default();
        let words: Vec<_> = template::words(last).map(str::to_ascii_lowercase).collect();
        let opens =
            words.first().is_some_and(|word| matches!(word.as_str(), "watch" | "subscribe" | "stream"));
        opens || words.last().is_some_and(|word| word == "stream")
    });
    by_name
        || 1 < messages.sent
        || 1 < messages.received
        || facts.http.status == Some(101)
        || facts.content_type.as_deref() == Some("text/event-stream")
}

/// Whether the arguments of the call can be compared with those of another, by what this span shows.
fn arguments_visible(facts: &Facts, attributes: &Attributes<'_>, store: Option<&Reading>) -> bool {
    if let Some(store) = store {
        return store.arguments_visible;
    }
    let Some(path) = facts.http.path.as_deref().filter(|_| !facts.http.query_redacted) else { return false };
    // A path whose parameters were never filled in tells nothing of them: `/configs/{configName}`.
    if path.split('/').any(template::is_parameter) {
        return false;
    }
    let has_data =
        || path.split('/').any(|segment| template::is_token(segment) || template::is_variable(segment));
    !attributes.http.path_is_bare() || has_data()
}

fn class(
    facts: &Facts,
    attributes: &Attributes<'_>,
    name: &str,
    kind: Kind,
    store: Option<&Reading>,
) -> (EffectClass, Basis) {
    match facts.role {
        Role::Db | Role::Cache => store.map_or((EffectClass::Unknown, Basis::None), |store| {
            let basis = if store.has_text { Basis::Protocol } else { Basis::Name };
            (store.class, if store.class == EffectClass::Unknown { Basis::None } else { basis })
        }),
        Role::Messaging => effect::of_messaging(&facts.messaging, kind),
        Role::Rpc => effect::of_verb(facts.rpc.method.as_deref().unwrap_or(name)),
        Role::Cloud => effect::of_cloud(facts.rpc.method.as_deref().unwrap_or(name)),
        Role::Http => {
            let graphql = attributes.graphql.text().map(|kind| kind.to_ascii_lowercase());
            effect::of_http(&facts.http, graphql.as_deref(), attributes.soap_action.text().as_deref())
        }
        Role::Remote => effect::of_verb(name),
        Role::Internal | Role::ConnectionPhase | Role::GenAi => (EffectClass::Unknown, Basis::None),
    }
}

/// Operation and template.
fn names(facts: &Facts, name: &str) -> (String, String) {
    let named = || template::name(name);
    let operation = match facts.role {
        Role::Http => http_operation(facts, name),
        Role::Rpc | Role::Cloud => facts.rpc.method.clone().unwrap_or_else(named),
        Role::Db | Role::Cache => match (&facts.db.operation, &facts.db.collection) {
            (Some(verb), Some(collection)) => format!("{verb} {collection}"),
            (Some(verb), None) => verb.clone(),
            (None, _) => named(),
        },
        Role::Messaging => messaging_operation(facts, name),
        Role::Internal | Role::ConnectionPhase | Role::GenAi | Role::Remote => named(),
    };
    let operation = template::cut_to(&operation, LONGEST_NAME).to_owned();
    let template = match facts.role {
        Role::Db | Role::Cache => facts.db.shape.as_ref().map(|shape| format!("{operation} | {shape}")),
        Role::Http if !facts.http.query.is_empty() => {
            let mut keys: Vec<&str> = facts.http.query.iter().map(|(key, _)| key.as_str()).collect();
            keys.dedup();
            Some(format!("{operation}?{}", template::cut_to(&keys.join("&"), LONGEST_NAME)))
        }
        _ => None,
    };
    (operation.clone(), template.unwrap_or(operation))
}

fn http_operation(facts: &Facts, name: &str) -> String {
    let route = facts.http.route.clone().or_else(|| facts.http.path.as_deref().map(template::path));
    match (&facts.http.method, route) {
        (Some(method), Some(route)) => format!("{method} {route}"),
        (None, Some(route)) => route,
        // The name may say more than the method: `GET /cart`, `router cart egress`.
        (_, None) => template::name(name),
    }
}

fn messaging_operation(facts: &Facts, name: &str) -> String {
    let verb = match facts.messaging.operation {
        Some(MessagingOperation::Send) => "publish",
        Some(MessagingOperation::Receive) => "receive",
        Some(MessagingOperation::Process) => "process",
        Some(MessagingOperation::Settle) => "settle",
        None => return template::name(name),
    };
    match &facts.messaging.destination {
        Some(destination) => format!("{verb} {}", template::name(destination)),
        None => template::name(name),
    }
}

/// Telemetry itself, and probes.
fn is_self_defence(facts: &Facts, attributes: &Attributes<'_>) -> bool {
    let path = facts.http.path.as_deref().unwrap_or_default();
    let is_export = ["/v1/traces", "/v1/metrics", "/v1/logs"].iter().any(|end| path.ends_with(end));
    let method = facts.rpc.method.as_deref().unwrap_or_default();
    let is_service =
        method.starts_with("opentelemetry.proto.collector.") || method.starts_with("grpc.health.");
    let probes = [
        "health",
        "healthz",
        "healthcheck",
        "health-check",
        "_health",
        "ready",
        "readyz",
        "readiness",
        "live",
        "livez",
        "liveness",
        "metrics",
    ];
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let first = segments.next();
    let is_probe =
        [first, segments.next_back()].into_iter().flatten().any(|segment| probes.contains(&segment));
    let agent = attributes.http.user_agent.text();
    let is_prober = agent
        .is_some_and(|agent| agent.starts_with("kube-probe/") || agent.starts_with("ELB-HealthChecker/"));
    is_export || is_service || is_probe || is_prober
}

/// Path segments and query values that look like data; at a server also what its route calls a parameter.
fn tokens(facts: &Facts, kind: Kind) -> Vec<String> {
    let path = facts.http.path.as_deref().unwrap_or_default();
    let route = facts.http.route.as_deref().filter(|_| kind == Kind::Server);
    let mut parameters = route.unwrap_or_default().split('/').map(|segment| segment.contains("{}"));
    let mut tokens: Vec<String> = Vec::new();
    for segment in path.split('/') {
        let is_parameter = parameters.next().unwrap_or(false);
        if !segment.is_empty() && (is_parameter || template::is_token(segment)) {
            tokens.push(super::url::decode(segment));
        }
    }
    for (name, value) in &facts.http.query {
        if !value.is_empty() && (template::is_token(value) || template::names_identifier(name)) {
            tokens.push(value.clone());
        }
    }
    tokens.truncate(MOST_TOKENS);
    tokens
}
