//! The report for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::{Found, GateState, Novelty, Read, Report};
use crate::findings::shape::{Claim, Occurrence};
use crate::sketch::acts;

#[derive(Serialize)]
struct Body<'a> {
    read: Read,
    findings: Vec<Finding<'a>>,
    /// Occurrences below the confidence asked for.
    not_shown: u64,
    /// Ids of the baseline that are not in the files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
}

#[derive(Serialize)]
struct Finding<'a> {
    #[serde(flatten)]
    claim: &'a Claim,
    gate: GateState,
    /// `new` or `known`; absent without a baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<Novelty>,
    /// Why the settings suppress it; absent where they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressed: Option<&'a str>,
    occurrences: &'a [Occurrence],
}

/// Writes indented JSON with a line break at its end.
pub fn json(report: &Report, out: impl Write) -> io::Result<()> {
    let body = Body {
        read: report.read,
        findings: report.findings.iter().map(Finding::of).collect(),
        not_shown: report.below,
        gone: report.gone.iter().map(ToString::to_string).collect(),
    };
    write(&body, out)
}

impl<'a> Finding<'a> {
    fn of(found: &'a Found) -> Self {
        let Found { claim, gate, novelty, suppressed, occurrences, .. } = found;
        Self { claim, gate: *gate, baseline: *novelty, suppressed: suppressed.as_deref(), occurrences }
    }
}

/// Indented JSON that may be printed at a terminal: letters that act are written by their numbers.
pub(super) fn write(value: &impl Serialize, out: impl Write) -> io::Result<()> {
    let mut out = Inert(out);
    serde_json::to_writer_pretty(&mut out, value)?;
    out.0.write_all(b"\n")
}

/// Writes JSON on. Outside of strings JSON holds no such letter but line feeds, so everything may be read over.
struct Inert<W>(W);

impl<W: Write> Write for Inert<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // `serde_json` cuts at letters that it escapes itself, never within one.
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        let mut plain = 0;
        for (at, letter) in text.char_indices().filter(|(_, letter)| acts(*letter) && *letter != '\n') {
            self.0.write_all(&bytes[plain..at])?;
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(self.0, "\\u{unit:04x}")?;
            }
            plain = at + letter.len_utf8();
        }
        self.0.write_all(&bytes[plain..])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_is_written_by_its_number_and_read_back_as_it_was() {
        let text = "a\u{202e}b\u{9b}31m\u{1b}[2J\u{e0041}\n\"é 世界";
        let mut out = Vec::new();
        write(&[text], &mut out).unwrap();
        let written = String::from_utf8(out).unwrap();
        assert_eq!(written, "[\n  \"a\\u202eb\\u009b31m\\u001b[2J\\udb40\\udc41\\n\\\"é 世界\"\n]\n");
        assert_eq!(serde_json::from_str::<Vec<String>>(&written).unwrap(), [text]);
    }
}
