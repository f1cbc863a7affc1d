//! The real Alertmanager, where it is installed: it takes what we push, tells its own webhook that it fires, keeps it firing
//! as long as we say so, and tells that it is resolved.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use debunk::findings::life::{Event, Status};
use debunk::loops::Deliver;
use debunk::rules::Severity;
use debunk::store::Change;
use debunk::telemetry::Metrics;
use serde_json::Value;
use tempfile::TempDir;

use super::peer::Peer;
use super::{change, deliver_all, enqueue, only, quick};
use crate::support::client;
use crate::support::database::Database;
use crate::support::tools::program;

const BINARY: &str = "prometheus-alertmanager";

/// The real thing, on a port of its own, which forgets after two seconds.
struct Alertmanager {
    url: String,
    child: std::process::Child,
    _folder: TempDir,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Alertmanager {
    async fn start(binary: &Path, webhook: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            "global: {{ resolve_timeout: 2s }}\n\
             route: {{ receiver: hook, group_by: [alertname, service], group_wait: 100ms, group_interval: 200ms }}\n\
             receivers: [{{ name: hook, webhook_configs: [{{ url: '{webhook}', send_resolved: true }}] }}]\n"
        );
        std::fs::write(folder.path().join("am.yml"), settings).unwrap();
        // A port that was free a moment ago: Alertmanager does not say which it took when it may choose.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(binary)
            .arg("--config.file=am.yml")
            .arg("--storage.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let one = Self { url: format!("http://127.0.0.1:{port}"), child, _folder: folder };
        until("alertmanager is ready", async || {
            let asked = client().get(format!("{}/-/ready", one.url)).send().await;
            asked.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        one
    }

    /// Severities of the alerts that it shows now.
    async fn firing(&self) -> Vec<String> {
        let asked = client().get(format!("{}/api/v2/alerts", self.url)).send().await.unwrap();
        let alerts: Value = asked.json().await.unwrap();
        let severity = |alert: &Value| alert["labels"]["severity"].as_str().unwrap().to_owned();
        alerts.as_array().unwrap().iter().map(severity).collect()
    }
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// (status, severity, summary) of every alert that its webhook was told of.
fn notified(webhook: &Peer) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |body: Value| {
        let alerts = body["alerts"].as_array().unwrap().clone();
        alerts.into_iter().map(|alert| {
            (
                text(&alert["status"]),
                text(&alert["labels"]["severity"]),
                text(&alert["annotations"]["summary"]),
            )
        })
    };
    webhook.seen().iter().flat_map(|seen| of(seen.json()).collect::<Vec<_>>()).collect()
}

fn has(webhook: &Peer, status: &str, severity: &str) -> bool {
    notified(webhook).iter().any(|one| one.0 == status && one.1 == severity)
}

#[tokio::test]
async fn the_real_alertmanager_is_told_that_it_fires_gets_worse_and_is_resolved() {
    let Some(binary) = program(BINARY) else { return };
    let database = Database::fresh().await;
    let webhook = Peer::start([]).await;
    let alertmanager = Alertmanager::start(&binary, &webhook.url).await;
    let receivers = super::formats::opened("alertmanager_push", &alertmanager.url, None);
    let deliver = Deliver::new(database.store.clone(), only(&receivers), quick(), Metrics::new());
    let tell = async |change: &Change, transition: i32| {
        let id = enqueue(&database, &receivers, change, transition).await;
        deliver_all(&deliver, &database).await;
        assert_eq!(super::row(&database, id).await.state, "delivered");
    };
    let mut opened = change(1, Event::Opened);
    opened.finding.claim.headline = "calls `GET /items/{id}` once per <item>, \"\u{202e}\"".to_owned();
    tell(&opened, 1).await;
    until("it notifies that it fires", async || has(&webhook, "firing", "high")).await;
    let (.., summary) = notified(&webhook).remove(0);
    assert_eq!(summary, "calls GET /items/{id} once per <item>, \"\\u{202e}\"");

    // Told again and again, it fires on; it forgets after two seconds.
    let standing = [Change { event: Event::Reminded, ..opened.clone() }];
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        only(&receivers).refresh(&standing).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(alertmanager.firing().await, ["high"]);
    assert!(!has(&webhook, "resolved", "high"), "{:?}", notified(&webhook));

    let worse = Change {
        event: Event::Escalated,
        told: Severity::Critical,
        previous: Some((Status::Open, Severity::High)),
        at: debunk::clock::now(),
        ..opened.clone()
    };
    tell(&worse, 2).await;
    until("the worse one fires", async || has(&webhook, "firing", "critical")).await;
    until("the other one ends", async || has(&webhook, "resolved", "high")).await;

    let gone = Change { event: Event::Quiet, at: debunk::clock::now(), previous: None, ..worse };
    tell(&gone, 3).await;
    until("it is resolved", async || has(&webhook, "resolved", "critical")).await;
    until("nothing fires", async || alertmanager.firing().await.is_empty()).await;
}

#[tokio::test]
async fn what_the_real_alertmanager_posts_has_the_fields_that_we_post() {
    let Some(binary) = program(BINARY) else { return };
    let theirs = Peer::start([]).await;
    let alertmanager = Alertmanager::start(&binary, &theirs.url).await;
    let push = only(&super::formats::opened("alertmanager_push", &alertmanager.url, None));
    push.test(uuid::Uuid::now_v7(), debunk::clock::now()).await;
    until("it posts", async || !theirs.seen().is_empty()).await;
    let ours = Peer::start([]).await;
    let receiver = only(&super::formats::opened("alertmanager", &ours.url, None));
    receiver.post(uuid::Uuid::now_v7(), receiver.delivery(&change(1, Event::Opened)).payload).await;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (theirs, ours) = (theirs.seen()[0].json(), ours.seen()[0].json());
    assert_eq!(keys(&ours), keys(&theirs));
    assert_eq!(keys(&ours["alerts"][0]), keys(&theirs["alerts"][0]));
    assert_eq!((&ours["version"], &ours["status"]), (&theirs["version"], &theirs["status"]));
}
