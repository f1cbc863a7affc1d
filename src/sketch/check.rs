//! Holds a rule to a drawing: what it finds is what is marked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Drawing, parse};
use crate::model::{Assembly, SpanId, Trace};
use crate::rules::{self, Thresholds};
use crate::semconv;

/// A drawing whose marks are not what the rule found. Prints both, one above the other.
pub struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

// So that a failed test prints drawings and not escapes.
impl fmt::Debug for Mismatch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\n{}", self.0)
    }
}

impl Drawing {
    /// The drawn trace, as it would be judged once settled.
    pub fn trace(&self) -> Trace {
        Trace::assemble(semconv::spans(&self.spans, &BTreeMap::new()), Assembly::default())
    }
}

/// Runs one rule, with its usual thresholds, over a drawing: exactly the marked spans must be evidence. A unit
/// that is evidence of itself need not be marked.
pub fn check(rule: &str, drawing: &str) -> Result<(), Mismatch> {
    let rule = rules::find(rule).ok_or_else(|| Mismatch(format!("no rule is called {rule:?}")))?;
    let drawn = parse(drawing).map_err(|error| Mismatch(format!("{error}\n{drawing}")))?;
    let trace = drawn.trace();
    let occurrences = rule.inspect(&trace, &Thresholds::default());
    let found: BTreeSet<SpanId> = occurrences
        .iter()
        .flat_map(|occurrence| &occurrence.evidence)
        .filter(|evidence| evidence.role != "unit" || drawn.marked.contains(&trace.span(evidence.span).id))
        .map(|evidence| trace.span(evidence.span).id)
        .collect();
    if found == drawn.marked && occurrences.is_empty() == drawn.marked.is_empty() {
        return Ok(());
    }
    let reasons: Vec<_> =
        occurrences.iter().map(|found| format!("  {}: {}", found.variant, found.why)).collect();
    Err(Mismatch(format!(
        "{}\nexpected:\n{}\nfound:\n{}{}",
        rule.id,
        drawing.trim_end(),
        remarked(drawing, &drawn, &found),
        if reasons.is_empty() { "  nothing".to_owned() } else { reasons.join("\n") },
    )))
}

/// The same drawing with other marks.
fn remarked(drawing: &str, drawn: &Drawing, marks: &BTreeSet<SpanId>) -> String {
    let mut text = String::new();
    for (line, id) in drawing.lines().zip(&drawn.lines) {
        let bare = line.rfind("  <<").map_or(line, |at| &line[..at]).trim_end();
        text.push_str(bare);
        if id.is_some_and(|id| marks.contains(&id)) {
            text.push_str("   <<");
        }
        text.push('\n');
    }
    text
}
