//! What the settings suppress, in a real process: it is found, counted and logged, and stands in no list unless asked for.

use prost::Message as _;
use serde_json::Value;

use crate::support::process::Process;
use crate::support::traffic::charged_twice;
use crate::support::{client, eventually};

const SUPPRESSED: &str = "[[suppress]]\nservice = \"legacy-*\"\nreason = \"decommissioned in May\"\n";

async fn findings(process: &Process, query: &str) -> Vec<Value> {
    let (status, body) = process.get(&format!("/api/v1/findings?{query}")).await;
    assert_eq!(status, 200, "{body}");
    let list: Value = serde_json::from_str(&body).unwrap();
    list["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suppressed_is_muted_by_the_settings_and_back_when_they_change() {
    let mut process = Process::with(SUPPRESSED);
    process.start().await;
    for (trace, service) in [(1, "legacy-shop"), (2, "shop")] {
        let url = format!("http://{}/v1/traces", process.http);
        let body = charged_twice(trace, service).encode_to_vec();
        let sent =
            client().post(url).header("content-type", "application/x-protobuf").body(body).send().await;
        assert_eq!(sent.unwrap().status(), 200);
    }
    eventually("both are found", async || {
        findings(&process, "handling=muted").await.len() == 1 && findings(&process, "").await.len() == 1
    })
    .await;
    assert_eq!(findings(&process, "").await[0]["service"], "shop");
    let muted = &findings(&process, "handling=muted").await[0];
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
    eventually("it is back", async || findings(&process, "").await.len() == 2).await;
}
