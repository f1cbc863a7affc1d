//! The database goes away and comes back; and the private server's own life.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use debunk::config::{self, Period};
use debunk::store::{Store, WriteError, Writer, encode, private};
use debunk::telemetry::Metrics;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use super::{days, export, span};
use crate::support::database::server_folder;
use crate::support::process::postmaster;

fn impatient() -> config::Database {
    config::Database {
        connect_timeout: Period(Duration::from_millis(500)),
        statement_timeout: Period::secs(2),
        ..config::Database::default()
    }
}

fn signal(folder: &Path, signal: &str) {
    let pid = postmaster(folder).unwrap();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

#[tokio::test]
async fn the_service_may_start_before_its_database() {
    let (folder, _held) = server_folder();
    let folder = folder.join("pg");
    let options = private::start(&folder).await.unwrap().options();
    assert_eq!(postmaster(&folder), None);

    let store = Store::new(&options, &impatient());
    assert!(store.ping().await.unwrap_err().is_unavailable());
    assert!(store.migrate().await.unwrap_err().is_unavailable());
    let (writer, work) = Writer::start(store.clone(), Metrics::new(), 1 << 20);
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    let batch = || encode(export(vec![span(1, 1, "a")]), &days());
    assert_eq!(writer.write(batch()).await, Err(WriteError::Unavailable));

    let _server = private::start(&folder).await.unwrap();
    // Up, but without tables: still nothing is acknowledged.
    assert_eq!(writer.write(batch()).await, Err(WriteError::Unavailable));
    store.migrate().await.unwrap();
    assert!(writer.write(batch()).await.is_ok());
}

#[tokio::test]
async fn two_processes_share_a_private_server_and_the_last_one_stops_it() {
    let (folder, _held) = server_folder();
    let folder = folder.join("pg");
    let first = private::start(&folder).await.unwrap();
    let pid = postmaster(&folder);
    let second = private::start(&folder).await.unwrap();
    assert_eq!(postmaster(&folder), pid);
    first.stop().await.unwrap();
    assert_eq!(postmaster(&folder), pid);
    Store::new(&second.options(), &impatient()).ping().await.unwrap();
    second.stop().await.unwrap();
    assert_eq!(postmaster(&folder), None);
    assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_server_that_skips_the_disk_is_refused() {
    let (folder, _held) = server_folder();
    let folder = folder.join("pg");
    let options = private::start(&folder).await.unwrap().options();
    // Started by hand, with the very setting that a success reply must not rely on.
    let owner = std::fs::metadata(folder.join("data")).unwrap();
    let newest = std::fs::read_to_string(folder.join("data/PG_VERSION")).unwrap();
    let mut command = Command::new(format!("/usr/lib/postgresql/{}/bin/pg_ctl", newest.trim()));
    command.args(["start", "--wait", "--log"]).arg(folder.join("by-hand.log"));
    command.arg("--pgdata").arg(folder.join("data"));
    command.arg("--options").arg(format!(
        "-c fsync=off -c listen_addresses='' -c unix_socket_directories='{}'",
        folder.display()
    ));
    if owner.uid() != std::fs::metadata("/proc/self").unwrap().uid() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    let log = folder.join("by-hand.log");
    let output = command.current_dir(&folder).output().unwrap();
    let said = || format!("{output:?} {:?}", std::fs::read_to_string(&log));
    assert!(output.status.success(), "{}", said());

    let store = Store::new(&options, &impatient());
    let error = store.migrate().await.unwrap_err();
    assert!(!error.is_unavailable());
    assert!(error.to_string().contains("fsync = off"), "{error}");
    assert!(store.ping().await.is_err());
}

#[tokio::test]
async fn a_private_server_that_died_is_started_again_and_one_that_is_gone_can_be_left() {
    let (folder, _held) = server_folder();
    let folder = folder.join("pg");
    let server = private::start(&folder).await.unwrap();
    let keeper = server.keeper();
    assert!(!keeper.step().await.unwrap());
    for kill in ["-QUIT", "-KILL"] {
        let pid = postmaster(&folder);
        signal(&folder, kill);
        let mut revived = false;
        for _ in 0..100 {
            revived = keeper.step().await.unwrap();
            if revived {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(revived && postmaster(&folder) != pid, "{kill}");
        PgConnection::connect_with(&server.options()).await.unwrap().close().await.unwrap();
    }
    signal(&folder, "-QUIT");
    while postmaster(&folder).is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_with_something_else_in_it_is_left_alone() {
    let (folder, _held) = server_folder();
    let theirs = folder.join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(theirs.join("letter.txt"), "dear").unwrap();
    let owned = |path: &Path| std::fs::metadata(path).map(|found| (found.uid(), found.mode())).unwrap();
    let before = owned(&theirs);
    let error = private::start(&theirs).await.unwrap_err().to_string();
    assert!(error.contains("holds something else"), "{error}");
    assert_eq!(owned(&theirs), before);
    assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 1);
}
