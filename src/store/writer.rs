//! Exports become rows: queued, written together, and answered after the commit.
//!
//! Two writers and no timer: each takes what is queued, commits, answers all of it, and takes the next. While one
//! waits for the disk, the other fills. A success means committed. Where nobody knows whether it was committed, the
//! answer is a failure: the sender repeats it, and a repeated span adds nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use time::Date;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::Instrument as _;
use uuid::Uuid;

use super::error::sqlstate;
use super::spans::{Batch, Columns, Emitter};
use super::{Store, StoreError};
use crate::clock;
use crate::telemetry::{Metrics, trace};

/// Spans of one commit, and their bytes. More gains nothing; a larger export goes alone.
const MOST_SPANS: usize = 8_192;
const MOST_BYTES: usize = 32 << 20;
/// Exports that wait at most, whatever their size.
const MOST_JOBS: usize = 16_384;
/// A third gains nothing: the second fills while the first waits for the disk.
const WRITERS: usize = 2;
/// Tries of one commit that others were in the way of.
const MOST_TRIES: u32 = 5;
/// Resources and scopes remembered as stored; then the memory starts anew.
const MOST_KNOWN: usize = 65_536;

/// The queue's near end. Cheap to clone; the writers end when every clone is gone and the queue is empty.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    capacity: usize,
}

/// Committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Spans that were new.
    pub stored: usize,
    /// Spans that were there already.
    pub duplicates: usize,
}

/// Not committed, or nobody knows: to be sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The queue is full.
    #[error("too many spans wait to be stored")]
    Full,
    /// The database is away, too slow, or its answer was lost.
    #[error("the database cannot store spans at the moment")]
    Unavailable,
}

struct Job {
    batch: Batch,
    done: oneshot::Sender<Result<Written, WriteError>>,
    /// Gives its bytes back to the queue when the job is answered.
    room: OwnedSemaphorePermit,
}

/// The queue's far end, shared by the writers.
struct Inbox {
    queue: mpsc::Receiver<Job>,
    /// Taken from the queue, but too large for the commit at hand.
    held: Option<Job>,
}

/// Resources and scopes that are known to be stored, with the day that was.
#[derive(Default)]
struct Known {
    day: Option<Date>,
    resources: HashSet<i64>,
    scopes: HashSet<i32>,
}

impl Writer {
    /// Makes the queue, which holds up to `capacity` bytes, and the work, which ends after the last `Writer` has
    /// been dropped and all that was queued is answered.
    pub fn start(
        store: Store,
        metrics: Metrics,
        capacity: usize,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let capacity = capacity.min(u32::MAX as usize);
        let (sender, receiver) = mpsc::channel(MOST_JOBS);
        let inbox = Arc::new(Mutex::new(Inbox { queue: receiver, held: None }));
        let writer = Self { queue: sender, room: Arc::new(Semaphore::new(capacity)), capacity };
        let work = async move {
            let mut writers = JoinSet::new();
            for _ in 0..WRITERS {
                writers.spawn(run(store.clone(), metrics.clone(), Arc::clone(&inbox)));
            }
            writers.join_all().await;
        };
        (writer, work)
    }

    /// Stores the spans and comes back when they are committed.
    pub async fn write(&self, batch: Batch) -> Result<Written, WriteError> {
        if batch.is_empty() {
            return Ok(Written { stored: 0, duplicates: 0 });
        }
        // What is larger than the whole queue goes when the queue is empty.
        let bytes = batch.bytes().min(self.capacity);
        let bytes = u32::try_from(bytes).expect("the capacity fits");
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| WriteError::Full)?;
        let (done, answer) = oneshot::channel();
        self.queue.try_send(Job { batch, done, room }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => WriteError::Full,
            mpsc::error::TrySendError::Closed(_) => WriteError::Unavailable,
        })?;
        // A writer that ended without an answer may have committed.
        answer.await.unwrap_or(Err(WriteError::Unavailable))
    }
}

