//! PostgreSQL is killed, stopped, slow, cut off or full.

use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};

use super::{Kept, long, mib, report, skip};
use crate::support::load::{Answer, Exporter, Load};
use crate::support::process::Process;
use crate::support::proxy::{Cut, Proxy};
use crate::support::server::OwnServer;
use crate::support::traffic::request;

/// Waits no longer than a test should.
const IMPATIENT: &str = "[database]\nconnect_timeout = \"500ms\"\nstatement_timeout = \"2s\"\n";

fn kill(pid: &str) {
    assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
}

async fn backend(connection: &mut PgConnection) -> String {
    let one = "select pid::text from pg_stat_activity \
               where application_name = 'debunk' and backend_type = 'client backend' \
               order by query_start desc limit 1";
    sqlx::query_scalar(one).fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_or_backend_costs_nothing_that_was_acknowledged() {
    let kills = if long() { 10 } else { 2 };
    let mut process = Process::with(IMPATIENT);
    process.start().await;
    let load = Load::start(&process, 4, 100);
    let mut slowest = Duration::ZERO;
    for number in 0..kills {
        load.acknowledged_again().await;
        let all = number % 2 == 0;
        let victim =
            if all { process.postmaster().unwrap() } else { backend(&mut process.connect().await).await };
        let failed = load.see(super::Tally::failed);
        let killed = Instant::now();
        kill(&victim);
        // A single backend may have been at rest: then nobody misses it.
        if all {
            load.until(|tally| failed < tally.failed()).await;
        }
        load.acknowledged_again().await;
        slowest = slowest.max(killed.elapsed());
        assert!(process.lives(), "{}", process.log());
    }
    let tally = load.stop().await;
    let kept = Kept::of(&tally.acknowledged, &mut process.connect().await).await;
    let refused = tally.away + tally.full.len();
    report(
        2,
        &format!(
            "kills {kills} (postmaster and backend by turns), {kept}, refused with a hint {refused}, \
             acknowledged again within {:.1} s",
            slowest.as_secs_f64()
        ),
    );
    kept.hold();
    assert_eq!(tally.broken, 0, "Debunk's own doors stayed open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_said_and_ends_by_itself() {
    let outage = Duration::from_secs(if long() { 60 } else { 3 });
    let mut server = OwnServer::start().await;
    let mut process = Process::on(server.url(), IMPATIENT);
    process.start().await;
    let load = Load::start(&process, 4, 100);
    load.acknowledged_again().await;
    server.stop().await;
    server.start_again().await;
    let restarted = load.acknowledged_again().await;

    server.stop().await;
    let begun = Instant::now();
    let away = load.see(|tally| tally.away);
    load.until(|tally| away + 4 < tally.away).await;
    let acknowledged = load.see(|tally| tally.acknowledged.len());
    while begun.elapsed() < outage {
        assert_eq!(process.get("/readyz").await.0, 503);
        assert_eq!(process.get("/livez").await.0, 200);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(load.see(|tally| tally.acknowledged.len()), acknowledged, "acknowledged without a database");
    assert_eq!(process.metric("debunk_database_up").await, 0);
    let peak = process.peak_memory();
    server.start_again().await;
    let back = load.acknowledged_again().await;
    let tally = load.stop().await;
    let kept = Kept::of(&tally.acknowledged, &mut server.connect().await).await;
    report(
        3,
        &format!(
            "fast restart, then away for {} s, {kept}, refused with a hint {}, acknowledged again {:.1} s after the \
             restart and {:.1} s after the outage, peak RSS {} MiB",
            outage.as_secs(),
            tally.away + tally.full.len(),
            restarted.as_secs_f64(),
            back.as_secs_f64(),
            mib(peak)
        ),
    );
    kept.hold();
    assert_eq!(process.get("/readyz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_fills_a_bounded_queue_and_is_never_taken_for_success() {
    let hang = Duration::from_secs(if long() { 20 } else { 3 });
    let settings =
        "[database]\nstatement_timeout = \"1s\"\n[otlp]\nmax_request = \"2MiB\"\nmax_in_flight = \"4MiB\"\n";
    let server = OwnServer::start().await;
    let mut process = Process::on(server.url(), settings);
    process.start().await;
    let load = Load::start(&process, 48, 800);
    load.acknowledged_again().await;
    let mut holder = server.connect().await;
    sqlx::raw_sql("begin; lock table spans in access exclusive mode").execute(&mut holder).await.unwrap();
    // What was committed before the lock may still be on its way.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    let (acknowledged, full, away) =
        load.see(|tally| (tally.acknowledged.len(), tally.full.len(), tally.away));
    load.until(|tally| full < tally.full.len() && away < tally.away).await;
    tokio::time::sleep(hang.saturating_sub(begun.elapsed())).await;
    assert_eq!(load.see(|tally| tally.acknowledged.len()), acknowledged, "acknowledged by a timeout");
    let peak = process.peak_memory();
    holder.close().await.unwrap();
    let back = load.acknowledged_again().await;
    let tally = load.stop().await;
    let kept = Kept::of(&tally.acknowledged, &mut server.connect().await).await;
    report(
        5,
        &format!(
            "spans locked for {} s, {kept}, {} refused for lack of room (99 % within {} ms), {} after the statement \
             timeout, acknowledged again after {:.1} s, peak RSS {} MiB",
            hang.as_secs(),
            tally.full.len(),
            tally.full_p99().as_millis(),
            tally.away,
            back.as_secs_f64(),
            mib(peak)
        ),
    );
    kept.hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_heard_of_is_not_acknowledged_and_its_retry_is_no_second_row() {
    let rounds = if long() { 50 } else { 10 };
    let server = OwnServer::start().await;
    let proxy = Proxy::start(server.folder()).await;
    // Nothing else commits meanwhile.
    let settings = "[traces]\nquiet_period = \"1h\"\nmax_wait = \"1h\"\n";
    let mut process = Process::on(proxy.url(), settings);
    process.start().await;
    let mut connection = server.connect().await;
    let mut acknowledged = std::collections::BTreeSet::new();
    let mut committed_unheard = 0;
    for round in 0..rounds {
        let mut exporter =
            if round % 4 < 2 { Exporter::grpc(process.grpc) } else { Exporter::http(process.http) };
        let cut = if round % 2 == 0 { Cut::Reply } else { Cut::Request };
        let (export, keys) = request(50);
        proxy.cut_next(cut, keys.first().unwrap().0);
        assert_eq!(exporter.send(&export).await, Answer::Away, "round {round}");
        assert_eq!(proxy.cuts(), round + 1);
        let stored = super::stored(&mut connection).await.0.intersection(&keys).count();
        assert_eq!(stored, if cut == Cut::Reply { 50 } else { 0 }, "{cut:?}");
        committed_unheard += usize::from(stored == 50);
        assert_eq!(exporter.send(&export).await, Answer::Accepted, "round {round}");
        acknowledged.extend(keys);
    }
    let kept = Kept::of(&acknowledged, &mut connection).await;
    report(
        6,
        &format!(
            "COMMIT cut {rounds} times by a TCP proxy, {committed_unheard} of them committed unheard, none \
             acknowledged before its retry, {kept}"
        ),
    );
    kept.hold();
}

/// A small file system, while it is held.
struct Mount(std::path::PathBuf);

impl Mount {
    fn make(size: &str) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("debunk-small.").tempdir_in("/tmp").unwrap().keep();
        let mount = Self(folder);
        let path = mount.0.to_str().unwrap();
        let options = format!("size={size},mode=0777");
        mount.run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", path]).map(|()| mount)
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        self.run("mount", &["-o", &options, self.0.to_str().unwrap()]).unwrap();
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        let output = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().replace(self.0.to_str().unwrap(), "a folder"))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _gone = self.run("umount", &["-l", self.0.to_str().unwrap()]);
        let _gone = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_room_on_it_is_used() {
    let small = match Mount::make("16m") {
        Ok(small) => small,
        Err(why) => return skip(4, &format!("no right to mount a small file system ({why})")),
    };
    let full_for = Duration::from_secs(if long() { 20 } else { 2 });
    let server = OwnServer::start().await;
    let mut connection = server.connect().await;
    let place = small.0.join("tables");
    std::fs::create_dir(&place).unwrap();
    let owner = std::fs::metadata(server.folder()).unwrap();
    let (user, group) =
        (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
    std::os::unix::fs::chown(&place, Some(user), Some(group)).unwrap();
    let tables = format!("create tablespace small location '{}'", place.display());
    sqlx::raw_sql(sqlx::AssertSqlSafe(tables)).execute(&mut connection).await.unwrap();
    let used = "alter database debunk set default_tablespace = small";
    sqlx::raw_sql(used).execute(&mut connection).await.unwrap();

    let mut process = Process::on(server.url(), "");
    process.start().await;
    let load = Load::start(&process, 4, 400);
    load.acknowledged_again().await;
    load.until(|tally| 4 < tally.away).await;
    tokio::time::sleep(full_for).await;
    assert!(process.lives(), "{}", process.log());
    assert_eq!(process.get("/livez").await.0, 200);
    assert!(0 < process.metric("debunk_refusals_total{bound=\"disk\"}").await);
    small.resize("512m");
    let back = load.acknowledged_again().await;
    let tally = load.stop().await;
    let kept = Kept::of(&tally.acknowledged, &mut connection).await;
    report(
        4,
        &format!(
            "tables on a file system of 16 MiB, full for {} s, {kept}, refused with a hint {}, acknowledged again \
             {:.1} s after there was room",
            full_for.as_secs(),
            tally.away,
            back.as_secs_f64()
        ),
    );
    kept.hold();
}
