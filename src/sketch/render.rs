//! A trace to a drawing for people: the evidence, what leads to it, and as much around it as fits.
//!
//! Clocks of hosts differ, so a span of another clock that would stick out of the span that asked for it is drawn
//! centred in it, with all of its clock below it. Only drawings do this: nothing is concluded from it.

use std::collections::HashMap;
use std::fmt::Write;

use super::longest::Longest;
use super::{USUAL_COLUMN_NS, visible};
use crate::model::{Kind, Role, Span, SpanIdx, Status, Trace};

/// Most lines of one drawing.
const MOST_LINES: usize = 40;
/// Most columns of a bar.
const MOST_COLUMNS: i64 = 56;
/// Longest name, in letters.
const MOST_LETTERS: usize = 60;

/// A span to point at, and what to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The span.
    pub span: SpanIdx,
    /// Stands after `<<`; may be empty.
    pub text: String,
}

/// Draws what `marks` point at. `around` is drawn as well: the unit that they belong to.
pub fn render(trace: &Trace, around: Option<SpanIdx>, marks: &[Mark]) -> String {
    Drawer::new(trace).draw(around, marks)
}

/// Makes any number of drawings of one trace. What one costs does not grow with the trace.
pub struct Drawer<'t> {
    trace: &'t Trace,
    longest: Longest<'t>,
}

impl<'t> Drawer<'t> {
    /// Of this trace.
    pub fn new(trace: &'t Trace) -> Self {
        Self { trace, longest: Longest::of(trace) }
    }

    /// Draws what `marks` point at. `around` is drawn as well: the unit that they belong to.
    pub fn draw(&mut self, around: Option<SpanIdx>, marks: &[Mark]) -> String {
        let trace = self.trace;
        let wanted: Vec<SpanIdx> = around.into_iter().chain(marks.iter().map(|mark| mark.span)).collect();
        let scope = scope(trace, &wanted);
        let within = scope.map_or(trace.depth_first(), |scope| trace.subtree(scope));
        let shown = if within.len() <= MOST_LINES {
            within.to_vec()
        } else {
            self.longest.choose(scope, &wanted, MOST_LINES)
        };
        let Some(top) = within.first() else { return String::new() };
        let mut clocks = Clocks { trace, top: *top, shifts: HashMap::new() };
        let starts: Vec<i64> = shown.iter().map(|at| clocks.start_ns(*at)).collect();
        let mut text = lines(trace, &shown, &starts, marks);
        if shown.len() < within.len() {
            let _ = writeln!(text, "… {} more spans", within.len() - shown.len());
        }
        text
    }
}

