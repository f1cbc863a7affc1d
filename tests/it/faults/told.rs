//! Webhooks: their receivers fail, and Debunk is killed while it tells them.

use std::time::{Duration, Instant};

use sqlx::PgConnection;

use super::{long, report};
use crate::alert::peer::{Peer, Receivers, Reply, SECRET, Seen};
use crate::support::eventually;
use crate::support::load::Exporter;
use crate::support::process::Process;
use crate::support::traffic::charged_twice;

/// `receiver state` of every delivery.
async fn deliveries(connection: &mut PgConnection) -> Vec<String> {
    let all = "select receiver || ' ' || state from deliveries order by receiver";
    sqlx::query_scalar(all).fetch_all(connection).await.unwrap()
}

/// One id and one body over all tries, each signed as whoever implements the standard checks it.
#[track_caller]
fn is_one_delivery(seen: &[Seen]) {
    let verifier = standardwebhooks::Webhook::new(SECRET).unwrap();
    for one in seen {
        verifier.verify(&one.body, &one.headers).unwrap();
        assert_eq!((one.id(), &one.body), (seen[0].id(), &seen[0].body));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_fail_are_tried_again_or_given_up_and_hold_nobody_else_back() {
    let elsewhere = Peer::start([]).await;
    let good = Peer::start([]).await;
    let failing = Peer::start([Reply::Status(500)]).await;
    let throttling = Peer::start([Reply::With(429, "retry-after", "1".to_owned())]).await;
    let redirecting = Peer::start([Reply::With(307, "location", elsewhere.url.clone())]).await;
    let hanging = Peer::start([Reply::Hang]).await;
    let endless = Peer::start([Reply::Endless]).await;
    let refusing = Peer::start([Reply::Status(400)]).await;
    let receivers = Receivers::of(&[
        ("bad_tls", &good.url.replace("http:", "https:")),
        ("down", "http://127.0.0.1:9/"),
        ("endless", &endless.url),
        ("failing", &failing.url),
        ("good", &good.url),
        ("hanging", &hanging.url),
        ("redirecting", &redirecting.url),
        ("refusing", &refusing.url),
        ("throttling", &throttling.url),
    ]);
    let mut process = Process::with(&receivers.settings);
    process.start().await;
    Exporter::grpc(process.grpc).deliver(&charged_twice(1, "checkout")).await;
    let sent = Instant::now();
    eventually("the good one is told", async || !good.seen().is_empty()).await;
    let told = sent.elapsed();
    let mut connection = process.connect().await;
    let expected = [
        "bad_tls pending",
        "down pending",
        "endless delivered",
        "failing delivered",
        "good delivered",
        "hanging delivered",
        "redirecting dead",
        "refusing dead",
        "throttling delivered",
    ];
    eventually("each is told or given up", async || deliveries(&mut connection).await == expected).await;
    let mended = sent.elapsed();

    // What is dead is seen, and sent again when asked.
    let (_, dead) = process.get("/api/v1/deliveries?state=dead&receiver=refusing").await;
    let dead: serde_json::Value = serde_json::from_str(&dead).unwrap();
    let id = dead["items"][0]["id"].as_str().unwrap();
    let retry = format!("http://{}/api/v1/deliveries/{id}/retry", process.web);
    let asked = crate::support::client().post(retry).header("content-type", "application/json");
    assert_eq!(asked.send().await.unwrap().status(), 202);
    eventually("the dead one is told", async || 1 < refusing.seen().len()).await;
    for peer in [&good, &failing, &throttling, &redirecting, &hanging, &endless, &refusing] {
        is_one_delivery(&peer.seen());
    }
    for peer in [&failing, &throttling, &hanging] {
        assert!(1 < peer.seen().len(), "told at once");
    }
    assert!(elsewhere.seen().is_empty(), "a redirect was followed");
    report(
        24,
        &format!(
            "down, bad TLS, 500, 429, hang, redirect, endless reply and 400: the good receiver was told {:.1} s after \
             the export, the mended ones within {:.1} s, 2 dead and one of them sent again when asked, one id, body \
             and signature over all tries, redirects followed = 0",
            told.as_secs_f64(),
            mended.as_secs_f64()
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_it_wrote_down_that_it_told_it_tells_again_under_the_same_id() {
    let kills = if long() { 3 } else { 1 };
    let peer = Peer::start([]).await;
    let receivers = Receivers::of(&[("ops", &peer.url)]);
    let mut process = Process::with(&receivers.settings);
    process.start().await;
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        peer.answer_next(Reply::Hang);
        let before = peer.seen().len();
        let service = format!("checkout-{kill}");
        Exporter::http(process.http).deliver(&charged_twice(1 + u128::from(kill as u64), &service)).await;
        eventually("it is sent", async || before < peer.seen().len()).await;
        process.kill();
        let killed = Instant::now();
        process.start().await;
        if !long() {
            // Its lease, half a minute, need not be waited for to see what follows.
            let ended = "update deliveries set leased_until = '-infinity'";
            sqlx::query(ended).execute(&mut process.connect().await).await.unwrap();
        }
        eventually("it is sent again", async || before + 1 < peer.seen().len()).await;
        slowest = slowest.max(killed.elapsed());
        let state = "select count(*) from deliveries where state <> 'delivered'";
        eventually("it is written down", async || {
            sqlx::query_scalar::<_, i64>(state).fetch_one(&mut process.connect().await).await.unwrap() == 0
        })
        .await;
        let seen = peer.seen();
        is_one_delivery(&seen[before..]);
    }
    report(
        25,
        &format!(
            "kills {kills} after the receiver had it, each sent again under the same id within {:.1} s, duplicate \
             deliveries = 0",
            slowest.as_secs_f64()
        ),
    );
}
