//! `debunk selftest` against a running server: it reads back what it sent, and fails where the server does.

use std::process::Output;
use std::time::Duration;

use debunk::commands::serve::Service;
use debunk::config::{Config, Period, Secret};
use sqlx::AssertSqlSafe;
use tokio::process::Command;

use crate::alert::peer::{Peer, Seen};
use crate::support::client;
use crate::support::database::Database;

fn settings(database: &Database, peer: &Peer, secret: &std::path::Path) -> Config {
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[otlp]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
         [traces]\nquiet_period = \"200ms\"\n\
         [[receivers]]\nname = \"everything\"\nurl = \"{0}\"\nsecret_file = \"{1}\"\nallow_private = true\n\
         [[receivers]]\nname = \"canaries\"\nurl = \"{0}\"\nsecret_file = \"{1}\"\nallow_private = true\n\
         services = [\"debunk.selftest\"]\n",
        peer.url,
        secret.display(),
    );
    let mut config: Config = toml::from_str(&text).unwrap();
    config.database.url = Secret::new(database.url());
    config.database.connect_timeout = Period(Duration::from_millis(500));
    config
}

async fn selftest(service: &(String, String)) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_debunk"));
    command.args(["selftest", "--timeout", "30s", "--to", &service.0, "--api", &service.1]);
    command.output().await.unwrap()
}

fn steps(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_is_stored_judged_and_delivered_and_stands_in_no_list() {
    let (database, peer) = (Database::fresh().await, Peer::start([]).await);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let service = Service::start(settings(&database, &peer, secret.path())).await.unwrap();
    let addresses = (format!("http://{}", service.http), format!("http://{}", service.web));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let asked = async move { drop(stopped.await) };
    let test = async {
        // Twice: the second finding is a new one as well, so it is delivered as well.
        for _ in 0..2 {
            let output = selftest(&addresses).await;
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{text}");
            assert_eq!(steps(&output), ["accepted", "stored", "finding", "delivery"], "{text}");
            assert!(text.contains("canaries") && !text.contains("everything"), "{text}");
        }
        let events: Vec<String> = peer.seen().iter().map(Seen::event).collect();
        assert_eq!(events, ["finding.opened", "finding.opened"]);
        let list = |query: &str| {
            let url = format!("{}/api/v1/findings?{query}", addresses.1);
            async move { client().get(url).send().await.unwrap().json::<serde_json::Value>().await.unwrap() }
        };
        assert_eq!(list("").await["items"], serde_json::json!([]));
        assert_eq!(list("service=debunk.selftest").await["items"].as_array().unwrap().len(), 2);
        let board = client().get(&addresses.1).send().await.unwrap().text().await.unwrap();
        assert!(!board.contains("canary"), "{board}");

        // The database goes away.
        let name = database.options.get_database().unwrap();
        let shut = format!(
            "alter database {name} allow_connections false;
             select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
        );
        let mut other = Database::fresh().await.pool.acquire().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(shut)).execute(&mut *other).await.unwrap();
        let output = selftest(&addresses).await;
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(steps(&output), ["failed"], "{output:?}");
        stop.send(()).unwrap();
    };
    let (served, ()) = tokio::join!(service.run(asked), test);
    served.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failure() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let output = selftest(&(nobody.clone(), nobody)).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(steps(&output), ["failed"]);
}
