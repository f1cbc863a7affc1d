//! Traces drawn as text, read and written. One drawing serves the manual, the tests, the command line, the API
//! and the pages.
//!
//! ```text
//! @ 10ms
//! |==============| shop  server  POST /order
//! | ====x        |   shop  client  POST bank/pay  {http.response.status_code=503}   << attempt:1
//! |      ====    |   shop  client  POST bank/pay  {http.request.resend_count=1}     << attempt:2
//! ```
//!
//! One line is one span. The bar is its time, a column `@ 10ms` wide unless the first line says otherwise; two
//! spaces of indent make a child; `x` at a bar's end is a failure; `<<` marks evidence, and what follows it is
//! for people. Fields are parted by two spaces or more: service, kind (`server client db producer consumer
//! local`), name. A name stands for what an SDK would write with it
//! ([`semconv::drawn`](crate::semconv::drawn)); words in braces are raw attributes that pass through `semconv`
//! like any SDK's, add to those and win over them:
//!
//! - `key=value`, whole numbers as numbers, `[a, b]` as a list, `"…"` where a value holds a comma or brace;
//!   `key=` takes a usual attribute away.
//! - `exception.type=…` makes an exception event of the span.
//! - `resource.KEY=…` belongs to the service: said once, it holds for all its spans, unless a span says otherwise.
//! - `scope.name=…`; `span.message=…` (of its status); `span.status=unset|ok|error`; `span.link=3` (to the span on
//!   line 3); `span.id=3` (the same id as that); `span.parent=gone` (a parent that was never received).
//!
//! A line that starts with `…` says that spans were left out.
//!
//! It draws what it is given and knows nothing of findings.

mod attributes;
mod check;
mod longest;
mod parse;
mod render;
mod visible;

pub use check::{Mismatch, check};
pub use parse::{BadDrawing, Drawing, parse};
pub use render::{Drawer, Mark, render};
pub use visible::{acts, visible};

/// Nanoseconds a column stands for where a drawing does not say.
const USUAL_COLUMN_NS: i64 = 10_000_000;

/// The drawings of a page: its code blocks of language `trace`, with the number of the line on which each starts.
pub fn drawings(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line.trim()) {
            (None, "```trace") => open = Some((number + 2, String::new())),
            (Some(_), "```") => found.extend(open.take()),
            (Some((_, text)), _) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}
