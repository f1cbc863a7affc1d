//! What attribute names mean: the only module that knows them. Former and current names of the OpenTelemetry
//! semantic conventions, and what bridges and proxies write beside them, become [`Facts`](crate::model::Facts).
//!
//! One pass over a span's attributes, one file per protocol. Reading cannot fail: what is odd stays unknown.
//! Nothing here looks at a second span, except where one span's silence is only told by its siblings' speech
//! ([`spans`]); nothing here knows a rule.

pub mod drawn;
mod field;
mod reading;
mod resource;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1;

use crate::model::{Received, Resource, Scope, Span};

/// Resources and scopes are remembered up to this many; then the memory starts anew.
const MOST_REMEMBERED: usize = 1024;

/// Reads spans one by one, each resource and scope once.
pub struct Reader {
    aliases: BTreeMap<String, String>,
    resources: HashMap<usize, (Arc<v1::Resource>, Arc<Resource>)>,
    scopes: HashMap<usize, (Arc<InstrumentationScope>, Arc<Scope>)>,
}

/// Reads the spans of one trace, or of many, and completes what a span alone cannot tell.
pub fn spans(received: &[Received], aliases: &BTreeMap<String, String>) -> Vec<Span> {
    let mut reader = Reader::new(aliases);
    received.iter().map(|one| reader.read(one)).collect()
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

    /// What one span says.
    pub fn read(&mut self, received: &Received) -> Span {
        let resource = self.resource(&received.resource);
        let scope = self.scope(&received.scope);
        reading::read(&received.span, resource, scope)
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

    fn scope(&mut self, sent: &Arc<InstrumentationScope>) -> Arc<Scope> {
        if MOST_REMEMBERED <= self.scopes.len() {
            self.scopes.clear();
        }
        let (_, read) = self.scopes.entry(Arc::as_ptr(sent).addr()).or_insert_with(|| {
            let scope = Scope { name: sent.name.clone(), version: sent.version.clone() };
            (Arc::clone(sent), Arc::new(scope))
        });
        Arc::clone(read)
    }
}
