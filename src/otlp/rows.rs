//! What an export becomes: checked, redacted and cut to size, as rows.
//!
//! Protobuf is read span by span, and of most spans only what has a column; JSON is decoded as a whole.

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};

use super::Own;
use super::trim::Trim;
use crate::decode::check::{self, Reason, Rejections};
use crate::decode::items::{self, Item};
use crate::decode::plain::Limits;
use crate::decode::{DecodeError, NoRoom, Room, otlp};
use crate::semconv::exceptions::Exceptions;
use crate::semconv::{self, secrets};
use crate::store::{Batch, Days};
use crate::telemetry::SERVICE;

/// What the door does with every span.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) own: Own,
    pub(super) limits: Limits,
    pub(super) days: Days,
}

/// Rows of a protobuf request, and what was left out of it.
pub(super) fn protobuf(
    rules: Rules,
    bytes: &Bytes,
    room: Room<'_>,
) -> Result<(Batch, Rejections), DecodeError> {
    // Names and attributes are what of the request is kept.
    room(bytes.len())?;
    let mut intake = Intake::new(rules);
    items::protobuf(bytes, &rules.limits, room, &mut |item| intake.take(item, room))?;
    Ok((intake.batch, intake.rejections))
}

/// The same of a request in JSON.
pub(super) fn json(rules: Rules, bytes: &Bytes, room: Room<'_>) -> Result<(Batch, Rejections), DecodeError> {
    let exports = otlp::json(bytes, room)?;
    let mut intake = Intake::new(rules);
    intake.exports(exports, room)?;
    Ok((intake.batch, intake.rejections))
}

/// Rows of the exceptions among some log records, and how many records are none.
pub(super) fn logs(
    rules: Rules,
    exceptions: Exceptions,
    room: Room<'_>,
) -> Result<(Batch, Rejections, u64), DecodeError> {
    let mut intake = Intake::new(rules);
    // Whose they are is told by their span.
    intake.batch.resource(&Resource::default());
    intake.batch.scope(&InstrumentationScope::default());
    let of_scopes = exceptions.exports.into_iter().flat_map(|of_resource| of_resource.scope_spans);
    for span in of_scopes.flat_map(|of_scope| of_scope.spans) {
        intake.keep(span, room)?;
    }
    Ok((intake.batch, intake.rejections, exceptions.ignored))
}

struct Intake {
    own: Own,
    trim: Trim,
    batch: Batch,
    rejections: Rejections,
    /// The spans at hand are our own, and nobody asked for them.
    turned_away: bool,
}

impl Intake {
    fn new(Rules { own, limits, days }: Rules) -> Self {
        let (batch, rejections) = (Batch::new(days), Rejections::default());
        Self { own, trim: Trim(limits), batch, rejections, turned_away: false }
    }

    fn exports(&mut self, exports: Vec<ResourceSpans>, room: Room<'_>) -> Result<(), NoRoom> {
        for of_resource in exports {
            self.take(Item::Resource(of_resource.resource.unwrap_or_default()), room)?;
            for of_scope in of_resource.scope_spans {
                self.take(Item::Scope(of_scope.scope.unwrap_or_default()), room)?;
                for span in of_scope.spans {
                    self.take(Item::Decoded(span), room)?;
                }
            }
        }
        Ok(())
    }

    /// Secrets go before anything is cut: half a secret is not recognised, and still half of it.
    fn take(&mut self, item: Item<'_>, room: Room<'_>) -> Result<(), NoRoom> {
        match item {
            Item::Resource(mut resource) => {
                self.turned_away = self.own == Own::Rejected && semconv::is_of(&resource, SERVICE);
                if !self.turned_away {
                    secrets::redact_resource(&mut resource);
                    self.trim.resource(&mut resource);
                    self.batch.resource(&resource);
                }
            }
            Item::Scope(mut scope) => {
                if !self.turned_away {
                    secrets::redact_scope(&mut scope);
                    self.trim.scope(&mut scope);
                    self.batch.scope(&scope);
                }
            }
            Item::Plain(span) if self.turned_away => self.rejections.add(Reason::OwnService, span.name, &[]),
            Item::Plain(span) => {
                room(self.batch.growth())?;
                self.batch.plain(&span);
            }
            Item::Decoded(mut span) => {
                if !check::check_span(&mut span, &mut self.rejections) {
                    return Ok(());
                }
                if self.turned_away {
                    self.rejections.add(Reason::OwnService, &span.name, &[]);
                    return Ok(());
                }
                self.keep(span, room)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, mut span: Span, room: Room<'_>) -> Result<(), NoRoom> {
        secrets::redact_span(&mut span);
        self.trim.span(&mut span);
        room(self.batch.growth())?;
        self.batch.span(span);
        Ok(())
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
