//! The report as Markdown, for the comment under a change or the summary of a job.
//!
//! Whatever spans said stands in code, where it is neither a link nor a mention nor markup, and can end no table.

use std::fmt::Write;

use super::words::{broken, place, seen, summary};
use super::{Found, Report};
use crate::sketch::visible;

/// Findings that are listed, and of these how many are shown with their evidence: comments have a limit.
const MAX_ROWS: usize = 100;
const MAX_SHOWN: usize = 20;

/// The whole report.
pub fn markdown(report: &Report) -> String {
    let mut out = format!("### Debunk: {}\n", summary(report).join(" · "));
    for (rule, traces) in &report.panicked {
        let _ = writeln!(out, "\n**{}**", broken(rule, *traces));
    }
    if report.findings.is_empty() {
        return out;
    }
    out.push_str("\n| | finding | where | |\n|---|---|---|---|\n");
    for found in report.findings.iter().take(MAX_ROWS) {
        let standing = found.standing().map(|word| format!(", {word}")).unwrap_or_default();
        let _ = writeln!(
            out,
            "| {}{standing} | {} | {} | {} |",
            found.claim.severity,
            cell(&code(&visible(&found.claim.headline))),
            cell(&code(&place(found))),
            seen(found),
        );
    }
    if MAX_ROWS < report.findings.len() {
        let _ = writeln!(out, "\nand {} more", report.findings.len() - MAX_ROWS);
    }
    for found in report.findings.iter().filter(|found| !found.is_expected()).take(MAX_SHOWN) {
        evidence(&mut out, found);
    }
    out
}

fn evidence(out: &mut String, found: &Found) {
    let Some(example) = found.occurrences.first() else { return };
    let claim = &found.claim;
    let _ = writeln!(out, "\n#### {}: {}\n", claim.severity, code(&visible(&claim.headline)));
    let _ = writeln!(
        out,
        "`{}` · id `{}` · trace `{}`: {}",
        claim.rule,
        claim.id,
        example.trace_id,
        code(&visible(&example.why))
    );
    if !example.not_visible.is_empty() {
        out.push('\n');
    }
    for missing in &example.not_visible {
        let _ = writeln!(out, "- not visible: {}", code(&visible(missing)));
    }
    let lines: Vec<String> = example.drawing.lines().map(visible).collect();
    let fence = "`".repeat(longest_run(&example.drawing).max(2) + 1);
    let _ = writeln!(out, "\n{fence}text\n{}\n{fence}", lines.join("\n"));
}

/// A code span around one line, whatever backticks it holds (`CommonMark` 0.31 §6.1).
fn code(line: &str) -> String {
    let fence = "`".repeat(longest_run(line) + 1);
    let padding = if line.starts_with('`') || line.ends_with('`') { " " } else { "" };
    format!("{fence}{padding}{line}{padding}{fence}")
}

fn longest_run(text: &str) -> usize {
    text.split(|letter| letter != '`').map(str::len).max().unwrap_or_default()
}

/// In a table a bar ends a cell even within code, unless it is escaped (`GitHub`'s tables).
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_spans_hold_any_line() {
        for (line, expected) in [
            ("calls", "`calls`"),
            ("calls `SELECT` twice", "``calls `SELECT` twice``"),
            ("`a` ``b``", "``` `a` ``b`` ```"),
            ("@everyone [x](http://y) <script>", "`@everyone [x](http://y) <script>`"),
        ] {
            assert_eq!(code(line), expected);
        }
        assert_eq!(cell("`a|b`"), "`a\\|b`");
    }
}
