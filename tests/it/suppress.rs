//! What the settings suppress, in a real process: it is found, counted and logged, and stands in no list unless asked
//! for.

use serde_json::Value;

use crate::support::eventually;
use crate::support::load::Exporter;
use crate::support::process::Process;
use crate::support::traffic::charged_twice;

const SUPPRESSED: &str = "[[suppress]]\nservice = \"legacy-*\"\nreason = \"decommissioned in May\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suppressed_is_muted_by_the_settings_and_back_when_they_change() {
    let mut process = Process::with(SUPPRESSED);
    process.start().await;
    let mut exporter = Exporter::http(process.http);
    for (trace, service) in [(1, "legacy-shop"), (2, "shop")] {
        exporter.deliver(&charged_twice(trace, service)).await;
    }
    eventually("both are found", async || {
        process.findings("handling=muted").await.len() == 1 && process.findings("").await.len() == 1
    })
    .await;
    assert_eq!(process.findings("").await[0]["service"], "shop");
    let muted = &process.findings("handling=muted").await[0];
    assert_eq!((&muted["service"], &muted["status"]), (&"legacy-shop".into(), &"open".into()));
    let id = muted["id"].as_str().unwrap();
    let (_, whole) = process.get(&format!("/api/v1/findings/{id}")).await;
    let whole: Value = serde_json::from_str(&whole).unwrap();
    let decision = &whole["decisions"][0];
    assert_eq!((&decision["who"], &decision["note"]), (&"settings".into(), &"decommissioned in May".into()));
    let (_, page) = process.get(&format!("/findings/{id}")).await;
    assert!(page.contains("<b>settings</b> muted it"), "{page}");

    process.set("");
    process.terminate();
    process.start().await;
    eventually("it is back", async || process.findings("").await.len() == 2).await;
}
