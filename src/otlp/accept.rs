//! One export, whichever way it came: decompress, decode, check, redact, trim, store, and only then say so.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::budget::Share;
use super::rows::{self, Rules};
use super::{Door, Signal};
use crate::clock;
use crate::decode::bounded::{self, Compression};
use crate::decode::check::{Reason, Rejections};
use crate::decode::{DecodeError, logs};
use crate::store::{Batch, Days, WriteError, Writer, Written};
use crate::telemetry::Sent;

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

/// A message that has been read, with the room that it holds.
pub(super) struct Incoming {
    pub(super) signal: Signal,
    pub(super) encoding: Encoding,
    pub(super) compression: Compression,
    pub(super) bytes: Bytes,
    pub(super) share: Share,
}

/// Accepted: what could be stored is committed.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) written: Written,
    /// Spans that never will be.
    pub(super) rejections: Rejections,
    /// Log records that are of no use to a trace.
    pub(super) ignored: u64,
}

/// What was read of a message, and the room that it holds.
struct Read {
    batch: Batch,
    rejections: Rejections,
    ignored: u64,
    share: Share,
}

/// Why an export was not accepted. Nothing of it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Not now: send it again.
    #[error("{why}; send it again later")]
    Later {
        /// What was exhausted, as the metric has it.
        bound: &'static str,
        /// The same, for people.
        why: &'static str,
        /// How long to wait.
        after: Duration,
    },
    /// It is not what it should be: do not send it again.
    #[error("{0}")]
    Malformed(String),
    /// Too large: do not send it again, send less at once.
    #[error("{0}")]
    TooLarge(String),
    /// An encoding that we do not know.
    #[error("{0}")]
    Unsupported(String),
}

impl Refusal {
    /// Full or away; the database takes longer to come back than a queue to drain, and people longer to make room.
    pub(super) fn later(bound: &'static str, why: &'static str) -> Self {
        let seconds = match bound {
            "disk" => 5,
            "database" => 2,
            _ => 1,
        };
        Self::Later { bound, why, after: Duration::from_secs(seconds) }
    }
}

/// Takes an export in. Returns when it is committed, or why it is not.
pub(super) async fn accept(door: &Door, incoming: Incoming) -> Result<Receipt, Refusal> {
    let rules = Rules {
        own: door.own,
        limits: door.limits_of_spans(),
        days: Days::new(clock::now().date(), door.retention),
    };
    let most = door.max_request();
    let writer = door.writer.clone();
    let read = work(incoming.is_small(), move || read(incoming, most, rules, &writer)).await?;
    let Read { mut batch, mut rejections, ignored, share: _share } = read;
    door.sizes.admit(&mut batch, &mut rejections).await?;
    let written = door.writer.write(batch).await.map_err(|error| match error {
        WriteError::Full => Refusal::later("bytes", "too many spans wait to be stored"),
        WriteError::Unavailable => away(),
        WriteError::DiskFull => Refusal::later("disk", "the disk of the database is full"),
    })?;
    Ok(Receipt { written, rejections, ignored })
}

impl Incoming {
    /// It takes less than about a millisecond, so it is read where it arrived; others would keep somebody waiting.
    fn is_small(&self) -> bool {
        let most = match (self.encoding, self.compression) {
            (Encoding::Protobuf, Compression::None) => 256 << 10,
            _ => 32 << 10,
        };
        self.bytes.len() < most
    }
}

/// Nothing can be stored, or nobody knows whether it was.
pub(super) fn away() -> Refusal {
    Refusal::later("database", "the database cannot store spans at the moment")
}

