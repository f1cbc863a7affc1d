//! `replay`: judges stored traces again with the rules and thresholds of today, and says what that changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context as _;

use super::{Usage, period, print};
use crate::alert::Receivers;
use crate::clock;
use crate::config::Config;
use crate::findings::{Fingerprint, Judged, Judgement, Settings, judge};
use crate::model::TraceId;
use crate::rules::{self, Confidence};
use crate::semconv;
use crate::sketch::visible;
use crate::store::{Change, Finished, Known, Policy, Shows, Store, StoreError};

/// Judge stored traces again with the rules of today
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Traces received within so long: `90m`, `24h`, `7d`.
    #[arg(long, value_name = "PERIOD", default_value = "24h", value_parser = period)]
    pub since: Duration,
    /// Report this rule only. A trace is always judged whole.
    #[arg(long, value_name = "ID")]
    pub rule: Option<String>,
    /// Change nothing, only say what would change.
    #[arg(long)]
    pub dry_run: bool,
}

/// Traces at once. Together with `traces.max_spans_evaluated` it bounds what is held in memory.
const BATCH: u32 = 32;

/// Replays and prints what was new, what changed and what is gone.
pub async fn run(args: Args, config: Config) -> anyhow::Result<ExitCode> {
    if let Some(rule) = args.rule.as_deref().filter(|id| rules::find(id).is_none()) {
        return Err(Usage(format!("no rule is called {rule:?}; `debunk rules` lists them")).into());
    }
    let (store, private) = super::open(&config).await?;
    let receivers = Receivers::open(&config.receivers, &config.server.public_url)?;
    let replayed = async {
        store.migrate().await?;
        Replay::new(&store, &config, &receivers).all(args.since, args.dry_run).await
    };
    let replayed = replayed.await.context("cannot replay");
    store.close().await;
    if let Some(private) = private {
        private.stop().await?;
    }
    print(&report(&replayed?, args.rule.as_deref(), args.dry_run))?;
    Ok(ExitCode::SUCCESS)
}

struct Replay<'a> {
    store: &'a Store,
    config: &'a Config,
    receivers: &'a Receivers,
    /// What receivers are told.
    events: Mutex<BTreeMap<&'static str, u64>>,
}

/// What replaying showed.
#[derive(Debug, Default)]
struct Replayed {
    traces: u64,
    /// Left to those who judge them anyway.
    left: u64,
    findings: BTreeMap<Fingerprint, Difference>,
    events: BTreeMap<&'static str, u64>,
}

/// Traces that show a finding, before and after.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    rule: String,
    what: String,
    before: u64,
    after: u64,
    gained: u64,
    lost: u64,
}

impl<'a> Replay<'a> {
    fn new(store: &'a Store, config: &'a Config, receivers: &'a Receivers) -> Self {
        Self { store, config, receivers, events: Mutex::default() }
    }

    async fn all(self, since: Duration, dry_run: bool) -> Result<Replayed, StoreError> {
        let since = clock::now() - since;
        let mut replayed = Replayed::default();
        let mut after: Option<Known> = None;
        loop {
            let known = self.store.judged_traces(since, after.as_ref(), BATCH).await?;
            let Some(last) = known.last() else { break };
            after = Some(*last);
            let before = self.store.shown_by(&known).await?;
            let judgements = if dry_run { self.look(&known).await? } else { self.replace(&known).await? };
            replayed.left += (known.len() - judgements.len()) as u64;
            replayed.traces += judgements.len() as u64;
            for judgement in &judgements {
                replayed.compare(judgement, &before, self.config.findings.min_confidence);
            }
        }
        replayed.events = self.events.into_inner().expect("nobody panics while counting");
        Ok(replayed)
    }

    /// Judges and forgets it.
    async fn look(&self, known: &[Known]) -> Result<Vec<Judgement>, StoreError> {
        let settled = |known: &Known| known.received_at < clock::now() - self.config.traces.settle_period.0;
        let looks: Vec<_> = known.iter().map(|known| (known.days, settled(known))).collect();
        self.judge(&looks).await
    }

    /// Judges, and replaces what was known, under a claim as any evaluator holds it.
    async fn replace(&self, known: &[Known]) -> Result<Vec<Judgement>, StoreError> {
        let traces = &self.config.traces;
        let claimed = self.store.claim_again(known, traces.lease.0, traces.settle_period.0).await?;
        let looks: Vec<_> = claimed.iter().map(|claimed| (claimed.days(), claimed.settled)).collect();
        let judgements = self.judge(&looks).await?;
        let looks: Vec<_> = claimed.into_iter().zip(judgements).collect();
        let tell = |change: &Change| {
            let mut events = self.events.lock().expect("nobody panics while counting");
            *events.entry(change.event.id()).or_default() += 1;
            self.receivers.deliveries(change)
        };
        let finished = self.store.finish(&looks, &Policy::of(self.config), &tell).await?;
        let written = looks.into_iter().zip(finished).filter(|(_, finished)| *finished != Finished::Fenced);
        Ok(written.map(|((_, judgement), _)| judgement).collect())
    }

