//! Connections: who may come in, for how long, and how they end. HTTP/1.1 and HTTP/2 without TLS on one port.
//!
//! A client that sends its headers slowly, or nothing at all, or does not take its answers, is cut off; one that sends
//! a body slowly is `read`'s business. When told to stop, it takes no more connections and lets requests in flight finish.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::MOST_CONNECTIONS;
use crate::telemetry::Metrics;

/// The body of a reply.
pub(super) type Reply = UnsyncBoxBody<Bytes, Infallible>;

/// HTTP/2: a silent peer is asked for a sign of life after so long, and given so long to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// For a connection that is told to end.
const FAREWELL: Duration = Duration::from_secs(5);

const MAX_HEADERS: u32 = 16 << 10;

/// What a client may send before anybody reads it, per request and per connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// How an HTTP/2 connection without TLS begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What one connection may do.
#[derive(Clone)]
pub(super) struct Limits {
    /// Requests at once, over HTTP/2.
    pub(super) max_streams: u32,
    /// For the headers of a request, and without any request.
    pub(super) idle: Duration,
    /// Counts connections.
    pub(super) metrics: Metrics,
    /// Under this name.
    pub(super) transport: &'static str,
}

/// Serves until `shutdown` resolves and all requests in flight are answered.
pub(super) async fn serve<H, R>(
    listener: TcpListener,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
    handle: H,
) -> io::Result<()>
where
    H: Fn(Request<Incoming>, IpAddr) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Reply>> + Send + 'static,
{
    let mut shutdown = pin!(shutdown);
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let stop = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            (slot, listener.accept().await)
        };
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
            (slot, accepted) = next => match accepted {
                Ok((stream, peer)) => {
                    let (handle, stopped, limits) = (handle.clone(), stop.subscribe(), limits.clone());
                    connections.spawn(async move {
                        limits.metrics.connection(limits.transport, 1);
                        connection(stream, peer.ip(), &limits, stopped, handle).await;
                        limits.metrics.connection(limits.transport, -1);
                        drop(slot);
                    });
                }
                // Out of file descriptors, most likely: those in use come back.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn connection<H, R>(
    stream: TcpStream,
    peer: IpAddr,
    limits: &Limits,
    mut stopped: watch::Receiver<bool>,
    handle: H,
) where
    H: Fn(Request<Incoming>, IpAddr) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Reply>> + Send + 'static,
{
    // Replies are small and somebody waits for each of them. A peer that is gone already shows below.
    let _no_delay = stream.set_nodelay(true);
    let is_http2 = tokio::select! {
        begun = timeout(limits.idle, begins_like_http2(&stream)) => match begun {
            Ok(Ok(is_http2)) => is_http2,
            Ok(Err(_)) | Err(_) => return,
        },
        _ = stopped.wait_for(|stop| *stop) => return,
    };
    let asked = Asked::default();
    let counted = asked.clone();
    let service = service_fn(move |request| {
        let (reply, open) = (handle(request, peer), counted.begin());
        async move {
            let reply = reply.await;
            drop(open);
            Ok::<_, Infallible>(reply)
        }
    });
    let io = TokioIo::new(stream);
    let ended = if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(MAX_HEADERS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        let connection = builder.serve_connection(io, service);
        run(connection, stopped, asked, limits.idle, http2::Connection::graceful_shutdown).await
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_buf_size(MAX_HEADERS as usize * 4);
        let connection = builder.serve_connection(io, service);
        run(connection, stopped, asked, limits.idle, http1::Connection::graceful_shutdown).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection broke");
    }
}

async fn run<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    mut stopped: watch::Receiver<bool>,
    asked: Asked,
    longest_idle: Duration,
    shut_down: fn(Pin<&mut C>),
) -> C::Output {
    let mut connection = pin!(connection);
    let told = tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = stopped.wait_for(|stop| *stop) => true,
        () = asked.idle(longest_idle) => false,
    };
    shut_down(connection.as_mut());
    if told {
        return connection.await;
    }
    // A request that came meanwhile is answered. A peer that takes neither answers nor the farewell is not waited for.
    tokio::select! {
        ended = connection => ended,
        () = asked.idle(FAREWELL) => Ok(()),
    }
}

/// Requests of one connection that are being answered.
#[derive(Clone, Default)]
struct Asked(watch::Sender<usize>);

/// One of them, until it is dropped.
struct Open(watch::Sender<usize>);

impl Asked {
    fn begin(&self) -> Open {
        self.0.send_modify(|count| *count += 1);
        Open(self.0.clone())
    }

    /// Resolves when there was none for so long.
    async fn idle(&self, long: Duration) {
        let mut count = self.0.subscribe();
        loop {
            // The sender is held here, so neither wait can fail.
            drop(count.wait_for(|count| *count == 0).await);
            if timeout(long, count.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Looks at the first bytes without taking them.
async fn begins_like_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut start).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if start[..length] != PREFACE[..length] {
            return Ok(false);
        }
        if length == PREFACE.len() {
            return Ok(true);
        }
        // The rest is on its way; what has come would wake us at once.
        sleep(Duration::from_millis(5)).await;
    }
}
