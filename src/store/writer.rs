//! Exports become rows: queued, written together, and answered after the commit.
//!
//! Two writers and no timer: each takes what is queued, commits, answers all of it, and takes the next. While one
//! waits for the disk, the other fills. A success means committed. Where nobody knows whether it was committed, the
//! answer is a failure: the sender repeats it, and a repeated span adds nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::commit::{Commit, Hand};
use super::spans::Batch;
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
/// A writer without work for so long gives its connection back.
const REST: Duration = Duration::from_millis(100);

/// The queue's near end. Cheap to clone; the writers end when every clone is gone and the queue is empty.
#[derive(Clone)]
pub struct Writer {
    store: Store,
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
    /// The database has no room.
    #[error("the disk of the database is full")]
    DiskFull,
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
        let writer =
            Self { store: store.clone(), queue: sender, room: Arc::new(Semaphore::new(capacity)), capacity };
        let work = async move {
            let mut writers = JoinSet::new();
            for _ in 0..WRITERS {
                writers.spawn(run(store.clone(), metrics.clone(), Arc::clone(&inbox)));
            }
            writers.join_all().await;
        };
        (writer, work)
    }

    /// Makes a batch smaller, at the cost of some work: a caller's, for the writers have enough.
    pub fn pack(&self, batch: Batch) -> Batch {
        self.store.pack(batch)
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
    /// What is queued, as far as it fits one commit; waits for the first. Nothing when the queue has ended. May be
    /// given up while it waits, and then has taken nothing.
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

async fn next(inbox: &Mutex<Inbox>) -> Vec<Job> {
    inbox.lock().await.take().await
}

async fn run(store: Store, metrics: Metrics, inbox: Arc<Mutex<Inbox>>) {
    let mut hand = Hand::new(store);
    loop {
        let jobs = if let Ok(jobs) = timeout(REST, next(&inbox)).await {
            jobs
        } else {
            hand.rest();
            next(&inbox).await
        };
        if jobs.is_empty() {
            return;
        }
        write(&mut hand, &metrics, jobs).instrument(trace::work("commit")).await;
    }
}

/// Commits the jobs together and answers them all.
async fn write(hand: &mut Hand, metrics: &Metrics, jobs: Vec<Job>) {
    let mut batches = Vec::with_capacity(jobs.len());
    let mut waiting = Vec::with_capacity(jobs.len());
    for job in jobs {
        batches.push(job.batch);
        waiting.push((job.done, job.room));
    }
    let commit = Commit::of(&batches);
    let total: usize = batches.iter().map(Batch::len).sum();
    let started = Instant::now();
    let question = trace::question("insert spans");
    let fresh = match hand.write(&commit).instrument(question.clone()).await {
        Ok(fresh) => fresh,
        Err(error) => {
            trace::failed(&question);
            metrics.database_up(!error.is_unavailable());
            tracing::warn!(%error, spans = total, "spans were not stored");
            let full = matches!(error, StoreError::DiskFull(_));
            let why = if full { WriteError::DiskFull } else { WriteError::Unavailable };
            for (done, _room) in waiting {
                answer(done, Err(why.clone()));
            }
            return;
        }
    };
    metrics.commit(started.elapsed().as_secs_f64());
    metrics.database_up(true);
    metrics.last_span(clock::now().unix_timestamp_nanos() as f64 / 1e9);
    let stored: Vec<usize> = commit.stored(&fresh).collect();
    let new: usize = stored.iter().sum();
    metrics.spans("stored", new as u64);
    metrics.spans("duplicate", (total - new) as u64);
    for ((batch, stored), (done, _room)) in batches.iter().zip(stored).zip(waiting) {
        answer(done, Ok(Written { stored, duplicates: batch.len() - stored }));
    }
}

fn answer(done: oneshot::Sender<Result<Written, WriteError>>, outcome: Result<Written, WriteError>) {
    if done.send(outcome).is_err() {
        tracing::debug!("an exporter hung up before its answer");
    }
}
