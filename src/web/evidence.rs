//! The evidence of one occurrence, drawn: a lane per span, all on one axis of time, each with its role and with the
//! values that were compared.

use maud::{Markup, html};

use super::layout::encoded;
use super::words::{coded, duration};
use crate::findings::Evidence;
use crate::findings::shape::Occurrence;

/// Most lanes on a page; the rest stands in the drawing and in the API.
const MAX_LANES: usize = 60;

/// The part of time that a drawing shows, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    start: f64,
    length: f64,
}

impl Axis {
    /// From `start` to `end`; never empty, so that everything has a place.
    pub(super) fn new(start: f64, end: f64) -> Self {
        Self { start, length: (end - start).max(0.001) }
    }

    /// Where an instant stands, in percent of the width.
    fn x(self, at: f64) -> f64 {
        ((at - self.start) / self.length * 100.0).clamp(0.0, 100.0)
    }

    /// Left edge and width of a bar, in percent. Even the shortest bar can be seen, and none leaves the drawing.
    pub(super) fn bar(self, offset: f64, length: f64) -> (f64, f64) {
        let width = (self.x(offset + length.max(0.0)) - self.x(offset)).max(0.4);
        (self.x(offset).min(100.0 - width), width)
    }

    /// Five marks and their words.
    pub(super) fn marks(self) -> Markup {
        html! {
            svg.axis aria-hidden="true" width="100%" height="16" {
                @for step in 0..=4_i32 {
                    @let share = f64::from(step) * 25.0;
                    @let anchor = match step { 0 => "start", 4 => "end", _ => "middle" };
                    text x={ (share) "%" } y="12" text-anchor=(anchor) {
                        (duration(self.start + self.length * f64::from(step) / 4.0))
                    }
                }
            }
        }
    }
}

/// Vertical lines at the quarters, behind a bar.
pub(super) fn grid() -> Markup {
    html! {
        @for share in [0, 25, 50, 75, 100] {
            line.grid x1={ (share) "%" } x2={ (share) "%" } y1="0" y2="100%" {}
        }
    }
}

/// Whether the traces that spans belong to can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traces {
    /// On a page of theirs.
    Kept,
    /// They were read from files.
    Elsewhere,
}

/// The lanes of an occurrence.
pub(super) fn lanes(occurrence: &Occurrence, traces: Traces) -> Markup {
    let evidence = &occurrence.evidence;
    let Some(first) = evidence.first() else { return Markup::default() };
    let (start, end) = evidence.iter().fold((first.offset_ms, first.offset_ms), |(start, end), span| {
        (start.min(span.offset_ms), end.max(span.offset_ms + span.duration_ms.max(0.0)))
    });
    let axis = Axis::new(start, end);
    html! {
        div.lane.scale aria-hidden="true" { span {} (axis.marks()) }
        ol.lanes { @for span in evidence.iter().take(MAX_LANES) {
            @let page = (traces == Traces::Kept).then(|| page(&occurrence.trace_id, span));
            (lane(span, page, axis))
        } }
        @if evidence.len() > MAX_LANES {
            p.note { (evidence.len() - MAX_LANES) " more spans of evidence are in the same as JSON." }
        }
    }
}

/// Where a span stands on the page of its trace.
fn page(trace: &str, span: &Evidence) -> String {
    let id = encoded(&span.span_id);
    format!("/traces/{}?span={id}#s-{id}", encoded(trace))
}

fn lane(span: &Evidence, page: Option<String>, axis: Axis) -> Markup {
    let (x, width) = axis.bar(span.offset_ms, span.duration_ms);
    let role = class(span.role.split(':').next().unwrap_or_default());
    let what = html! { (span.service) " " b { (span.operation) } };
    html! {
        li.lane {
            span.who {
                span class={ "role role-" (role) } { (span.role.replace(':', " ")) }
                " "
                @if let Some(page) = page { a href=(page) { (what) } } @else { (what) }
            }
            span.when {
                svg.bar aria-hidden="true" width="100%" height="18" {
                    (grid())
                    rect class={ "role-" (role) } x={ (decimals(x)) "%" } width={ (decimals(width)) "%" }
                        y="3" height="12" rx="2" {}
                }
                span.measure {
                    "at " (duration(span.offset_ms)) ", took " b { (duration(span.duration_ms)) }
                    @if !span.note.is_empty() { " · " (coded(&span.note)) }
                }
            }
        }
    }
}

/// The class of a role that the style sheet knows.
fn class(role: &str) -> &'static str {
    let known = ["unit", "call", "attempt", "server", "write", "gap", "barrier", "source"];
    known.into_iter().find(|known| *known == role).unwrap_or("other")
}

/// Two digits are finer than a pixel.
pub(super) fn decimals(number: f64) -> String {
    format!("{number:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stay_inside_and_can_be_seen() {
        let axis = Axis::new(100.0, 300.0);
        assert_eq!(axis.bar(100.0, 200.0), (0.0, 100.0));
        assert_eq!(axis.bar(150.0, 50.0), (25.0, 25.0));
        let (x, width) = axis.bar(300.0, 0.0);
        assert!(width > 0.0 && x + width <= 100.0, "{x} {width}");
        let (x, width) = axis.bar(-1e12, -5.0);
        assert!(x >= 0.0 && width > 0.0);
        let (x, width) = Axis::new(5.0, 5.0).bar(5.0, 0.0);
        assert!(x.is_finite() && width.is_finite());
    }
}
