//! What attribute names mean: the only module that knows them. Former and current names of the OpenTelemetry
//! semantic conventions, and what bridges and proxies write beside them, become [`Facts`](crate::model::Facts).
//!
//! One pass over a span's attributes, one file per protocol. Reading cannot fail: what is odd stays unknown.
//! Nothing here looks at a second span, except where one span's silence is only told by its siblings' speech
//! ([`spans`]); nothing here knows a rule.

mod attributes;
mod command;
mod db;
mod document;
pub mod drawn;
mod effect;
mod errors;
pub mod exceptions;
mod facts;
mod field;
mod host;
mod http;
mod idempotency;
mod library;
mod messages;
mod messaging;
mod outcome;
mod reading;
mod resource;
mod rpc;
pub mod secrets;
mod sql;
mod template;
mod tls;
mod url;

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1;

use library::Library;

pub use rpc::GRPC_CODES;

use crate::model::{Kind, Received, Resource, Role, Scope, Span};

/// Resources and scopes are remembered up to this many; then the memory starts anew.
const MOST_REMEMBERED: usize = 1024;

/// Reads spans one by one, each resource and scope once.
pub struct Reader {
    aliases: BTreeMap<String, String>,
    resources: HashMap<usize, (Arc<v1::Resource>, Arc<Resource>)>,
    scopes: HashMap<usize, (Arc<InstrumentationScope>, Arc<Scope>, Library)>,
}

/// Whether this resource is a service of that name.
pub fn is_of(resource: &v1::Resource, service: &str) -> bool {
    let mut names = resource.attributes.iter().filter(|attribute| attribute.key == drawn::SERVICE);
    names.any(|name| {
        matches!(
            name.value.as_ref().and_then(|value| value.value.as_ref()),
            Some(Value::StringValue(text)) if text == service
        )
    })
}

/// Reads the spans of one trace, or of many, and completes what a span alone cannot tell.
pub fn spans(received: &[Received], aliases: &BTreeMap<String, String>) -> Vec<Span> {
    Reader::new(aliases).spans(received)
}

/// A library that recorded the code of one answer records them all: its spans without one were abandoned. Told
/// within one trace, service and library only, so that a trace reads the same whatever it is read with.
fn hear_silence(spans: &mut [Span]) {
    let speaks = |span: &Span| {
        span.kind == Kind::Client
            && span.facts.role == Role::Http
            && span.facts.http.status.is_some_and(|code| (200..400).contains(&code))
    };
    let is_silent = |span: &Span| {
        !span.facts.always_records_code && outcome::is_silent(&span.facts, span.kind, span.status)
    };
    if !spans.iter().any(is_silent) {
        return;
    }
    let key = |span: &Span| (span.trace, span.resource.service.clone(), span.scope.name.clone());
    let speakers: HashSet<_> = spans.iter().filter(|span| speaks(span)).map(key).collect();
    for span in spans.iter_mut().filter(|span| is_silent(span)) {
        if speakers.contains(&key(span)) {
            outcome::abandon(&mut span.facts);
        }
    }
}

/// The service that a resource names.
pub fn service(sent: &v1::Resource) -> String {
    resource::read(sent, &BTreeMap::new()).service
}

impl Reader {
    /// `aliases` are other names of environments, added to the built-in ones.
    pub fn new(aliases: &BTreeMap<String, String>) -> Self {
        Self { aliases: aliases.clone(), resources: HashMap::new(), scopes: HashMap::new() }
    }

    /// Reads the spans of one trace, or of many, and completes what a span alone cannot tell.
    pub fn spans<B: Borrow<Received>>(&mut self, received: impl IntoIterator<Item = B>) -> Vec<Span> {
        let mut spans: Vec<Span> = received.into_iter().map(|one| self.read(one.borrow())).collect();
        hear_silence(&mut spans);
        spans
    }

    /// What one span says.
    pub fn read(&mut self, received: &Received) -> Span {
        let resource = self.resource(&received.resource);
        let (scope, library) = self.scope(&received.scope);
        reading::read(&received.span, resource, scope, library)
    }

    fn resource(&mut self, sent: &Arc<v1::Resource>) -> Arc<Resource> {
        if MOST_REMEMBERED <= self.resources.len() {
            self.resources.clear();
        }
        let aliases = &self.aliases;
        let (_, read) = self
            .resources
            .entry(Arc::as_ptr(sent).addr())
            .or_insert_with(|| (Arc::clone(sent), Arc::new(resource::read(sent, aliases))));
        Arc::clone(read)
    }

    fn scope(&mut self, sent: &Arc<InstrumentationScope>) -> (Arc<Scope>, Library) {
        if MOST_REMEMBERED <= self.scopes.len() {
            self.scopes.clear();
        }
        let (_, scope, library) = self.scopes.entry(Arc::as_ptr(sent).addr()).or_insert_with(|| {
            let scope = Scope { name: sent.name.clone(), version: sent.version.clone() };
            (Arc::clone(sent), Arc::new(scope), Library::named(&sent.name))
        });
        (Arc::clone(scope), *library)
    }
}

#[cfg(test)]
mod tests;
