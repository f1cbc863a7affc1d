//! Connections that do nothing, or little: closed in time, over both transports, while those at work are not.

use std::time::Duration;

use bytes::Bytes;
use debunk::config::{self, Period};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::house::{Answer, House, TRANSPORTS, client, http2_client, request, slow_body};

/// How HTTP/2 begins, with settings that set nothing.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The start of headers that never end: a frame without `END_HEADERS`.
const HALF_HEADERS: &[u8] = b"\0\0\x01\x01\0\0\0\0\x01\x83";
const LONGEST: Duration = Duration::from_mins(1);

fn short() -> config::Otlp {
    let idle_timeout = Period(Duration::from_millis(300));
    config::Otlp { idle_timeout, read_timeout: Period::secs(20), ..config::Otlp::default() }
}

/// Reads until the other side closes; what it said.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset ends it as well.
    let _ended = tokio::time::timeout(LONGEST, stream.read_to_end(&mut said)).await.expect("it is closed");
    said
}

#[tokio::test]
async fn whoever_says_nothing_or_half_of_it_is_cut_off() {
    let house = House::with(short()).await;
    for address in [house.grpc, house.http] {
        for start in [
            &b""[..],
            b"P",
            b"POST /v1/traces HTTP/1.1\r\nhost: x\r\nx-half: ",
            HTTP2,
            &[HTTP2, HALF_HEADERS].concat(),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(start).await.unwrap();
            until_closed(&mut stream).await;
        }
    }
    for transport in TRANSPORTS {
        assert_eq!(transport.export(&house, &request(1, 10)).await, Answer::Accepted, "{transport:?}");
    }
    house.close().await;
}

#[tokio::test]
async fn headers_that_trickle_in_are_not_waited_for() {
    let house = House::with(short()).await;
    for address in [house.grpc, house.http] {
        let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
        let trickle = async {
            to.write_all(b"POST /v1/traces HTTP/1.1\r\nx-slow: ").await.unwrap();
            while to.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let mut said = Vec::new();
        let closed = async { while from.read_buf(&mut said).await.is_ok_and(|read| 0 < read) {} };
        tokio::select! {
            () = trickle => {}
            () = closed => {}
            () = tokio::time::sleep(LONGEST) => panic!("still open"),
        }
    }
    house.close().await;
}

#[tokio::test]
async fn a_connection_is_closed_when_no_request_follows() {
    let house = House::with(short()).await;
    let mut stream = TcpStream::connect(house.http).await.unwrap();
    let whole = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    for _ in 0..2 {
        stream.write_all(whole.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(b"{}") {
            assert!(0 < stream.read_buf(&mut reply).await.unwrap());
        }
        assert!(reply.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&reply));
    }
    assert_eq!(until_closed(&mut stream).await, b"");
    while house.metric("debunk_connections{transport=\"http\"}").as_deref() != Some("0") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_request_that_takes_longer_than_a_connection_may_idle_is_answered() {
    let house = House::with(short()).await;
    for http2 in [false, true] {
        let client = if http2 { http2_client() } else { client() };
        let (go_on, body) = slow_body(10);
        let sent = client
            .post(format!("http://{}/v1/traces", house.http))
            .header("content-type", "application/json")
            .body(body)
            .send();
        let slow = async {
            // Four times as long as a connection may idle.
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            go_on.send(Bytes::from_static(b"{}")).await.unwrap();
            drop(go_on);
        };
        let (answer, ()) = tokio::join!(sent, slow);
        assert_eq!(answer.unwrap().status(), 200, "HTTP/2: {http2}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_call_whose_message_does_not_arrive_is_given_up() {
    let limits = config::Otlp { read_timeout: Period(Duration::from_millis(200)), ..config::Otlp::default() };
    let house = House::with(limits).await;
    let client = http2_client();
    let (_never, body) = slow_body(3);
    let sent = client
        .post(format!("http://{}{}", house.grpc, super::house::EXPORT))
        .header("content-type", "application/grpc")
        .body(body);
    let response = sent.send().await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!(house.metric("debunk_refusals_total{bound=\"time\"}").as_deref(), Some("1"));
    assert_eq!(house.metric("debunk_in_flight_bytes").as_deref(), Some("0"));
    house.close().await;
}
