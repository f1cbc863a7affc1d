//! `debunk send` against our own door and against a server that has its moods.

use std::path::PathBuf;

use debunk::commands::send::{Args, Count, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::house::{House, Transport, request, spans};

fn args(files: &[PathBuf], to: String) -> Args {
    Args { files: files.to_vec(), to, rate: None, now: false }
}

#[tokio::test]
async fn what_is_sent_is_accepted_and_stored_once() {
    let house = House::open().await;
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<_> = (1..=3).map(|trace| Transport::HttpJson.encode(&request(trace, 50))).collect();
    let (json, protobuf) = (folder.path().join("a.jsonl"), folder.path().join("b.bin"));
    std::fs::write(&json, lines.join(&b'\n')).unwrap();
    let mut with_a_bad_one = request(4, 50);
    spans(&mut with_a_bad_one)[7].trace_id.clear();
    std::fs::write(&protobuf, Transport::Grpc.encode(&with_a_bad_one)).unwrap();

    let args = args(&[json, protobuf], format!("http://{}", house.http));
    for _ in 0..2 {
        assert_eq!(send(&args).await.unwrap(), Count { sent: 200, rejected: 1 });
        assert_eq!(house.stored().await, 199);
    }
    house.close().await;
}

#[tokio::test]
async fn the_rate_is_kept_and_times_move_to_the_present() {
    let house = House::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.jsonl");
    let lines: Vec<_> = (1..=4).map(|trace| Transport::HttpJson.encode(&request(trace, 50))).collect();
    std::fs::write(&file, lines.join(&b'\n')).unwrap();
    let started = std::time::Instant::now();
    let args =
        Args { rate: Some(500), now: true, ..args(&[file], format!("http://{}/v1/traces", house.http)) };
    assert_eq!(send(&args).await.unwrap(), Count { sent: 200, rejected: 0 });
    // Each request waits for the time of those before it.
    assert!(started.elapsed().as_millis() >= 300, "{:?}", started.elapsed());
    assert_eq!(house.stored_since_yesterday().await, 200);
    house.close().await;
}

/// Answers one request per connection with each of these, in turn, and counts the requests.
fn moody(answers: &'static [&'static str]) -> (std::net::SocketAddr, JoinSet<usize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = vec![0; 1 << 16];
            let length = stream.read(&mut read).await.unwrap();
            assert!(read[..length].starts_with(b"POST /v1/traces HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        answers.len()
    });
    (address, tasks)
}

#[tokio::test]
async fn what_may_be_sent_again_is_until_it_is_accepted() {
    let (address, mut served) = moody(&[
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.json");
    std::fs::write(&file, Transport::HttpJson.encode(&request(1, 5))).unwrap();
    let count = send(&args(&[file], format!("http://{address}"))).await.unwrap();
    assert_eq!(count, Count { sent: 5, rejected: 0 });
    assert_eq!(served.join_next().await.unwrap().unwrap(), 5);
}

#[tokio::test]
async fn what_is_rejected_is_not_sent_again() {
    let (address, mut served) = moody(&["HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.json");
    std::fs::write(&file, Transport::HttpJson.encode(&request(1, 5))).unwrap();
    let count = send(&args(&[file], format!("http://{address}"))).await.unwrap();
    assert_eq!((count.rejected, count.accepted()), (5, 0));
    assert_eq!(served.join_next().await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_trace_and_an_address_that_is_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.json");
    std::fs::write(&file, "[]").unwrap();
    let error = send(&args(std::slice::from_ref(&file), "http://127.0.0.1:1".to_owned())).await.unwrap_err();
    assert!(error.to_string().contains("a.json: byte 0: no OTLP trace"), "{error}");
    let error = send(&args(&[file], "127.0.0.1:4318".to_owned())).await.unwrap_err();
    assert!(error.to_string().contains("is no address such as"), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_no_otlp_there_ends_it_with_its_own_words() {
    let house = House::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.json");
    std::fs::write(&file, Transport::HttpJson.encode(&request(1, 5))).unwrap();
    for (to, said) in [
        (format!("http://{}", house.grpc), "415 Unsupported Media Type: this port speaks OTLP over gRPC"),
        (format!("http://{}/otlp/v1/traces", house.http), "404 Not Found: nothing at"),
    ] {
        let error = format!("{:#}", send(&args(std::slice::from_ref(&file), to)).await.unwrap_err());
        assert!(error.contains("takes no OTLP: the server answered") && error.contains(said), "{error}");
    }
    house.close().await;
}
