//! A trace as OTLP again: what senders sent, without its secrets, for other tools.

use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, TracesData};

use super::trace::MAX_OCCURRENCES;
use super::{Failure, Shown};
use crate::model::{Received, TraceId};
use crate::store::Room;
use crate::store::occurrences::Sighting;

/// A trace as it was sent, and what was found in it.
#[derive(Clone, Debug)]
pub struct SentTrace {
    /// By resource and scope, in order of start: the earliest that were asked for.
    pub data: TracesData,
    /// What was found.
    pub occurrences: Vec<Sighting>,
}

impl Shown {
    /// A trace as it was sent, secrets redacted, with the exceptions of its spans that came as log records; `None`
    /// where nothing of it is kept. Of a trace that has more, the earliest `traces.max_spans_evaluated` spans, of at most
    /// `traces.max_bytes_evaluated`.
    pub async fn sent(&self, id: TraceId) -> Result<Option<SentTrace>, Failure> {
        self.first_sent(id, self.config.traces.max_spans_evaluated).await
    }

    /// The same with no more than its earliest `most` spans.
    pub async fn first_sent(&self, id: TraceId, most: u32) -> Result<Option<SentTrace>, Failure> {
        let Some(known) = self.store.whereabouts(id).await? else { return Ok(None) };
        let days = [known.days];
        let bytes = usize::try_from(self.config.traces.max_bytes_evaluated.0).unwrap_or(usize::MAX);
        let room = Room { of_trace: most, spans: usize::MAX, bytes };
        let (loaded, occurrences) = tokio::try_join!(
            self.store.load_some(&days, room),
            self.store.occurrences_in(id, MAX_OCCURRENCES),
        )?;
        let spans: Vec<Received> = loaded.into_iter().flat_map(|loaded| loaded.spans).collect();
        let data = TracesData { resource_spans: nested(spans) };
        Ok((!data.resource_spans.is_empty()).then_some(SentTrace { data, occurrences }))
    }
}

/// The nested form of an export. Spans of one resource share it, so they are told by where it lies.
fn nested(spans: Vec<Received>) -> Vec<ResourceSpans> {
    let mut known: Vec<(Received, ResourceSpans)> = Vec::new();
    for one in spans {
        let same = |known: &Received| Arc::ptr_eq(&known.resource, &one.resource);
        let at = known.iter().position(|(first, _)| same(first)).unwrap_or_else(|| {
            let resource = Some(one.resource.as_ref().clone());
            known.push((one.clone(), ResourceSpans { resource, ..ResourceSpans::default() }));
            known.len() - 1
        });
        let scopes = &mut known[at].1.scope_spans;
        let own = scopes.iter().position(|of_scope| of_scope.scope.as_ref() == Some(one.scope.as_ref()));
        let own = own.unwrap_or_else(|| {
            scopes.push(ScopeSpans { scope: Some(one.scope.as_ref().clone()), ..ScopeSpans::default() });
            scopes.len() - 1
        });
        scopes[own].spans.push(one.span);
    }
    known.into_iter().map(|(_, of_resource)| of_resource).collect()
}
