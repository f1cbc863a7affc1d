//! The same spans give the same findings: judged again and again, stored in any order, by one replica or by two.
//!
//! Judged again, rows stay byte for byte. Stored anew, they are compared whole but for what the order of receipt decides:
//! when the first and the last trace came, when it opened or was resolved, the example, which is the trace received
//! last, and what people were told on the way, for who sees the worst trace first is not told that it became worse.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use debunk::alert::Receivers;
use debunk::clock;
use debunk::config::{self, Config, Period};
use debunk::findings::judge;
use debunk::loops::{Evaluate, Progress};
use debunk::model::Received;
use debunk::store::{Days, Store, Writer, encode};
use debunk::telemetry::Metrics;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;

use crate::support::database::Database;
use crate::support::recorded::{elsewhere, read};

/// What the order of receipt decides.
const RECEIPT: &str = "array['first_seen', 'last_seen', 'opened_at', 'resolved_at', \
    'example_day', 'example_trace_id', 'example_span_id', 'told_severity', 'transition']";

struct Stored {
    database: Database,
    config: Arc<Config>,
}

impl Stored {
    /// Stores spans in the given order, in exports of a few hundred.
    async fn new(spans: &[Received]) -> Self {
        let database = Database::fresh().await;
        let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), 64 << 20);
        let mut tasks = JoinSet::new();
        tasks.spawn(work);
        let days = Days::new(clock::now().date(), Duration::from_hours(7 * 24));
        for some in spans.chunks(500) {
            writer.write(encode(some.iter().map(alone).collect(), &days)).await.unwrap();
        }
        let mut config = Config::default();
        config.traces.quiet_period = Period(Duration::ZERO);
        Self { database, config: Arc::new(config) }
    }

    /// Judges all that is due, by so many replicas, each with connections of its own.
    async fn judge(&self, replicas: usize) {
        let mut tasks = JoinSet::new();
        for _ in 0..replicas {
            let store = Store::new(&self.database.options, &config::Database::default());
            let receivers = Arc::new(Receivers::default());
            let evaluate = Evaluate::new(store, Arc::clone(&self.config), receivers, Metrics::new(), judge);
            tasks.spawn(async move {
                let mut steps = 0;
                while evaluate.step().await.unwrap() == Progress::Worked {
                    steps += 1;
                }
                steps
            });
        }
        assert!(0 < tasks.join_all().await.iter().sum::<usize>());
    }

    /// Everything that was judged is due again.
    async fn again(&self) {
        let all = "insert into pending (trace_id, first_day, last_day)
            select trace_id, first_day, last_day from traces on conflict do nothing";
        sqlx::query(all).execute(&self.database.pool).await.unwrap();
        let due = "update pending set leased_until = '-infinity', not_before = '-infinity'";
        sqlx::query(due).execute(&self.database.pool).await.unwrap();
    }

    /// Findings as they are.
    async fn rows(&self) -> Vec<String> {
        self.text("select f::text from findings f order by fingerprint").await
    }

    /// Findings without what the order of receipt decides.
    async fn claims(&self) -> Vec<String> {
        let query = format!("select (to_jsonb(f) - {RECEIPT})::text from findings f order by fingerprint");
        self.text(&query).await
    }

    async fn text(&self, query: &str) -> Vec<String> {
        let query = sqlx::AssertSqlSafe(query.to_owned());
        sqlx::query_scalar(query).fetch_all(&self.database.pool).await.unwrap()
    }
}

/// An export of one span.
fn alone(one: &Received) -> ResourceSpans {
    let scope = Some((*one.scope).clone());
    let scope_spans = vec![ScopeSpans { scope, spans: vec![one.span.clone()], ..ScopeSpans::default() }];
    ResourceSpans { resource: Some((*one.resource).clone()), scope_spans, ..ResourceSpans::default() }
}

async fn compare(folder: &Path, name: &str) {
    let mut spans: Vec<Received> = read(folder, name).into_values().flatten().collect();
    let stored = Stored::new(&spans).await;
    stored.judge(1).await;
    let first = stored.rows().await;
    for _ in 0..2 {
        stored.again().await;
        stored.judge(1).await;
        assert_eq!(stored.rows().await, first, "{name}: judged again");
    }
    let claims = stored.claims().await;
    let seed: u64 = rand::rng().random();
    println!("{name}: {} spans, {} findings, seed {seed}", spans.len(), claims.len());
    let mut random = StdRng::seed_from_u64(seed);
    for replicas in [1, 2] {
        spans.shuffle(&mut random);
        let shuffled = Stored::new(&spans).await;
        shuffled.judge(replicas).await;
        assert_eq!(shuffled.claims().await, claims, "{name}: by {replicas}, seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_traces_give_the_same_rows_whatever_their_order_and_whoever_judges_them() {
    for name in ["lab-node", "lab-python"] {
        compare(Path::new("tests/data"), name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_do_traces_recorded_elsewhere() {
    let Some(folder) = elsewhere() else { return };
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| {
            let file = entry.unwrap().file_name().into_string().unwrap();
            file.split_once(".jsonl").map(|(name, _)| name.to_owned())
        })
        .filter(|name| !Path::new("tests/data").join(format!("{name}.jsonl.gz")).exists())
        .collect();
    names.sort();
    for name in names {
        compare(&folder, &name).await;
    }
}
