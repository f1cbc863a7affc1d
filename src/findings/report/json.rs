//! The report for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::{Found, GateState, Read, Report};
use crate::findings::shape::{Claim, Occurrence};

#[derive(Serialize)]
struct Body<'a> {
    read: Read,
    findings: Vec<Finding<'a>>,
    /// Occurrences below the confidence asked for.
    not_shown: u64,
}

#[derive(Serialize)]
struct Finding<'a> {
    #[serde(flatten)]
    claim: &'a Claim,
    gate: GateState,
    occurrences: &'a [Occurrence],
}

/// Writes indented JSON with a line break at its end.
pub fn json(report: &Report, mut out: impl Write) -> io::Result<()> {
    let body = Body {
        read: report.read,
        findings: report.findings.iter().map(Finding::of).collect(),
        not_shown: report.below,
    };
    serde_json::to_writer_pretty(&mut out, &body)?;
    out.write_all(b"\n")
}

impl<'a> Finding<'a> {
    fn of(found: &'a Found) -> Self {
        Self { claim: &found.claim, gate: found.gate, occurrences: &found.occurrences }
    }
}
