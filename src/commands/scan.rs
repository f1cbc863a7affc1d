//! `debunk scan`: judges the traces in files, without a server or a database.
//!
//! All spans of a trace are judged together, whatever lines and files they come from, so the files' spans are held
//! in memory until all are read.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args as ClapArgs, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Usage, wants_colour};
use crate::config::Config;
use crate::decode::{check, file};
use crate::findings::life::Gate;
use crate::findings::report::{self, Read};
use crate::findings::{self, Judgement, Settings};
use crate::model::{Assembly, Received, TraceId};
use crate::rules::{self, Confidence, Severity, Thresholds};
use crate::semconv;

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
    let (traces, read) = spans(&args.files)?;
    let judgements = judge(&traces, &thresholds, config);
    let gate = Gate { high: config.findings.gate_high, medium: config.findings.gate_medium };
    let report = report::report(read, &judgements, args.min_confidence, gate);
    let text = match args.format {
        Format::Text => report::text(&report, wants_colour(&stdout())),
        Format::Json => report::json(&report).context("cannot write the report")?,
    };
    super::print(&text)?;
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

type Traces = BTreeMap<TraceId, Vec<Received>>;

/// All spans of all files, by trace.
fn spans(files: &[PathBuf]) -> anyhow::Result<(Traces, Read)> {
    let mut traces = Traces::new();
    let mut read = Read { files: files.len() as u64, ..Read::default() };
    for file in files {
        read_file(file, &mut traces, &mut read)?;
    }
    read.traces = traces.len() as u64;
    Ok((traces, read))
}

fn read_file(file: &Path, traces: &mut Traces, read: &mut Read) -> anyhow::Result<()> {
    let mut requests = file::Requests::open(file)?;
    let bar = bar(requests.size().unwrap_or(0), "read", "{bytes}/{total_bytes}");
    let mut rejected = 0;
    while let Some(request) = requests.next() {
        let mut exports = request?.resource_spans;
        let rejections = check::check(&mut exports);
        if rejected == 0 && 0 < rejections.total() {
            bar.suspend(|| note(&format!("{}: {}", file.display(), rejections.message())))?;
        }
        rejected += rejections.total();
        // As at the door of the server: what is judged, and so what is reported, holds no secret.
        semconv::secrets::redact(&mut exports);
        for received in Received::flatten(exports) {
            // `check` has taken out every span without a valid id.
            let Some(id) = TraceId::from_bytes(&received.span.trace_id) else { continue };
            traces.entry(id).or_default().push(received);
            read.spans += 1;
        }
        bar.set_position(requests.bytes_read());
    }
    read.rejected += rejected;
    bar.finish_and_clear();
    Ok(())
}

fn judge(traces: &Traces, thresholds: &Thresholds, config: &Config) -> Vec<Judgement> {
    let max_spans = config.traces.max_spans_evaluated as usize;
    // A file is all there is: nothing more will come.
    let settings = Settings { thresholds, assembly: Assembly { max_spans, ..Assembly::default() } };
    let bytes_like = traces.values().map(|spans| spans.len() as u64 * 1024).sum();
    let bar = bar(bytes_like, "judge", "");
    let mut judgements = Vec::with_capacity(traces.len());
    for (id, received) in traces {
        let spans = semconv::spans(received, &config.environments.aliases);
        judgements.push(findings::judge(*id, spans, settings));
        bar.inc(received.len() as u64 * 1024);
    }
    bar.finish_and_clear();
    judgements
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
