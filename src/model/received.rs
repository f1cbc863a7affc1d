//! A span as it came over the wire, with its resource and scope. The only form that has attributes; `semconv`
//! turns it into a [`Span`](super::Span).

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1;
use opentelemetry_proto::tonic::trace::v1::{self as trace, ResourceSpans};

/// The kind of what is no span but an event of one that came by itself, as a log record. Nothing from outside has it.
pub const EVENT_KIND: i32 = -1;

/// One span of an export, or of the store. Ids have been checked: 16 and 8 bytes, not zero.
#[derive(Clone, Debug)]
pub struct Received {
    /// Shared by all spans of the resource.
    pub resource: Arc<v1::Resource>,
    /// Shared by all spans of the scope.
    pub scope: Arc<InstrumentationScope>,
    /// As sent, secrets redacted.
    pub span: trace::Span,
}

impl Received {
    /// It is no span, but holds an event of the span whose id it has.
    pub fn is_event(&self) -> bool {
        self.span.kind == EVENT_KIND
    }

    /// Flattens the nested form of an export. Missing resources and scopes become empty ones.
    pub fn flatten(exports: Vec<ResourceSpans>) -> Vec<Self> {
        let mut flat = Vec::new();
        for of_resource in exports {
            let resource = Arc::new(of_resource.resource.unwrap_or_default());
            for of_scope in of_resource.scope_spans {
                let scope = Arc::new(of_scope.scope.unwrap_or_default());
                flat.extend(of_scope.spans.into_iter().map(|span| Self {
                    resource: Arc::clone(&resource),
                    scope: Arc::clone(&scope),
                    span,
                }));
            }
        }
        flat
    }
}
