//! For which spans the trace's roots waited (RULES A12).
//!
//! Corrects no clock: a server span is laid centred into its client's, which needs durations only. Messages and
//! children that outlive their parent are waited for by nobody.

use std::cmp::Reverse;

use super::trace::Trace;
use super::{Kind, SpanIdx};

/// Nanoseconds that each span lies on its root's critical path, everything below it included.
#[derive(Default)]
pub(super) struct Path {
    on_path_ns: Vec<i64>,
}

impl Path {
    pub(super) fn on_path_ns(&self, at: SpanIdx) -> i64 {
        self.on_path_ns[at.at()]
    }
}

/// Node counts starts in whole milliseconds: what ends with its parent may seem to end so much later.
const COARSE_NS: i64 = 1_000_000;

/// A span that is waited for, on its root's clock: until when, and how far its own clock is moved.
struct Waited {
    at: SpanIdx,
    from: i64,
    to: i64,
    shift: i64,
}

/// Times that differ by less count as the same: 1 % of the whole, at least 0.1 ms, at most 5 ms.
pub(super) fn slack_ns(duration_ns: i64) -> i64 {
    (duration_ns / 100).clamp(100_000, 5_000_000)
}

/// From each root's end backwards: the child that ended last was waited for until then, before it the one that
/// ended last before that child began, and so on, and the same within each of them.
pub(super) fn walk(trace: &Trace) -> Path {
    let mut path = Path { on_path_ns: vec![0; trace.spans.len()] };
    let mut open = Vec::new();
    for root in trace.roots() {
        let span = trace.span(*root);
        open.push(Waited { at: *root, from: span.start_ns, to: span.end_ns(), shift: 0 });
        let slack = slack_ns(span.duration_ns);
        while let Some(parent) = open.pop() {
            path.on_path_ns[parent.at.at()] = parent.to - parent.from;
            let mut until = parent.to;
            for child in laid_out(trace, &parent) {
                if until <= parent.from {
                    break;
                }
                if until.saturating_add(slack) < child.to {
                    continue;
                }
                let to = child.to.min(until);
                if child.from < to {
                    until = child.from;
                    open.push(Waited { to, ..child });
                }
            }
        }
    }
    path
}

/// The children that somebody may wait for, within their parent's time, those that end last first.
fn laid_out(trace: &Trace, parent: &Waited) -> Vec<Waited> {
    let of_client = trace.span(parent.at).kind == Kind::Client;
    let slack = slack_ns(parent.to - parent.from).max(COARSE_NS);
    let mut children: Vec<Waited> = Vec::with_capacity(trace.children(parent.at).len());
    let centred = if of_client { centring(trace, parent) } else { None };
    for at in trace.children(parent.at) {
        let span = trace.span(*at);
        if span.kind == Kind::Consumer {
            continue;
        }
        let of_server = of_client && span.kind == Kind::Server;
        let shift = if of_server { centred.unwrap_or(parent.shift) } else { parent.shift };
        let (from, to) = (span.start_ns.saturating_add(shift), span.end_ns().saturating_add(shift));
        if !of_server && parent.to.saturating_add(slack) < to {
            continue;
        }
        let (from, to) = (from.max(parent.from), to.min(parent.to));
        if from < to {
            children.push(Waited { at: *at, from, to, shift });
        }
    }
    children.sort_by_key(|child| (Reverse(child.to), Reverse(child.from), child.at));
    children
}

/// How far the server children of a client move so that they lie in its middle. Several keep their distance.
fn centring(trace: &Trace, parent: &Waited) -> Option<i64> {
    let servers = || {
        let children = trace.children(parent.at).iter().map(|at| trace.span(*at));
        children.filter(|span| span.kind == Kind::Server)
    };
    let start = servers().map(|span| span.start_ns).min()?;
    let end = servers().map(super::Span::end_ns).max()?;
    let room = (parent.to - parent.from).saturating_sub(end.saturating_sub(start)).max(0);
    Some(parent.from.saturating_add(room / 2).saturating_sub(start))
}

#[cfg(test)]
mod tests {
    use super::super::SpanIdx;
    use super::super::build::Build;
    use super::*;

    #[test]
    fn only_the_slowest_of_parallel_calls_is_waited_for() {
        let mut build = Build::default();
        let root = build.span(0, "web", Kind::Server, "GET /", 0, 100_000);
        build.span(root, "web", Kind::Client, "a", 10_000, 50_000);
        build.span(root, "web", Kind::Client, "b", 20_000, 70_000);
        let trace = build.trace();
        let on_path: Vec<i64> = trace.indices().map(|at| trace.on_path_ns(at) / 1_000_000).collect();
        // `a` ends when `b` has long begun; until then only `b` could be waited for.
        assert_eq!(on_path, [100, 0, 70]);
    }

    #[test]
    fn serial_calls_are_waited_for_one_after_another_whatever_the_servers_clock_says() {
        let mut build = Build::default();
        let root = build.span(0, "web", Kind::Server, "GET /", 0, 1000);
        for (from, skew) in [(100, 0), (400, 5_000_000)] {
            build.request(root, "web", "stock", "GET /stock", from, 200);
            build.last().start_ns += skew * 1000;
        }
        let trace = build.trace();
        let servers = trace.indices().filter(|at| trace.span(*at).resource.service == "stock");
        assert_eq!(servers.map(|at| trace.on_path_ns(at)).collect::<Vec<_>>(), [160_000, 160_000]);
        assert_eq!(trace.on_path_ns(SpanIdx(0)), 1_000_000);
    }

    #[test]
    fn a_handler_that_ends_with_its_server_is_waited_for_though_its_start_was_rounded() {
        let mut build = Build::default();
        let root = build.span(0, "web", Kind::Server, "GET /", 0, 66_500);
        let handler = build.span(root, "web", Kind::Internal, "handler", 1_000, 66_200);
        build.span(handler, "web", Kind::Client, "a", 2_000, 15_000);
        let trace = build.trace();
        assert_eq!(trace.on_path_ns(SpanIdx(2)), 15_000_000);
    }

    #[test]
    fn nobody_waits_for_messages_or_for_work_that_goes_on_alone() {
        let mut build = Build::default();
        let root = build.span(0, "web", Kind::Server, "GET /", 0, 1000);
        let send = build.span(root, "web", Kind::Producer, "send", 100, 10);
        build.span(send, "mail", Kind::Consumer, "process", 105, 800);
        build.span(root, "web", Kind::Internal, "goes on", 200, 3000);
        let trace = build.trace();
        assert_eq!(
            trace.indices().map(|at| trace.on_path_ns(at) / 1000).collect::<Vec<_>>(),
            [1000, 10, 0, 0]
        );
    }
}
