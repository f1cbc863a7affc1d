//! The examples of `docs/connect.md`, run as they stand there: programs in Python and Node that know nothing of
//! OpenTelemetry but what the commands bring, and the lines for Rust.

mod rust;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};

use super::house::House;
use crate::support::tools::{package, program};

/// Asks a database that its instrumentation wraps.
const PYTHON: &str = "\
import sqlite3
cursor = sqlite3.connect(':memory:').cursor()
for _ in range(3):
    cursor.execute('select 1')
";

/// Asks itself once.
const NODE: &str = "\
const http = require('node:http');
const server = http.createServer((request, response) => response.end('7'));
server.listen(0, '127.0.0.1', () =>
  http.get({ host: '127.0.0.1', port: server.address().port, path: '/price' }, (response) => {
    response.resume();
    response.on('end', () => server.close());
  }));
";

/// What `docs/connect.md` shows in this language, block by block.
fn blocks(language: &str) -> Vec<String> {
    let text = fs::read_to_string("docs/connect.md").unwrap();
    let start = format!("```{language}\n");
    text.split(&start).skip(1).map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// The variables, then the command that starts `app`. What installs is done already.
fn script(app: &str, house: &House) -> String {
    let blocks = blocks("sh");
    let variables = blocks[0].replace("http://127.0.0.1:4318", &format!("http://{}", house.http));
    assert_ne!(variables, blocks[0], "the endpoint stands there");
    let starts = blocks.iter().flat_map(|block| block.lines()).find(|line| line.ends_with(app)).unwrap();
    format!("{variables}\n{starts}\n")
}

fn run(script: &str, folder: &Path, path: &Path) -> Output {
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", path.display());
    let mut shell = Command::new("sh");
    // It would ask clouds where it runs.
    shell.args(["-e", "-c", script]).current_dir(folder).env("OTEL_NODE_RESOURCE_DETECTORS", "env");
    shell.env("PATH", path).output().unwrap()
}

async fn arrives(app: &str, program: &str, path: &Path, least: i64) {
    let house = House::open().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(app), program).unwrap();
    if let Some(modules) = package("node_modules").filter(|_| app == "app.js") {
        symlink(modules, folder.path().join("node_modules")).unwrap();
    }
    let (script, path) = (script(app, &house), path.to_owned());
    let done = tokio::task::spawn_blocking(move || run(&script, folder.path(), &path)).await.unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    assert!(least <= house.stored().await, "{} spans: {said}", house.stored().await);
    assert!(0 < house.stored_with("select 1").await + house.stored_with("/price").await);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_python_is_connected_as_the_manual_says() {
    let Some(instrument) = package("python/bin/opentelemetry-instrument") else { return };
    arrives("app.py", PYTHON, instrument.parent().unwrap(), 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_node_is_connected_as_the_manual_says() {
    let register = package("node_modules/@opentelemetry/auto-instrumentations-node");
    let (Some(_), Some(node)) = (register, program("node")) else { return };
    arrives("app.js", NODE, node.parent().unwrap(), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_rust_is_connected_as_the_manual_says() {
    let [block] = blocks("rust").try_into().unwrap();
    let source = include_str!("connect/rust.rs");
    for part in block.split("\n\n") {
        assert!(source.contains(part), "the manual shows other lines: {part}");
    }
    let house = House::open().await;
    let provider = rust::traces(&format!("http://{}", house.grpc)).unwrap();
    let send = move || {
        provider.tracer("test").start("one").end();
        provider.shutdown().unwrap();
    };
    tokio::task::spawn_blocking(send).await.unwrap();
    assert_eq!(house.stored().await, 1);
    house.close().await;
}
