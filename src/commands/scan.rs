//! `debunk scan`: judges the traces in files, without a server or a database.
//!
//! All spans of a trace are judged together, whatever lines and files they come from, so all files are read (`read`)
//! before the first trace is judged (`judge`). Between the two, spans wait on a `heap` that takes little memory.

mod batch;
mod heap;
mod judge;
mod read;

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Read as _, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use clap::{Args as ClapArgs, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Usage, wants_colour};
use crate::clock;
use crate::config::Config;
use crate::findings::life::Gate;
use crate::findings::report::{self, Asked, Baseline};
use crate::rules::{self, Confidence, Severity, Thresholds};
use crate::web;

/// Files smaller than this are read before a bar would be seen.
const LARGE_BYTES: u64 = 4 << 20;
/// Largest list of known findings. A report holds drawings, so it may be long.
const MAX_BASELINE_BYTES: u64 = 256 << 20;

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
    /// Findings that are known and fail nothing: a report of `--format json`, or one id a line.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Only this rule; may be repeated.
    #[arg(long = "rule", value_name = "ID")]
    pub rules: Vec<String>,
    /// Report occurrences at least so sure: low, medium, high, confirmed. Without it, as `findings.min_confidence` says.
    #[arg(long, value_name = "CONFIDENCE")]
    pub min_confidence: Option<Confidence>,
}

/// Who reads the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// People.
    #[default]
    Text,
    /// Programs.
    Json,
    /// Tools that gather what scanners found: SARIF 2.1.0.
    Sarif,
    /// Build servers that show tests: XML of `JUnit`.
    Junit,
    /// The comment under a change.
    Markdown,
    /// Browsers: one file that needs nothing else.
    Html,
}

/// Reads, judges, reports.
pub fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let thresholds = thresholds(args, config)?;
    let baseline = args.baseline.as_deref().map(baseline).transpose()?;
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (heap, mut read) = read::files(&args.files, workers)?;
    let asked = asked(args, config, &thresholds);
    let (traces, inspections) = judge::all(&heap, &thresholds, asked.min_confidence, config, workers)?;
    read.traces = traces;
    let mut report = report::report(asked, read, inspections).but_for(&config.suppress, clock::now());
    if let Some(baseline) = &baseline {
        report = report.against(baseline);
    }
    super::print_with(|out| match args.format {
        Format::Text => out.write_all(report::text(&report, wants_colour(&stdout())).as_bytes()),
        Format::Json => report::json(&report, BufWriter::new(out)),
        Format::Sarif => report::sarif(&report, BufWriter::new(out)),
        Format::Junit => out.write_all(report::junit(&report).as_bytes()),
        Format::Markdown => out.write_all(report::markdown(&report).as_bytes()),
        Format::Html => out.write_all(web::report(&report).as_bytes()),
    })
    .context("cannot write the report")?;
    Ok(ExitCode::from(u8::from(report.fails())))
}

fn asked(args: &Args, config: &Config, thresholds: &Thresholds) -> Asked {
    let looked = rules::RULES.iter().filter(|rule| rule.is_enabled(thresholds));
    Asked {
        files: args.files.iter().map(|file| file.to_string_lossy().into_owned()).collect(),
        rules: looked.map(|rule| rule.id).collect(),
        min_confidence: args.min_confidence.unwrap_or(config.findings.min_confidence),
        gate: Gate { high: config.findings.gate_high, medium: config.findings.gate_medium },
        fail_on: args.fail_on,
    }
}

fn baseline(file: &Path) -> anyhow::Result<Baseline> {
    let named = |why: String| Usage(format!("{}: {why}", file.display()));
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(MAX_BASELINE_BYTES + 1).read_to_string(&mut text));
    if MAX_BASELINE_BYTES < read.map_err(|error| named(error.to_string()))? as u64 {
        return Err(
            named(format!("larger than {MAX_BASELINE_BYTES} bytes; keep the ids alone, one a line")).into()
        );
    }
    Ok(Baseline::read(&text).map_err(named)?)
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