impl Inbox {
    /// What is queued, as far as it fits one commit; waits for the first. Nothing when the queue has ended.
    async fn take(&mut self) -> Vec<Job> {
        let first = match self.held.take() {
            Some(job) => job,
            None => match self.queue.recv().await {
                Some(job) => job,
                None => return Vec::new(),
            },
        };
        let (mut spans, mut bytes) = (first.batch.len(), first.room.num_permits());
        let mut jobs = vec![first];
        while spans < MOST_SPANS
            && bytes < MOST_BYTES
            && let Ok(job) = self.queue.try_recv()
        {
            spans += job.batch.len();
            bytes += job.room.num_permits();
            if MOST_SPANS < spans || MOST_BYTES < bytes {
                self.held = Some(job);
                break;
            }
            jobs.push(job);
        }
        jobs
    }
}

async fn run(store: Store, metrics: Metrics, inbox: Arc<Mutex<Inbox>>) {
    let mut known = Known::default();
    loop {
        let jobs = inbox.lock().await.take().await;
        if jobs.is_empty() {
            return;
        }
        write(&store, &metrics, &mut known, jobs).instrument(trace::work("commit")).await;
    }
}

/// Commits the jobs together and answers them all.
async fn write(store: &Store, metrics: &Metrics, known: &mut Known, jobs: Vec<Job>) {
    let mut commit = Commit::default();
    let mut waiting = Vec::with_capacity(jobs.len());
    for job in jobs {
        let rows = commit.add(job.batch);
        waiting.push((rows, job.done, job.room));
    }
    let total = commit.columns.span_id.len();
    let started = Instant::now();
    let question = trace::question("insert spans");
    let fresh = match commit.write(store, known).instrument(question.clone()).await {
        Ok(fresh) => fresh,
        Err(error) => {
            trace::failed(&question);
            metrics.database_up(!error.is_unavailable());
            tracing::warn!(%error, spans = total, "spans were not stored");
            for (_, done, _room) in waiting {
                answer(done, Err(WriteError::Unavailable));
            }
            return;
        }
    };
    metrics.commit(started.elapsed().as_secs_f64());
    metrics.database_up(true);
    metrics.spans("stored", fresh.len() as u64);
    metrics.spans("duplicate", (total - fresh.len()) as u64);
    metrics.last_span(clock::now().unix_timestamp_nanos() as f64 / 1e9);
    let all_new = fresh.len() == total;
    let mut untold: HashSet<Key> =
        if all_new { HashSet::new() } else { fresh.iter().map(Fresh::key).collect() };
    for (rows, done, _room) in waiting {
        let count = rows.len();
        // Each new row is told to one job only, even where two of a commit hold the same span.
        let stored =
            if all_new { count } else { rows.filter(|row| untold.remove(&commit.key(*row))).count() };
        answer(done, Ok(Written { stored, duplicates: count - stored }));
    }
}

fn answer(done: oneshot::Sender<Result<Written, WriteError>>, outcome: Result<Written, WriteError>) {
    if done.send(outcome).is_err() {
        tracing::debug!("an exporter hung up before its answer");
    }
}

type Key = (Uuid, i64, i32);

/// All that one transaction writes.
#[derive(Default)]
struct Commit {
    columns: Columns,
    /// By id, so that two commits lock them in one order.
    resources: BTreeMap<i64, Emitter<i64>>,
    scopes: BTreeMap<i32, Emitter<i32>>,
}

impl Commit {
    /// Takes the rows of a job and says where they stand.
    fn add(&mut self, batch: Batch) -> std::ops::Range<usize> {
        let first = self.columns.span_id.len();
        self.columns.append(batch.columns);
        self.resources.extend(batch.resources.into_iter().map(|one| (one.id, one)));
        self.scopes.extend(batch.scopes.into_iter().map(|one| (one.id, one)));
        first..self.columns.span_id.len()
    }

