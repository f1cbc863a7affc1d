//! Bounds: what is too large is refused before it takes memory, what is too much for now is told to come again.

use std::time::Duration;

use bytes::Bytes;
use debunk::config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::house::{Answer, House, PACKINGS, Packing, TRANSPORTS, Transport, client, request, slow_body};

fn small() -> config::Otlp {
    config::Otlp {
        max_request: config::Bytes(64 << 10),
        max_in_flight: config::Bytes(1 << 20),
        ..config::Otlp::default()
    }
}

#[tokio::test]
async fn over_the_limit_is_too_large_however_it_is_packed() {
    let house = House::with(small()).await;
    for transport in TRANSPORTS {
        let body = transport.encode(&request(1, 2_000));
        assert!(body.len() > 64 << 10);
        for packing in PACKINGS {
            let answer = transport.send(&house, body.clone(), packing).await;
            assert_eq!(answer, Answer::TooLarge, "{transport:?} {packing:?}");
        }
        // And the next one is served.
        assert_eq!(transport.export(&house, &request(1, 10)).await, Answer::Accepted);
    }
    assert_eq!(house.stored().await, 10);
    assert_eq!(house.metric("debunk_in_flight_bytes").as_deref(), Some("0"));
    house.close().await;
}

#[tokio::test]
async fn a_bomb_is_too_large_and_leaves_nothing_behind() {
    let house = House::open().await;
    let bomb = vec![0; 128 << 20];
    for transport in TRANSPORTS {
        for packing in [Packing::Gzip, Packing::Zstd] {
            let sent = transport.send(&house, bomb.clone(), packing).await;
            assert_eq!(sent, Answer::TooLarge, "{transport:?} {packing:?}");
        }
    }
    assert_eq!(house.metric("debunk_in_flight_bytes").as_deref(), Some("0"));
    house.close().await;
}

#[tokio::test]
async fn what_is_small_on_the_wire_and_large_in_memory_is_too_large() {
    let house = House::open().await;
    let inside = |key: u8, inner: Vec<u8>| {
        let mut outer = vec![key];
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        [outer, inner].concat()
    };
    let body = inside(0x0a, inside(0x12, [0x12, 0x00].repeat(4 << 20)));
    for transport in [Transport::Grpc, Transport::HttpProtobuf] {
        assert_eq!(
            transport.send(&house, body.clone(), Packing::Gzip).await,
            Answer::TooLarge,
            "{transport:?}"
        );
    }
    let text =
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(1 << 20));
    assert_eq!(Transport::HttpJson.send(&house, text.into(), Packing::None).await, Answer::TooLarge);
    house.close().await;
}

#[tokio::test]
async fn while_others_hold_the_bytes_requests_are_refused_for_now() {
    let limits = config::Otlp { max_in_flight: config::Bytes(64 << 10), ..small() };
    let house = House::with(limits).await;
    let (go_on, body) = slow_body(60 << 10);
    let holder = client()
        .post(format!("http://{}/v1/traces", house.http))
        .header("content-type", "application/json")
        .body(body);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { holder.send().await.unwrap().status() });
    let held = || house.metric("debunk_in_flight_bytes").and_then(|held| held.parse::<u64>().ok());
    while held().is_none_or(|held| held < 60 << 10) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for transport in TRANSPORTS {
        let answer = transport.export(&house, &request(1, 100)).await;
        assert!(matches!(answer, Answer::Later(_)), "{transport:?} {answer:?}");
    }
    assert_eq!(house.stored().await, 0);
    assert_eq!(house.metric("debunk_refusals_total{bound=\"bytes\"}").as_deref(), Some("3"));

    go_on.send(Bytes::from_static(b"{}")).await.unwrap();
    drop(go_on);
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), 200);
    for transport in TRANSPORTS {
        assert_eq!(transport.export(&house, &request(1, 20)).await, Answer::Accepted, "{transport:?}");
    }
    house.close().await;
}

#[tokio::test]
async fn what_is_only_announced_keeps_nobody_out() {
    let limits = config::Otlp {
        max_request: config::Bytes::mib(1),
        max_in_flight: config::Bytes::mib(4),
        ..config::Otlp::default()
    };
    let house = House::with(limits).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(house.http).await.unwrap();
        let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1048576\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    let held = || house.metric("debunk_in_flight_bytes").and_then(|held| held.parse::<u64>().ok());
    while held().is_none_or(|held| held < 8 * (64 << 10)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for transport in TRANSPORTS {
        assert_eq!(transport.export(&house, &request(1, 20)).await, Answer::Accepted, "{transport:?}");
    }
    drop(silent);
    house.close().await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let limits = config::Otlp { read_timeout: config::Period(Duration::from_millis(200)), ..small() };
    let house = House::with(limits).await;
    let (_never, body) = slow_body(1_000);
    let sent = client()
        .post(format!("http://{}/v1/traces", house.http))
        .header("content-type", "application/x-protobuf")
        .body(body);
    let response = sent.send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(house.metric("debunk_in_flight_bytes").as_deref(), Some("0"));
    house.close().await;
}

#[tokio::test]
async fn a_large_body_is_refused_by_its_announced_length_and_its_sender_hears_why() {
    let house = House::with(small()).await;
    let mut stream = TcpStream::connect(house.http).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; 100_000]).await.unwrap();
    let mut reply = Vec::new();
    let mut buffer = [0; 4_096];
    while !String::from_utf8_lossy(&reply).contains("larger than") {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&reply));
        reply.extend_from_slice(&buffer[..read]);
    }
    assert!(reply.starts_with(b"HTTP/1.1 413"));
    house.close().await;
}

#[tokio::test]
async fn shutting_down_answers_what_is_in_flight_and_ends_idle_connections() {
    let house = House::open().await;
    let _idle = TcpStream::connect(house.http).await.unwrap();
    let _idle_too = TcpStream::connect(house.grpc).await.unwrap();
    let keeps_alive = client();
    let url = format!("http://{}/v1/traces", house.http);
    let sent = keeps_alive.post(&url).header("content-type", "application/json").body("{}").send();
    assert_eq!(sent.await.unwrap().status(), 200);
    let (go_on, body) = slow_body(10);
    let request = keeps_alive.post(&url).header("content-type", "application/json").body(body);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { request.send().await.unwrap().status() });
    let held = || house.metric("debunk_in_flight_bytes").and_then(|held| held.parse::<u64>().ok());
    while held().is_none_or(|held| held < 10) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tasks.spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        go_on.send(Bytes::from_static(b"{}")).await.unwrap();
        reqwest::StatusCode::OK
    });
    house.close().await;
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
}
