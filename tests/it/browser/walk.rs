//! From the first page to the spans that prove a duplicate, and through all that people decide, with scripts off.

use crate::alert::peer::{Peer, Receivers, Seen};
use crate::support::browser::Browser;
use crate::support::load::Exporter;
use crate::support::process::Process;
use crate::support::traffic::charged_twice;
use crate::support::{eventually, found};

struct Walk {
    browser: Browser,
    process: Process,
    peer: Peer,
    _receivers: Receivers,
}

impl Walk {
    /// `None` where there is no browser.
    async fn start() -> Option<Self> {
        let browser = Browser::open(false).await?;
        let peer = Peer::start([]).await;
        let receivers = Receivers::of(&[("ops", &peer.url)]);
        let mut process = Process::with(&receivers.settings);
        process.start().await;
        Some(Self { browser, process, peer, _receivers: receivers })
    }

    async fn open(&self, path: &str) {
        self.browser.goto(&format!("http://{}{path}", self.process.web)).await;
    }

    /// Opens the form of a decision, writes why, and presses its button; the log says it then.
    async fn decide(&self, action: &str, says: &str) {
        let browser = &self.browser;
        let form = format!("form:has(input[value='{action}'])");
        let summary = browser.one(&format!("details:has(> form input[value='{action}']) > summary")).await;
        browser.click(&summary).await;
        let note = format!("a note to {action}");
        browser.write(&browser.one(&format!("{form} input[name='note']")).await, &note).await;
        browser.click(&browser.one(&format!("{form} button")).await).await;
        for words in [says, &note] {
            eventually(words, async || browser.shows(words).await).await;
        }
    }

    /// Waits until the receiver was told so many things; the last one is this.
    async fn told(&self, count: usize, event: &str) {
        eventually(event, async || count <= self.peer.seen().len()).await;
        let events: Vec<String> = self.peer.seen().iter().map(Seen::event).collect();
        assert_eq!((events.len(), events.last().map(String::as_str)), (count, Some(event)), "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_clicks_lead_to_the_proof_and_every_decision_is_seen_and_told() {
    let Some(walk) = Walk::start().await else { return };
    let browser = &walk.browser;
    walk.open("/").await;
    assert!(browser.page().await.contains("Waiting for the first span"));

    let mut exporter = Exporter::http(walk.process.http);
    exporter.deliver(&charged_twice(1, "shop")).await;
    found(&walk.process, "rule=retry_non_idempotent").await;
    walk.open("/").await;
    browser.click(&browser.link("The network is reliable").await).await;
    browser.click(&browser.one("table.findings th a").await).await;
    let page = browser.page().await;
    assert!(page.contains("2 attempts wrote") && page.contains("attempt 2"), "{page}");
    let finding = browser.url().await;
    let lanes = browser.all(".lanes a").await;
    browser.click(lanes.last().expect("evidence leads to its spans")).await;
    assert!(browser.url().await.contains("/traces/"), "{}", browser.url().await);
    let flagged = browser.all(".span.evidence").await;
    let mut charges = 0;
    for row in &flagged {
        let words = browser.text(row).await.split_whitespace().collect::<Vec<_>>().join(" ");
        charges += usize::from(words.contains("pay POST /charge"));
    }
    assert_eq!(charges, 2, "both charges are marked among {} spans", flagged.len());

    browser.goto(&finding).await;
    walk.told(1, "finding.opened").await;
    walk.decide("acknowledge", "acknowledged it").await;
    walk.told(2, "finding.acknowledged").await;
    walk.decide("mute", "muted it").await;
    walk.told(3, "finding.muted").await;
    walk.decide("unmute", "unmuted it").await;
    walk.told(4, "finding.opened").await;
    walk.decide("resolve", "resolved it").await;
    walk.told(5, "finding.resolved").await;
    exporter.deliver(&charged_twice(2, "shop")).await;
    walk.told(6, "finding.reopened").await;
    browser.goto(&finding).await;
    let log = browser.text(&browser.one("ol.log").await).await;
    assert!(log.contains("Came back"), "{log}");

    // The same in the list, which leads back to itself.
    walk.open("/findings").await;
    browser.click(&browser.one("div.inline button").await).await;
    walk.told(7, "finding.acknowledged").await;
    assert!(browser.url().await.ends_with("/findings"), "{}", browser.url().await);
    browser.click(&browser.one("details.inline summary").await).await;
    browser.click(&browser.one("details.inline button").await).await;
    walk.told(8, "finding.muted").await;
    eventually("an empty list", async || browser.shows("No finding is open").await).await;

    walk.open("/alerts").await;
    let deliveries = browser.page().await;
    for event in ["Opened", "Acknowledged", "Muted", "Resolved", "Reopened"] {
        assert!(deliveries.contains(event), "{event}: {deliveries}");
    }
}