    fn key(&self, row: usize) -> Key {
        (self.columns.trace_id[row], self.columns.span_id[row], self.columns.content[row])
    }

    /// Writes until it is committed or there is no use in trying on; the new rows come back.
    async fn write(&self, store: &Store, known: &mut Known) -> Result<Vec<Fresh>, StoreError> {
        known.start_day(clock::now().date());
        // A server that has stopped answering without hanging up would hold a writer for ever.
        let patience = store.limits().statement * 2;
        for tries in 1.. {
            let mut connection = store.pool().acquire().await?;
            let outcome = tokio::time::timeout(patience, self.attempt(&mut connection, known)).await;
            if !matches!(outcome, Ok(Ok(_))) {
                // Cleaning up could wait for a server that is gone.
                connection.close_on_drop();
            }
            let error = match outcome {
                Ok(Ok(fresh)) => {
                    known.learn(self);
                    return Ok(fresh);
                }
                Ok(Err(error)) => error,
                Err(_) => break,
            };
            if MOST_TRIES <= tries {
                return Err(error.into());
            }
            match sqlstate(&error).as_deref() {
                // Another replica wrote the same spans in another order, and one of us had to yield.
                Some("40P01" | "40001") => {
                    let pause = Duration::from_millis(u64::from(tries) * 5 + rand::random_range(0..10));
                    tokio::time::sleep(pause).await;
                }
                // No partition: nobody has made this day yet.
                Some("23514") => self.make_days(store).await?,
                _ => return Err(error.into()),
            }
        }
        Err(StoreError::Unavailable("the database does not answer".to_owned()))
    }

    async fn make_days(&self, store: &Store) -> Result<(), StoreError> {
        let days: BTreeSet<Date> = self.columns.day.iter().copied().collect();
        for day in days {
            store.ensure_day(day).await?;
        }
        Ok(())
    }

