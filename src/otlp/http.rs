//! OTLP over HTTP: protobuf and JSON on `/v1/traces` and `/v1/logs`, and an answer that helps wherever else one may knock.
//!
//! Every error has a `google.rpc.Status` as its body, in the request's own encoding.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming as Body;
use tokio::net::TcpListener;
use tonic::{Code, Status};
use tracing::Instrument as _;

use super::accept::{Encoding, Incoming, Receipt, Refusal, accept};
use super::listen::{self, Reply};
use super::status::{Success, plain};
use super::{Door, Signal, grpc, other_signals, read};
use crate::decode::bounded::Compression;
use crate::telemetry::trace;

/// Serves OTLP over HTTP until `shutdown` resolves and all requests in flight are answered.
pub async fn serve(
    door: Arc<Door>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limits = door.connections("http");
    listen::serve(listener, limits, shutdown, move |request, peer| {
        let door = Arc::clone(&door);
        async move { answer(&door, request, peer).await }
    })
    .await
}

async fn answer(door: &Door, request: Request<Body>, peer: IpAddr) -> Response<Reply> {
    if grpc::is_grpc(request.headers()) {
        let why = "this port speaks OTLP over HTTP; OTLP over gRPC has a port of its own, usually 4317";
        return grpc::failure(&Status::unimplemented(why));
    }
    let encoding = encoding(request.headers());
    // Whoever did not say how they write can at least read this.
    let spoken = encoding.as_ref().map_or(Encoding::Json, |encoding| *encoding);
    let path = request.uri().path().trim_end_matches('/');
    let Some(signal) = Signal::at(path) else {
        return reply(StatusCode::NOT_FOUND, spoken, plain(Code::NotFound, &lost(path), spoken));
    };
    if door.refuses(signal) {
        return reply(StatusCode::NOT_FOUND, spoken, plain(Code::NotFound, other_signals::REFUSED, spoken));
    }
    if request.method() != Method::POST {
        let body = plain(Code::Unimplemented, "OTLP is sent with POST", spoken);
        let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, spoken, body);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let outcome = match encoding {
        Ok(_) if signal == Signal::Metrics => discard(door, request, peer).await,
        Err(refusal) if signal == Signal::Metrics => Err(refusal),
        encoding => {
            let (started, span) = (Instant::now(), trace::http("POST", signal.path()));
            let outcome = match encoding {
                Ok(encoding) => export(door, request, signal, encoding).instrument(span.clone()).await,
                Err(refusal) => Err(refusal),
            };
            door.count(signal, "http", peer, started, &outcome);
            let status = outcome.as_ref().map_or_else(Refusal::http, |_| StatusCode::OK);
            trace::end_http(&span, status.as_u16());
            outcome.map(|receipt| door.success(signal, peer, &receipt))
        }
    };
    match outcome {
        Ok(success) => reply(StatusCode::OK, spoken, success.encode(spoken)),
        Err(refusal) => refused(&refusal, spoken),
    }
}

async fn export(
    door: &Door,
    request: Request<Body>,
    signal: Signal,
    encoding: Encoding,
) -> Result<Receipt, Refusal> {
    let (parts, body) = request.into_parts();
    let compression = compression(&parts.headers)?;
    let (bytes, share) = read::whole(door, body, door.max_request(), |_| None).await?;
    accept(door, Incoming { signal, encoding, compression, bytes, share }).await
}

async fn discard(door: &Door, request: Request<Body>, peer: IpAddr) -> Result<Success, Refusal> {
    read::discard(door, request.into_body(), door.max_request()).await?;
    Ok(door.notice(peer))
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?"));
    // What follows the semicolon says nothing new: JSON is UTF-8, protobuf is binary.
    let essence =
        kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/x-protobuf" | "application/protobuf" => Ok(Encoding::Protobuf),
        "application/json" => Ok(Encoding::Json),
        _ => Err(Refusal::Unsupported(format!(
            "content-type {:?} is neither application/x-protobuf nor application/json",
            kind.unwrap_or_default()
        ))),
    }
}