    async fn judge(&self, looks: &[(crate::store::TraceDays, bool)]) -> Result<Vec<Judgement>, StoreError> {
        let most = self.config.traces.max_spans_evaluated;
        let wanted: Vec<_> = looks.iter().map(|(days, _)| *days).collect();
        // One more than is judged, so that a larger trace is seen to be cut and claims no absence.
        let loaded = self.store.load(&wanted, most.saturating_add(1)).await?;
        let sizes = self.store.sizes_of(&loaded, self.config.otlp.max_spans_per_trace).await?;
        let judged = loaded.iter().zip(sizes).zip(looks).map(|((loaded, size), (_, settled))| {
            let spans = semconv::spans(&loaded.spans, &self.config.environments.aliases);
            let (thresholds, min_confidence) = (&self.config.rules, self.config.findings.min_confidence);
            let settings = Settings { thresholds, min_confidence, assembly: size.assembly(most, *settled) };
            judge(loaded.trace_id, spans, settings)
        });
        Ok(judged.collect())
    }
}

impl Replayed {
    /// What one trace shows now, against what it showed.
    fn compare(&mut self, judgement: &Judgement, before: &[Shows], min_confidence: Confidence) {
        let trace: TraceId = judgement.trace_id;
        let mut then: BTreeMap<Fingerprint, &Shows> = before
            .iter()
            .filter(|shows| shows.trace_id == trace)
            .map(|shows| (shows.fingerprint, shows))
            .collect();
        let counted = |found: &&Judged| min_confidence <= found.confidence && found.absorbed_by.is_none();
        let now: BTreeMap<Fingerprint, &Judged> =
            judgement.occurrences.iter().filter(counted).map(|found| (found.fingerprint, found)).collect();
        for (id, found) in now {
            let what = format!("{} {}: {}", found.service, found.operation, found.headline);
            let difference = self.findings.entry(id).or_insert_with(|| Difference::of(found.rule, what));
            difference.after += 1;
            match then.remove(&id) {
                Some(_) => difference.before += 1,
                None => difference.gained += 1,
            }
        }
        for (id, shows) in then {
            let what = format!("{} {}: {}", shows.service, shows.operation, shows.headline);
            let difference = self.findings.entry(id).or_insert_with(|| Difference::of(&shows.rule, what));
            difference.before += 1;
            difference.lost += 1;
        }
    }
}

impl Difference {
    fn of(rule: &str, what: String) -> Self {
        Self { rule: rule.to_owned(), what, ..Self::default() }
    }

    fn word(&self) -> &'static str {
        match (self.before, self.after, self.gained + self.lost) {
            (_, _, 0) => "same",
            (0, _, _) => "new",
            (_, 0, _) => "retracted",
            _ => "changed",
        }
    }
}

fn report(replayed: &Replayed, rule: Option<&str>, dry_run: bool) -> String {
    let mut text = format!("{} traces judged again", replayed.traces);
    if 0 < replayed.left {
        let _ = write!(text, ", {} left to the server, which is about to judge them", replayed.left);
    }
    text.push_str(if dry_run { "; nothing was changed\n" } else { "\n" });
    let wanted = replayed.findings.values().filter(|one| rule.is_none_or(|rule| one.rule == rule));
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut lines: Vec<(&str, &Difference)> = Vec::new();
    for one in wanted {
        *counts.entry(one.word()).or_default() += 1;
        lines.push((one.word(), one));
    }
    lines.retain(|(word, _)| *word != "same");
    lines.sort_by_key(|(word, one)| (*word, std::cmp::Reverse(one.gained + one.lost), &one.rule, &one.what));
    for (word, one) in lines {
        let Difference { rule, what, before, after, .. } = one;
        let _ = writeln!(text, "{word:<9}  {rule:<24}  {before} → {after} traces  {}", visible(what));
    }
    let count = |word: &str| counts.get(word).copied().unwrap_or_default();
    let _ = writeln!(
        text,
        "{} new, {} changed, {} retracted, {} the same",
        count("new"),
        count("changed"),
        count("retracted"),
        count("same")
    );
    if !replayed.events.is_empty() {
        let events: Vec<String> =
            replayed.events.iter().map(|(event, count)| format!("{count} {event}")).collect();
        let _ = writeln!(text, "told: {}", events.join(", "));
    }
    text
}
