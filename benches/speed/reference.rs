//! The limit that ingest is measured against: the same rows, written by COPY on two connections into a table with
//! the same key. Nothing is decoded, checked or answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use debunk::clock;
use debunk::decode::otlp;
use debunk::store::{Days, Writer, encode};
use debunk::telemetry::Metrics;
use futures::StreamExt as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use crate::cpu::Cpu;
use crate::database::Database;
use crate::traffic::Stamp;

/// Rows of one commit.
const COMMIT: usize = 2_048;
const CONNECTIONS: usize = 2;
/// Rows kept in memory.
const MOST: usize = 120_000;
/// Signature, flags and extension of the binary form, and the end of the data.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// The rows, and a table to put them into.
pub(crate) struct Reference {
    database: Database,
    commits: Arc<Vec<(usize, Vec<u8>)>>,
}

impl Reference {
    /// From what is stored of the exports when nothing is packed.
    pub(crate) async fn new(stamps: &[Stamp]) -> Self {
        let database = Database::fresh().await;
        let (writer, work) = Writer::start(database.store.clone(), Metrics::new(), 1 << 28);
        let fill = async move {
            let days = Days::new(clock::now().date(), Duration::from_hours(7 * 24));
            let mut rows = 0;
            for stamp in stamps.iter().cycle() {
                let exports = otlp::protobuf(&stamp.fresh(), &|_| Ok(())).unwrap();
                rows += writer.write(encode(exports, &days)).await.unwrap().stored;
                if MOST <= rows {
                    break;
                }
            }
        };
        tokio::join!(fill, work);
        let mut connection = PgConnection::connect_with(&database.options).await.unwrap();
        let commits = Arc::new(commits(&mut connection).await);
        sqlx::raw_sql(
            "create table plain (like spans); alter table plain add primary key (trace_id, span_id, content, day); \
             truncate spans",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        Self { database, commits }
    }

    /// Rows a second, the median of three; and the processor time of a row in microseconds, ours and PostgreSQL's.
    pub(crate) async fn rate(&self) -> (f64, f64) {
        let rows: usize = self.commits.iter().map(|(count, _)| count).sum();
        let (mut times, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            sqlx::raw_sql("truncate plain; checkpoint").execute(&self.database.pool).await.unwrap();
            let before = Cpu::now(&self.database.pool).await;
            times.push(copy(&self.database.options, &self.commits).await);
            let cpu = Cpu::now(&self.database.pool).await.each(&before, rows);
            cpus.push(cpu.exporters + cpu.debunk + cpu.postgres);
        }
        times.sort_unstable();
        cpus.sort_unstable_by(f64::total_cmp);
        (rows as f64 / times[1].as_secs_f64(), cpus[1])
    }
}

async fn copy(options: &PgConnectOptions, commits: &Arc<Vec<(usize, Vec<u8>)>>) -> Duration {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(PgConnection::connect_with(options).await.unwrap());
    }
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (own, mut connection) in connections.into_iter().enumerate() {
        let commits = Arc::clone(commits);
        tasks.spawn(async move {
            for (_, bytes) in commits.iter().skip(own).step_by(CONNECTIONS) {
                let mut copy = connection.copy_in_raw("copy plain from stdin binary").await.unwrap();
                copy.send(bytes.as_slice()).await.unwrap();
                copy.finish().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    begun.elapsed()
}

/// The stored rows, cut into the streams of one commit each.
async fn commits(connection: &mut PgConnection) -> Vec<(usize, Vec<u8>)> {
    let query = format!("copy (select * from spans limit {MOST}) to stdout binary");
    let mut stream = connection.copy_out_raw(&query).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    drop(stream);
    let mut rest = bytes.strip_prefix(HEADER).unwrap();
    let mut commits = Vec::new();
    while rest.len() > TRAILER.len() {
        let mut stream = HEADER.to_vec();
        let mut count = 0;
        while count < COMMIT && rest.len() > TRAILER.len() {
            let row = row_length(rest);
            stream.extend_from_slice(&rest[..row]);
            rest = &rest[row..];
            count += 1;
        }
        stream.extend_from_slice(&TRAILER);
        commits.push((count, stream));
    }
    commits
}

fn row_length(bytes: &[u8]) -> usize {
    let fields = i16::from_be_bytes([bytes[0], bytes[1]]);
    (0..fields).fold(2, |at, _| {
        let length = i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        // A null has the length -1 and no bytes.
        at + 4 + usize::try_from(length).unwrap_or(0)
    })
}