/// The axis, then one line for each span.
fn lines(trace: &Trace, shown: &[SpanIdx], starts: &[i64], marks: &[Mark]) -> String {
    let times = shown.iter().zip(starts).map(|(at, start_ns)| (*start_ns, trace.span(*at).duration_ns));
    let axis = Axis::over(times);
    let mut lines = Vec::with_capacity(shown.len());
    let mut above: Vec<SpanIdx> = Vec::new();
    for (at, start_ns) in shown.iter().zip(starts) {
        while above.last().is_some_and(|top| !trace.is_within(*at, *top)) {
            above.pop();
        }
        let span = trace.span(*at);
        let bar = axis.bar(*start_ns, span.duration_ns, failed(trace, *at));
        let indent = "  ".repeat(above.len());
        let service = word(&span.resource.service);
        let left = format!("|{bar}| {indent}{service}  {}  {}", kind(span), word(name(span)));
        lines.push((left, marks.iter().filter(|mark| mark.span == *at).collect::<Vec<_>>()));
        above.push(*at);
    }
    let mut text = axis.scale();
    let width =
        lines.iter().filter(|(_, marks)| !marks.is_empty()).map(|(left, _)| left.chars().count()).max();
    for (left, marks) in lines {
        text.push_str(&left);
        if !marks.is_empty() {
            let pad = width.unwrap_or(0).saturating_sub(left.chars().count());
            let said: Vec<_> = marks.iter().map(|mark| visible(&mark.text)).collect();
            let _ = write!(text, "{}   << {}", " ".repeat(pad), said.join("; "));
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// The lowest span above all that are wanted; `None` where there is none, or nothing is wanted.
fn scope(trace: &Trace, wanted: &[SpanIdx]) -> Option<SpanIdx> {
    let mut scope = *wanted.first()?;
    for at in wanted.iter().take(MOST_LINES) {
        while !trace.is_within(*at, scope) {
            scope = trace.parent(scope)?;
        }
    }
    Some(scope)
}

/// Moves spans of other clocks onto the drawing's one.
struct Clocks<'t> {
    trace: &'t Trace,
    /// Its clock is the drawing's.
    top: SpanIdx,
    shifts: HashMap<SpanIdx, i64>,
}

impl Clocks<'_> {
    /// Where a span at or below the top starts.
    fn start_ns(&mut self, at: SpanIdx) -> i64 {
        let mut unknown = Vec::new();
        let mut above = Some(at);
        while let Some(own) = above.filter(|own| !self.shifts.contains_key(own)) {
            unknown.push(own);
            above = self.trace.parent(own).filter(|_| own != self.top);
        }
        for own in unknown.into_iter().rev() {
            let parent = self.trace.parent(own).filter(|_| own != self.top);
            let shift = parent.map_or(0, |parent| self.shift_below(parent, own));
            self.shifts.insert(own, shift);
        }
        self.trace.span(at).start_ns.saturating_add(self.shift(at))
    }

    fn shift(&self, at: SpanIdx) -> i64 {
        self.shifts.get(&at).copied().unwrap_or_default()
    }

    fn shift_below(&self, parent: SpanIdx, at: SpanIdx) -> i64 {
        let (asker, span) = (self.trace.span(parent), self.trace.span(at));
        let asked_at = asker.start_ns.saturating_add(self.shift(parent));
        if asker.resource.clock_domain == span.resource.clock_domain {
            self.shift(parent)
        } else if (asked_at..=asked_at.saturating_add(asker.duration_ns)).contains(&span.start_ns) {
            0
        } else {
            let slack = asker.duration_ns.saturating_sub(span.duration_ns).max(0) / 2;
            asked_at.saturating_add(slack).saturating_sub(span.start_ns)
        }
    }
}

/// What a column stands for.
struct Axis {
    begin_ns: i64,
    column_ns: i64,
    columns: i64,
}

impl Axis {
    fn over(spans: impl Iterator<Item = (i64, i64)> + Clone) -> Self {
        let begin_ns = spans.clone().map(|(start, _)| start).min().unwrap_or(0);
        let end_ns = spans.map(|(start, long)| start.saturating_add(long)).max().unwrap_or(begin_ns);
        let total_ns = end_ns.saturating_sub(begin_ns).max(1);
        let steps = (0..18).flat_map(|power| [1, 2, 5].map(|step| step * 10_i64.pow(power)));
        let column_ns = steps
            .filter(|column| total_ns.saturating_add(column - 1) / column <= MOST_COLUMNS)
            .min()
            .unwrap_or(i64::MAX);
        Self { begin_ns, column_ns, columns: (total_ns.saturating_add(column_ns - 1) / column_ns).max(1) }
    }

    fn bar(&self, start_ns: i64, long_ns: i64, failed: bool) -> String {
        let column =
            |ns: i64| ns.saturating_sub(self.begin_ns).saturating_add(self.column_ns / 2) / self.column_ns;
        let first = column(start_ns).clamp(0, self.columns - 1);
        let last = column(start_ns.saturating_add(long_ns)).clamp(first + 1, self.columns);
        let (before, long, after) = (first as usize, (last - first) as usize, (self.columns - last) as usize);
        let end = if failed { "x" } else { "=" };
        format!("{}{}{end}{}", " ".repeat(before), "=".repeat(long - 1), " ".repeat(after))
    }

    fn scale(&self) -> String {
        if self.column_ns == USUAL_COLUMN_NS {
            return String::new();
        }
        let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];
        let unit = units.into_iter().find(|(_, ns)| self.column_ns % ns == 0).unwrap_or(("ns", 1));
        format!("@ {}{}\n", self.column_ns / unit.1, unit.0)
    }
}

/// Marked as failed by its SDK, or given up without being marked.
fn failed(trace: &Trace, at: SpanIdx) -> bool {
    let span = trace.span(at);
    span.status == Status::Error || span.facts.verdict.failed()
}

fn kind(span: &Span) -> &'static str {
    match span.kind {
        Kind::Client if matches!(span.facts.role, Role::Db | Role::Cache) => "db",
        Kind::Client => "client",
        Kind::Server => "server",
        Kind::Producer => "producer",
        Kind::Consumer => "consumer",
        Kind::Internal => "local",
    }
}