    /// One transaction. Locks are taken in one order everywhere: resources, scopes, spans, pending by trace id.
    async fn attempt(&self, connection: &mut PgConnection, known: &Known) -> Result<Vec<Fresh>, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        self.insert_emitters(&mut transaction, known).await?;
        let fresh = self.insert_spans(&mut transaction).await?;
        touch(&mut transaction, &fresh).await?;
        transaction.commit().await?;
        Ok(fresh)
    }

    async fn insert_emitters(&self, connection: &mut PgConnection, known: &Known) -> Result<(), sqlx::Error> {
        let today = known.day;
        let fresh = self.resources.values().filter(|one| !known.resources.contains(&one.id));
        let (ids, names, bodies) = columns_of(fresh);
        if !ids.is_empty() {
            sqlx::query!(
                r#"
                insert into resources (id, service, body, last_day)
                select w.id, w.service, w.body, $4::date
                from unnest($1::bigint[], $2::text[], $3::bytea[]) as w (id, service, body)
                on conflict (id) do update
                set last_day = excluded.last_day
                where resources.last_day < excluded.last_day
                "#,
                &ids,
                &names as &[&str],
                &bodies as &[&[u8]],
                today
            )
            .execute(&mut *connection)
            .await?;
        }
        let fresh = self.scopes.values().filter(|one| !known.scopes.contains(&one.id));
        let (ids, names, bodies) = columns_of(fresh);
        if !ids.is_empty() {
            sqlx::query!(
                r#"
                insert into scopes (id, name, body, last_day)
                select w.id, w.name, w.body, $4::date
                from unnest($1::int[], $2::text[], $3::bytea[]) as w (id, name, body)
                on conflict (id) do update
                set last_day = excluded.last_day
                where scopes.last_day < excluded.last_day
                "#,
                &ids,
                &names as &[&str],
                &bodies as &[&[u8]],
                today
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    async fn insert_spans(&self, connection: &mut PgConnection) -> Result<Vec<Fresh>, sqlx::Error> {
        let columns = &self.columns;
        sqlx::query_as!(
            Fresh,
            r#"
            insert into spans (
                trace_id, span_id, parent_id, start_ns, duration_ns, resource_id, day, content, scope_id, kind,
                status, dictionary, name, rest
            )
            select
                w.trace_id, w.span_id, w.parent_id, w.start_ns, w.duration_ns, w.resource_id, w.day, w.content,
                w.scope_id, w.kind, w.status, 0, w.name, w.rest
            from unnest(
                $1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::date[],
                $8::int[], $9::int[], $10::smallint[], $11::smallint[], $12::text[], $13::bytea[]
            ) as w (
                trace_id, span_id, parent_id, start_ns, duration_ns, resource_id, day, content, scope_id, kind,
                status, name, rest
            )
            on conflict do nothing
            returning trace_id, span_id, content, day
            "#,
            &columns.trace_id,
            &columns.span_id,
            &columns.parent_id as &[Option<i64>],
            &columns.start_ns,
            &columns.duration_ns,
            &columns.resource_id,
            &columns.day,
            &columns.content,
            &columns.scope_id,
            &columns.kind,
            &columns.status,
            &columns.name,
            &columns.rest
        )
        .fetch_all(connection)
        .await
    }
}

/// Puts traces that have new spans on the list, and voids whatever look at them is under way. In the order of their
/// ids, so that two commits never wait for each other.
async fn touch(connection: &mut PgConnection, fresh: &[Fresh]) -> Result<(), sqlx::Error> {
    let mut days: BTreeMap<Uuid, (Date, Date)> = BTreeMap::new();
    for row in fresh {
        let (first, last) = days.entry(row.trace_id).or_insert((row.day, row.day));
        *first = row.day.min(*first);
        *last = row.day.max(*last);
    }
    if days.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = days.keys().copied().collect();
    let (first, last): (Vec<Date>, Vec<Date>) = days.into_values().unzip();
    sqlx::query!(
        r#"
        insert into pending (trace_id, first_day, last_day)
        select w.trace_id, w.first_day, w.last_day
        from unnest($1::uuid[], $2::date[], $3::date[]) as w (trace_id, first_day, last_day)
        on conflict (trace_id) do update
        set claim = null,
            leased_until = '-infinity',
            not_before = '-infinity',
            attempts = 0,
            last_seen = now(),
            first_day = least(pending.first_day, excluded.first_day),
            last_day = greatest(pending.last_day, excluded.last_day)
        "#,
        &ids,
        &first,
        &last
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A row that was not there before.
struct Fresh {
    trace_id: Uuid,
    span_id: i64,
    content: i32,
    day: Date,
}

impl Fresh {
    fn key(&self) -> Key {
        (self.trace_id, self.span_id, self.content)
    }
}

fn columns_of<'a, Id: Copy + 'a>(
    emitters: impl Iterator<Item = &'a Emitter<Id>>,
) -> (Vec<Id>, Vec<&'a str>, Vec<&'a [u8]>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for one in emitters {
        columns.0.push(one.id);
        columns.1.push(one.name.as_str());
        columns.2.push(one.body.as_slice());
    }
    columns
}

impl Known {
    /// Once a day every resource that is still in use is written again, with the day.
    fn start_day(&mut self, today: Date) {
        if self.day != Some(today) {
            *self = Self { day: Some(today), ..Self::default() };
        }
    }

    /// Only after the commit: before, the rows may still vanish.
    fn learn(&mut self, commit: &Commit) {
        if MOST_KNOWN <= self.resources.len() + commit.resources.len() {
            self.resources.clear();
        }
        if MOST_KNOWN <= self.scopes.len() + commit.scopes.len() {
            self.scopes.clear();
        }
        self.resources.extend(commit.resources.keys());
        self.scopes.extend(commit.scopes.keys());
    }
}
