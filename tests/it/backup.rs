//! `docs/operations.md`: what is saved is there again, with the commands as they stand there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use sqlx::Executor as _;

use crate::support::load::Exporter;
use crate::support::process::Process;
use crate::support::server::OwnServer;
use crate::support::traffic::charged_twice;
use crate::support::{client, found};

/// The commands that begin like this.
fn commands(start: &str) -> Vec<String> {
    let text = fs::read_to_string("docs/operations.md").unwrap();
    text.lines().filter(|line| line.starts_with(start)).map(ToOwned::to_owned).collect()
}

/// The newest client programs that are installed.
fn programs() -> PathBuf {
    let versions =
        fs::read_dir("/usr/lib/postgresql").unwrap().map(|entry| entry.unwrap().path().join("bin"));
    versions.filter(|folder| folder.join("pg_dump").exists()).max().unwrap()
}

fn run(command: &str, url: &str, folder: &std::path::Path) {
    let path = format!("{}:/usr/bin:/bin", programs().display());
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", command]).env("PATH", path).env("DEBUNK_DATABASE__URL", url).current_dir(folder);
    let done = shell.output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}

async fn list(process: &Process, path: &str) -> serde_json::Value {
    let (status, body) = process.get(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_back_spans_findings_and_decisions() {
    let server = OwnServer::start().await;
    let mut process = Process::on(server.url(), "");
    process.start().await;
    Exporter::http(process.http).deliver(&charged_twice(1, "shop")).await;
    let before = found(&process, "").await;
    let id = before["id"].as_str().unwrap();
    let decide = client()
        .post(format!("http://{}/api/v1/findings/{id}/decisions", process.web))
        .header("content-type", "application/json")
        .body("{\"action\":\"acknowledge\",\"note\":\"we know\"}");
    assert_eq!(decide.send().await.unwrap().status(), 201);
    process.terminate();

    let folder = tempfile::tempdir().unwrap();
    for command in commands("pg_dump") {
        run(&command, &server.url(), folder.path());
    }
    let [restore] = commands("pg_restore").try_into().unwrap();
    let mut connection = server.connect().await;
    for (name, dump, traces) in [("whole", "debunk.dump", 1), ("small", "findings.dump", 0)] {
        connection.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await.unwrap();
        let url = server.url().replace("/debunk?", &format!("/{name}?"));
        run(&restore.replace("debunk.dump", dump), &url, folder.path());
        let mut process = Process::on(url, "");
        process.start().await;
        let whole = list(&process, &format!("/api/v1/findings/{id}")).await;
        assert_eq!(
            (&whole["headline"], &whole["handling"]),
            (&before["headline"], &"acknowledged".into()),
            "{name}"
        );
        assert_eq!(whole["decisions"][0]["note"], "we know", "{name}");
        let kept = list(&process, "/api/v1/traces").await["items"].as_array().unwrap().len();
        assert_eq!(kept, traces, "{name}");
        let (status, _) = process.get(&format!("/api/v1/traces/{:032x}", 1)).await;
        assert_eq!(status, if traces == 1 { 200 } else { 404 }, "{name}");
        process.terminate();
    }
}
