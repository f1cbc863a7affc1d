//! `debunk scan`: judges the traces in files, without a server or a database.
//!
//! All spans of a trace are judged together, whatever lines and files they come from, so all files are read (`read`)
//! before the first trace is judged (`judge`). Between the two, spans wait on a `heap` that takes little memory.

mod batch;
mod heap;
mod judge;
mod read;

use std::io::{BufWriter, IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use clap::{Args as ClapArgs, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Usage, wants_colour};
use crate::config::Config;
use crate::findings::life::Gate;
use crate::findings::report;
use crate::rules::{self, Confidence, Severity, Thresholds};

/// Files smaller than this are read before a bar would be seen.
const LARGE_BYTES: u64 = 4 << 20;

/// Judge the traces in files and report what they prove.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Traces as OTLP: JSON, JSON lines or protobuf, compressed or not. `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Exit with 1 if a finding is at least so severe: low, medium, high, critical.
    #[arg(long, value_name = "SEVERITY")]
    pub fail_on: Option<Severity>,
    /// Only this rule; may be repeated.
    #[arg(long = "rule", value_name = "ID")]
    pub rules: Vec<String>,
    /// Report occurrences at least so sure: low, medium, high, confirmed.
    #[arg(long, value_name = "CONFIDENCE", default_value = "medium")]
    pub min_confidence: Confidence,
}

/// Who reads the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// People.
    #[default]
    Text,
    /// Programs.
    Json,
}

/// Reads, judges, reports.
pub fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let thresholds = thresholds(args, config)?;
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (heap, mut read) = read::files(&args.files, workers)?;
    let (traces, inspections) = judge::all(&heap, &thresholds, config, workers)?;
    read.traces = traces;
    let gate = Gate { high: config.findings.gate_high, medium: config.findings.gate_medium };
    let report = report::report(read, inspections, args.min_confidence, gate);
    super::print_with(|out| match args.format {
        Format::Text => out.write_all(report::text(&report, wants_colour(&stdout())).as_bytes()),
        Format::Json => report::json(&report, BufWriter::new(out)),
    })
    .context("cannot write the report")?;
    let failed = args.fail_on.is_some_and(|severity| report.reaches(severity));
    Ok(ExitCode::from(u8::from(failed)))
}

fn thresholds(args: &Args, config: &Config) -> anyhow::Result<Thresholds> {
    let mut thresholds = config.rules.clone();
    if let Some(unknown) = args.rules.iter().find(|id| rules::find(id).is_none()) {
        let ids: Vec<_> = rules::RULES.iter().map(|rule| rule.id).collect();
        return Err(Usage(format!("no rule is called {unknown:?}; there are {}", ids.join(", "))).into());
    }
    if !args.rules.is_empty() {
        thresholds.only(&args.rules.iter().map(String::as_str).collect::<Vec<_>>());
    }
    Ok(thresholds)
}

/// A bar on standard error, for what takes a while and where somebody watches.
fn bar(total: u64, what: &'static str, amounts: &str) -> ProgressBar {
    if total < LARGE_BYTES || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = format!("{{msg:<6}} {{bar:40}} {{percent:>3}} % {amounts}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style).with_message(what)
}

fn note(text: &str) -> std::io::Result<()> {
    writeln!(stderr(), "{}", crate::sketch::visible(text))
}
