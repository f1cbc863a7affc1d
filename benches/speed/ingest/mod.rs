//! The way in, from the wire to the commit: how fast, how late, how large, and who works how much on it.
//!
//! The limit is a COPY of the rows that were just stored, plain, by two connections, measured in the same run.

mod grown;
mod house;
mod parts;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::runtime::Runtime;

use crate::cpu::Cpu;
use crate::database::Database;
use crate::reference::Reference;
use crate::traffic::{self, Stamp};
use house::House;
use sender::{Load, Transport};

const LONG: Duration = Duration::from_secs(3);
const EXPORTERS: [usize; 3] = [1, 16, 64];
/// For the longer questions.
const FULL: Load =
    Load { transport: Transport::Grpc, exporters: 16, long: LONG, pace: Duration::ZERO, twice: false };

pub(crate) async fn run(most: usize) {
    let stamps = Arc::new(traffic::protobuf());
    let (spans, bytes) =
        stamps.iter().fold((0, 0), |sum, one| (sum.0 + one.spans, sum.1 + one.fresh().len()));
    println!(
        "ingest: {} spans an export, {} B a span; limit: the same rows, plain, by COPY, 2 connections, 2,048 a commit",
        spans / stamps.len(),
        bytes / spans
    );
    parts::run(&stamps);
    let threads = sender::threads();
    let reference = Reference::new(&stamps).await;
    println!(
        "  door  exporters    spans/s    limit/s  ratio   ack p50   ack p99   CPU µs a span: exporters debunk postgres  limit"
    );
    for transport in [Transport::Grpc, Transport::Http] {
        for exporters in EXPORTERS {
            rate(&threads, &reference, Load { transport, exporters, ..FULL }, &stamps).await;
        }
    }
    half(&threads, &stamps).await;
    twice(&threads, &stamps).await;
    judged(&threads, &reference, &stamps).await;
    grown::run(&stamps, most).await;
    threads.shutdown_background();
}

async fn rate(threads: &Runtime, reference: &Reference, load: Load, stamps: &Arc<Vec<Stamp>>) {
    let database = Database::fresh().await;
    let house = House::open(&database).await;
    let before = Cpu::now(&database.pool).await;
    let sent = sender::send(threads, house.address(load.transport), load, stamps).await;
    let cpu = Cpu::now(&database.pool).await.each(&before, sent.spans);
    house.close().await;
    let (limit, limit_cpu) = reference.rate().await;
    println!(
        "  {:<5} {:>9} {:>10.0} {limit:>10.0} {:>6.2} {:>6.1} ms {:>6.1} ms {:>25.1} {:>6.1} {:>8.1} {limit_cpu:>6.1}",
        format!("{:?}", load.transport).to_lowercase(),
        load.exporters,
        sent.rate(),
        sent.rate() / limit,
        sent.wait(50),
        sent.wait(99),
        cpu.exporters,
        cpu.debunk,
        cpu.postgres,
    );
    close(database).await;
}

/// How late answers are when there is room to breathe.
async fn half(threads: &Runtime, stamps: &Arc<Vec<Stamp>>) {
    let database = Database::fresh().await;
    let house = House::open(&database).await;
    let full = sender::send(threads, house.address(FULL.transport), FULL, stamps).await;
    let each = stamps.iter().map(|one| one.spans).sum::<usize>() as f64 / stamps.len() as f64;
    let pace = Duration::from_secs_f64(FULL.exporters as f64 * each * 2.0 / full.rate());
    let sent = sender::send(threads, house.address(FULL.transport), Load { pace, ..FULL }, stamps).await;
    println!(
        "  at half of {:.0} spans/s ({:.0}): ack p50 {:.1} ms, p99 {:.1} ms",
        full.rate(),
        sent.rate(),
        sent.wait(50),
        sent.wait(99)
    );
    house.close().await;
    close(database).await;
}

/// Everything delivered twice: rows, their size, and the rate against that of a first delivery.
async fn twice(threads: &Runtime, stamps: &Arc<Vec<Stamp>>) {
    let database = Database::fresh().await;
    let house = House::open(&database).await;
    let once = sender::send(threads, house.address(FULL.transport), FULL, stamps).await;
    let count = async |query: &'static str| -> i64 {
        sqlx::query_scalar(query).fetch_one(&database.pool).await.unwrap()
    };
    let size = "select sum(pg_total_relation_size(relid))::bigint from pg_partition_tree('spans')";
    let (rows, bytes) = (count("select count(*) from spans").await, count(size).await);
    let again =
        sender::send(threads, house.address(FULL.transport), Load { twice: true, ..FULL }, stamps).await;
    let all = count("select count(*) from spans").await;
    let packed = count("select (100 * avg((dictionary <> 0)::int))::bigint from spans").await;
    // Half of the second run was new, at the rate of the first.
    let repeats = again.spans as f64 / 2.0 / (again.seconds - again.spans as f64 / 2.0 / once.rate());
    println!(
        "  {} B a span in table and index ({packed} % packed); delivered twice: {} spans, {} rows, redelivery at {:.2} of the rate",
        bytes / rows,
        once.spans + again.spans / 2,
        all,
        repeats / once.rate()
    );
    assert_eq!(all as usize, once.spans + again.spans / 2, "one row a span");
    house.close().await;
    close(database).await;
}

/// The same with every trace judged: the rate, and what waits at the end.
async fn judged(threads: &Runtime, reference: &Reference, stamps: &Arc<Vec<Stamp>>) {
    let (quiet, long) = (Duration::from_secs(1), Duration::from_secs(8));
    let database = Database::fresh().await;
    let mut house = House::open(&database).await;
    house.judge(&database, quiet);
    let full = Load { long, ..FULL };
    let before = Cpu::now(&database.pool).await;
    let sent = sender::send(threads, house.address(full.transport), full, stamps).await;
    let cpu = Cpu::now(&database.pool).await.each(&before, sent.spans);
    let due = database.store.backlog(quiet).await.unwrap();
    let (limit, _) = reference.rate().await;
    println!(
        "  with judging: {:.0} spans/s, {:.2} of {limit:.0}; {} traces wait, the first is {:.1} s late; CPU µs a span: {:.1} {:.1} {:.1}",
        sent.rate(),
        sent.rate() / limit,
        due.traces,
        due.lag_seconds,
        cpu.exporters,
        cpu.debunk,
        cpu.postgres
    );
    house.close().await;
    close(database).await;
}

async fn close(database: Database) {
    let name = database.options.get_database().unwrap().to_owned();
    database.pool.close().await;
    database.store.close().await;
    drop_database(&database, &name).await;
}

/// What was measured makes room for what will be.
async fn drop_database(database: &Database, name: &str) {
    use sqlx::Connection as _;
    let options = database.options.clone().database("postgres");
    let mut connection = sqlx::PgConnection::connect_with(&options).await.unwrap();
    let statement = format!("drop database {name} with (force)");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    sqlx::raw_sql("checkpoint").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