fn name(span: &Span) -> &str {
    let operation = span.facts.operation.trim();
    if operation.is_empty() { span.name.trim() } else { operation }
}

/// One field of a line: visible, single-spaced, of bounded length, never empty.
fn word(text: &str) -> String {
    let single = visible(text).split_whitespace().collect::<Vec<_>>().join(" ");
    match single.char_indices().nth(MOST_LETTERS) {
        _ if single.is_empty() => "?".to_owned(),
        Some((at, _)) => format!("{}…", &single[..at]),
        None => single,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const ORDER: &str = "\
|====================================| shop  server  POST /order
| ==========x                        |   shop  client  POST bank/pay
|  ===============================   |     bank  server  POST /pay
|                  ==========        |       bank  db  INSERT payment
|             =========              |   shop  client  shop.Stock/Reserve
|                                  = |   shop  producer  publish orders
";

    fn whole(text: &str) -> String {
        render(&parse(text).unwrap().trace(), None, &[])
    }

    /// What a drawing says of each span besides its time: parent, service, kind, failure.
    fn structure(text: &str) -> Vec<(Vec<u8>, String, i32, i32)> {
        let drawing = parse(text).unwrap();
        let mut all: Vec<_> = drawing
            .spans
            .iter()
            .map(|one| {
                let service = format!("{:?}", one.resource.attributes);
                (
                    one.span.parent_span_id.clone(),
                    service,
                    one.span.kind,
                    one.span.status.as_ref().map_or(0, |s| s.code),
                )
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn a_trace_drawn_and_read_again_is_the_same_trace() {
        assert_eq!(structure(&whole(ORDER)), structure(ORDER), "{}", whole(ORDER));
        assert_eq!(whole(&whole(ORDER)), whole(ORDER));
    }

    #[test]
    fn marks_stand_beside_their_spans() {
        let trace = parse(ORDER).unwrap().trace();
        let pay = trace.indices().find(|at| trace.span(*at).kind == Kind::Client).unwrap();
        let text = render(&trace, None, &[Mark { span: pay, text: "attempt:1\u{1b}[31m".to_owned() }]);
        assert!(text.contains("   << attempt:1\\u{1b}[31m\n"), "{text}");
        assert_eq!(text.matches("<<").count(), 1);
        // The mark's own call and what is below it: nothing else matters to it.
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn a_large_trace_is_drawn_on_one_screen() {
        let mut text = format!("|{}| a  server  GET /\n", "=".repeat(300));
        for at in 0..300 {
            let (before, after) = (" ".repeat(at), " ".repeat(299 - at));
            writeln!(text, "|{before}={after}|   a  client  GET b/{at}").unwrap();
        }
        let trace = parse(&text).unwrap().trace();
        let last = trace.indices().next_back().unwrap();
        let drawn = render(&trace, trace.root(), &[Mark { span: last, text: String::new() }]);
        assert_eq!(drawn.lines().count(), MOST_LINES + 2, "{drawn}");
        assert!(drawn.ends_with("… 261 more spans\n"), "{drawn}");
        assert!(drawn.lines().any(|line| line.ends_with("<<")), "{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() < 130), "{drawn}");
    }

    #[test]
    fn hostile_names_become_visible() {
        let text = word("a\u{202e}b\u{0}  {x=1}\n<< c");
        assert_eq!(text, "a\\u{202e}b\\u{0} {x=1}\\n<< c");
        assert_eq!(word(" "), "?");
        assert_eq!(word(&"é".repeat(70)).chars().count(), MOST_LETTERS + 1);
    }

    #[test]
    fn a_clock_that_is_off_does_not_stretch_the_drawing() {
        let mut drawing = parse(ORDER).unwrap();
        for one in drawing.spans.iter_mut().filter(|one| 3 <= one.span.span_id[7] && one.span.span_id[7] <= 4)
        {
            one.span.start_time_unix_nano += 3_600_000_000_000;
            one.span.end_time_unix_nano += 3_600_000_000_000;
        }
        let text = render(&drawing.trace(), None, &[]);
        assert_eq!(structure(&text), structure(ORDER), "{text}");
        assert!(!text.contains('@'), "{text}");
    }

    #[test]
    fn nothing_to_draw_is_nothing() {
        assert_eq!(render(&Trace::assemble(Vec::new(), crate::model::Assembly::default()), None, &[]), "");
    }
}