/// Does what needs no waiting: here where it is little, else where it keeps nobody waiting.
async fn work<T: Send + 'static>(small: bool, work: impl FnOnce() -> T + Send + 'static) -> T {
    if small {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
}

/// The rows of spans that can be kept, which from then on are all that is held.
fn read(incoming: Incoming, most: usize, rules: Rules, writer: &Writer) -> Result<Read, Refusal> {
    let Incoming { signal, encoding, compression, bytes, share } = incoming;
    let rows = rows_of((signal, encoding), compression, bytes, most, &share, rules);
    let (batch, rejections, ignored) = rows.map_err(|error| match error {
        DecodeError::Malformed(malformed) => Refusal::Malformed(malformed.to_string()),
        DecodeError::NoRoom(no_room) => super::read::refusal(no_room, most),
    })?;
    let batch = writer.pack(batch);
    share.keep(batch.bytes());
    Ok(Read { batch, rejections, ignored, share })
}

fn rows_of(
    form: (Signal, Encoding),
    compression: Compression,
    received: Bytes,
    most: usize,
    share: &Share,
    rules: Rules,
) -> Result<(Batch, Rejections, u64), DecodeError> {
    let room = |bytes| share.take(bytes);
    let bytes = if compression == Compression::None {
        received
    } else {
        let inflated = bounded::inflate(compression, &received, most, &room)?;
        let compressed = received.len();
        drop(received);
        share.give_back(compressed);
        Bytes::from(inflated)
    };
    match form {
        (Signal::Logs, Encoding::Protobuf) => rows::logs(rules, logs::protobuf(&bytes, &room)?, &room),
        (Signal::Logs, Encoding::Json) => rows::logs(rules, logs::json(&bytes, &room)?, &room),
        (_, Encoding::Protobuf) => rows::protobuf(rules, &bytes, &room).map(of_traces),
        (_, Encoding::Json) => rows::json(rules, &bytes, &room).map(of_traces),
    }
}

fn of_traces((batch, rejections): (Batch, Rejections)) -> (Batch, Rejections, u64) {
    (batch, rejections, 0)
}

impl Door {
    /// Counts how a request ended.
    pub(super) fn count(
        &self,
        signal: Signal,
        transport: &str,
        peer: IpAddr,
        started: Instant,
        outcome: &Result<Receipt, Refusal>,
    ) {
        if signal == Signal::Logs {
            return self.count_logs(outcome);
        }
        let mut sent = Sent { requests: 1, ..Sent::default() };
        let word = match outcome {
            Ok(Receipt { written, rejections, .. }) => {
                for (reason, count) in rejections.by_reason() {
                    self.metrics.rejection(reason.name(), count);
                    if reason == Reason::TraceSize {
                        self.metrics.refusal("trace_size");
                    }
                }
                self.metrics.spans("rejected", rejections.total());
                sent.stored = written.stored as u64;
                sent.duplicates = written.duplicates as u64;
                sent.rejected_spans = rejections.total();
                if rejections.total() == 0 { "ok" } else { "partial" }
            }
            Err(Refusal::Later { bound, .. }) => {
                self.metrics.refusal(bound);
                sent.refused = 1;
                "refused"
            }
            Err(permanent) => {
                self.metrics.rejection(permanent.reason(), 1);
                sent.rejected = 1;
                "rejected"
            }
        };
        self.metrics.client(peer, sent);
        self.metrics.request(transport, word, started.elapsed().as_secs_f64());
    }

    /// Of logs: what was kept, and what stopped them.
    fn count_logs(&self, outcome: &Result<Receipt, Refusal>) {
        match outcome {
            Ok(Receipt { written, rejections, ignored }) => {
                self.metrics.log_records("kept", (written.stored + written.duplicates) as u64);
                self.metrics.log_records("rejected", rejections.total());
                self.metrics.log_records("ignored", *ignored);
            }
            Err(Refusal::Later { bound, .. }) => self.metrics.refusal(bound),
            Err(permanent) => self.metrics.rejection(permanent.reason(), 1),
        }
    }
}

impl Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Later { .. } => "later",
            Self::Malformed(_) => "malformed",
            Self::TooLarge(_) => "too_large",
            Self::Unsupported(_) => "unsupported",
        }
    }
}