fn compression(headers: &HeaderMap) -> Result<Compression, Refusal> {
    let mut names = headers.get_all(CONTENT_ENCODING).iter();
    let Some(name) = names.next() else { return Ok(Compression::None) };
    // A second header is a second layer.
    let known =
        if names.next().is_none() { name.to_str().ok().and_then(Compression::from_name) } else { None };
    known.ok_or_else(|| {
        Refusal::Unsupported(format!("content-encoding {name:?} is not one of identity, gzip, deflate, zstd"))
    })
}

/// What to say to somebody at another path.
fn lost(path: &str) -> String {
    let known = ["/v1/traces", "/v1/logs", "/v1/metrics"];
    match known.into_iter().find(|known| path.ends_with(known)) {
        Some(known) => format!(
            "nothing at {path:?}; did you mean {known}? An endpoint for all signals is given without the path"
        ),
        None if path.is_empty() => {
            "nothing at \"/\"; did you mean /v1/traces? OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as it is, so \
             it needs that path, while OTEL_EXPORTER_OTLP_ENDPOINT gets it added"
                .to_owned()
        }
        None => format!("nothing at {path:?}; traces go to /v1/traces"),
    }
}

fn refused(refusal: &Refusal, encoding: Encoding) -> Response<Reply> {
    let mut response = reply(refusal.http(), encoding, refusal.encode(encoding));
    if let Some(after) = refusal.after() {
        response.headers_mut().insert(RETRY_AFTER, after.as_secs().max(1).into());
    }
    if matches!(refusal, Refusal::Unsupported(_)) {
        let known = HeaderValue::from_static("gzip, deflate, zstd, identity");
        response.headers_mut().insert(ACCEPT_ENCODING, known);
    }
    response
}

fn reply(status: StatusCode, encoding: Encoding, body: Bytes) -> Response<Reply> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    let kind = match encoding {
        Encoding::Protobuf => "application/x-protobuf",
        Encoding::Json => "application/json",
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &http::HeaderName, values: &[&str]) -> HeaderMap {
        let value = |value: &&str| (name.clone(), HeaderValue::from_str(value).unwrap());
        values.iter().map(value).collect()
    }

    #[test]
    fn content_types_are_read_with_their_parameters() {
        let read = |kind: &str| encoding(&headers(&CONTENT_TYPE, &[kind]));
        assert_eq!(read("application/json; charset=utf-8"), Ok(Encoding::Json));
        assert_eq!(read("Application/X-Protobuf"), Ok(Encoding::Protobuf));
        for kind in ["text/plain", "application/grpc", "application/jsonl", ""] {
            assert!(matches!(read(kind), Err(Refusal::Unsupported(_))), "{kind}");
        }
        assert!(matches!(encoding(&HeaderMap::new()), Err(Refusal::Unsupported(_))));
    }

    #[test]
    fn layers_of_compression_are_refused_however_they_are_written() {
        let read = |values: &[&str]| compression(&headers(&CONTENT_ENCODING, values));
        assert_eq!(read(&[]), Ok(Compression::None));
        assert_eq!(read(&["zstd"]), Ok(Compression::Zstd));
        for layers in [&["gzip, gzip"][..], &["gzip", "gzip"], &["snappy"]] {
            assert!(matches!(read(layers), Err(Refusal::Unsupported(_))), "{layers:?}");
        }
    }

    #[test]
    fn whoever_is_lost_is_told_the_way() {
        assert!(lost("").contains("did you mean /v1/traces"));
        assert!(lost("/v1/traces/v1/traces").contains("did you mean /v1/traces"));
        assert!(lost("/otlp/v1/metrics").contains("did you mean /v1/metrics"));
        assert!(lost("/api").contains("traces go to /v1/traces"));
    }
}
