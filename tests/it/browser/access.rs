//! Every page, empty and full, narrow and wide, light and dark, as axe-core (Deque's rules for WCAG) sees it.

use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use crate::alert::peer::Receivers;
use crate::support::browser::Browser;
use crate::support::found;
use crate::support::load::Exporter;
use crate::support::process::Process;
use crate::support::tools::package;
use crate::support::traffic::{charged_twice, drawn};

/// Above what fits one page.
const LARGE: usize = 10_000;

/// The script, wherever its package put it: the name of its folder holds the version of Python.
fn axe() -> Option<String> {
    let lib = package("python/lib")?;
    let mut found = std::fs::read_dir(lib)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("site-packages/axe_playwright_python/axe.min.js"));
    found.find(|file| file.exists()).map(|file| std::fs::read_to_string(file).unwrap())
}

/// A trace of ten thousand calls, one after another.
fn large() -> ExportTraceServiceRequest {
    let mut request =
        drawn(7, "|==========| shop  server  GET /export\n| =        |   shop  db  SELECT item");
    let [of_root, of_calls] = request.resource_spans.as_mut_slice() else { panic!("two spans are drawn") };
    let root = &mut of_root.scope_spans[0].spans[0];
    let calls = &mut of_calls.scope_spans[0].spans;
    let (first, call) = (root.start_time_unix_nano, calls[0].clone());
    calls.extend((2..LARGE as u64).map(|number| {
        let mut next = call.clone();
        next.span_id = (1_000 + number).to_be_bytes().to_vec();
        next.start_time_unix_nano = first + number * 1_000_000;
        next.end_time_unix_nano = next.start_time_unix_nano + 900_000;
        next
    }));
    root.end_time_unix_nano = first + LARGE as u64 * 1_000_000;
    request
}

/// Where pictures are put, if somebody wants to look at them: `PICTURES=folder`.
fn pictures() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment, as insta is")]
    std::env::var_os("PICTURES").map(PathBuf::from)
}

struct Looking {
    browser: Browser,
    process: Process,
    axe: String,
    violations: Vec<String>,
}

impl Looking {
    /// Looks at one page in both widths and both schemes.
    async fn at(&mut self, name: &str, path: &str) {
        let url = format!("http://{}{path}", self.process.web);
        for (width, height) in [(390, 844), (1280, 900)] {
            self.browser.resize(width, height).await;
            for scheme in ["light", "dark"] {
                // Widths concern the layout and schemes the colours, so two of the four show all there is.
                if pictures().is_none() && (width == 390) != (scheme == "light") {
                    continue;
                }
                self.browser.prefer(scheme).await;
                self.browser.goto(&url).await;
                let seen = format!("{name} {width} {scheme}");
                self.audit(&seen).await;
                let wide = self.browser.run(
                    "arguments[0](document.documentElement.scrollWidth - document.documentElement.clientWidth)",
                );
                if 0 < wide.await.as_i64().unwrap() {
                    self.violations.push(format!("{seen}: scrolls sideways"));
                }
                if let Some(folder) = pictures() {
                    let file = Path::new(&folder).join(format!("{}.png", seen.replace(' ', "-")));
                    self.browser.picture(&file).await;
                }
            }
        }
    }

    async fn audit(&mut self, seen: &str) {
        let script = format!(
            "{}; const done = arguments[arguments.length - 1];
             axe.run(document, {{resultTypes: ['violations']}}).then(found => done(found.violations
                .filter(one => ['serious', 'critical'].includes(one.impact))
                .map(one => one.id + ': ' + one.nodes.slice(0, 3).map(node => node.html).join(' | '))));",
            self.axe
        );
        let found = self.browser.run(&script).await;
        let lines = found.as_array().unwrap().iter().map(|one| format!("{seen}: {}", one.as_str().unwrap()));
        self.violations.extend(lines);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_has_a_serious_violation_or_scrolls_sideways() {
    let (Some(axe), Some(browser)) = (axe(), Browser::open(true).await) else { return };
    let mut process = Process::new();
    process.start().await;
    let mut looking = Looking { browser, process, axe, violations: Vec::new() };
    for (name, path) in [
        ("first-start", "/"),
        ("findings-empty", "/findings"),
        ("traces-empty", "/traces"),
        ("services-empty", "/services"),
        ("alerts-empty", "/alerts"),
        ("status-empty", "/status"),
        ("nothing", "/findings/0000000000000000"),
        ("wrong", "/findings?colour=red"),
    ] {
        looking.at(name, path).await;
    }
    // Somebody to tell who does not answer.
    let receivers = Receivers::of(&[("ops", "http://127.0.0.1:9")]);
    looking.process.set(&receivers.settings);
    looking.process.terminate();
    looking.process.start().await;
    let mut exporter = Exporter::http(looking.process.http);
    exporter.deliver(&charged_twice(1, "shop")).await;
    exporter.deliver(&large()).await;
    let finding = found(&looking.process, "rule=retry_non_idempotent").await;
    let finding = finding["id"].as_str().unwrap();
    for (name, path) in [
        ("board", "/"),
        ("findings", "/findings?status=open&status=candidate"),
        ("findings-none", "/findings?q=nothing"),
        ("finding", &format!("/findings/{finding}")),
        ("traces", "/traces"),
        ("trace", &format!("/traces/{:032x}", 1)),
        ("trace-large", &format!("/traces/{:032x}", 7)),
        ("services", "/services"),
        ("service", "/services/shop"),
        ("alerts", "/alerts"),
        ("rules", "/rules"),
        ("rule", "/rules/retry_non_idempotent"),
        ("status", "/status"),
    ] {
        looking.at(name, path).await;
    }
    let url = format!("http://{}/traces/{:032x}", looking.process.web, 7);
    looking.browser.goto(&url).await;
    let paint = "arguments[0](performance.getEntriesByName('first-contentful-paint')[0].startTime)";
    println!("first paint of a trace of {LARGE} spans: {} ms", looking.browser.run(paint).await);
    assert!(looking.violations.is_empty(), "{}", looking.violations.join("\n"));
}
