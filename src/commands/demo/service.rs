//! One service of the shop: an HTTP server on loopback with its own OpenTelemetry SDK, and what it asks of others.
//!
//! A request that was begun is finished even when its caller has left, as thread-per-request servers do: that is
//! how a write comes to happen after the caller reported failure.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::routing::{MethodFilter, on};
use http::{HeaderMap, Method, StatusCode, Uri};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use super::export::{self, Shipped};
use super::spans;
use crate::commands::choose_cryptography;

/// The header that makes a repeated write harmless, where the receiver honours it.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The header that says how many milliseconds the caller will still wait.
const TIME_LEFT: &str = "x-time-left-ms";

/// The name of a partner on the public net, as the shop's settings have it.
pub(super) const PUBLIC_HOST: &str = "api.rates-for-shops.com";

/// Far above what any answer takes here: services that mean to give up earlier say so per call.
const PATIENCE: Duration = Duration::from_secs(10);

/// The body of every POST in this shop.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// Number of the order, or of whatever the path's parameter names.
    pub(super) order: u32,
}

/// A request being served.
pub(super) struct Inbound {
    /// The path's number or, without one, the body's order.
    pub(super) number: u32,
    /// The idempotency key that came with it.
    pub(super) key: Option<String>,
    /// When its caller will have left, where it said so.
    pub(super) until: Option<Instant>,
    /// The server span, under which everything else is done.
    pub(super) span: Context,
}

/// What a service answers: a status, and rarely a body.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl From<StatusCode> for Reply {
    fn from(status: StatusCode) -> Self {
        Self { status, body: Bytes::new() }
    }
}

/// A request to another service.
pub(super) struct Outbound {
    /// GET or POST.
    pub(super) method: Method,
    /// Where it listens.
    pub(super) to: SocketAddr,
    /// Its path, with `{…}` where the number goes.
    pub(super) template: &'static str,
    /// What stands behind the path.
    pub(super) query: &'static str,
    /// The name by which the callee is called; without one, by its address.
    pub(super) host: Option<&'static str>,
    /// Number in the path or the body.
    pub(super) number: u32,
    /// Sent with every attempt, where the caller made one.
    pub(super) key: Option<String>,
    /// 0 for the first attempt.
    pub(super) resend: u32,
    /// When to give up; never, where nobody thought of it.
    pub(super) timeout: Option<Duration>,
    /// Whether the callee is told when that is.
    pub(super) tells_deadline: bool,
}

impl Outbound {
    /// A first attempt, without key, with much patience.
    pub(super) fn new(method: Method, to: SocketAddr, template: &'static str, number: u32) -> Self {
        Self {
            method,
            to,
            template,
            query: "",
            host: None,
            number,
            key: None,
            resend: 0,
            timeout: Some(PATIENCE),
            tells_deadline: false,
        }
    }

    /// A GET that gives up after so long.
    pub(super) fn get(to: SocketAddr, template: &'static str, number: u32, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..Self::new(Method::GET, to, template, number) }
    }

    fn url(&self) -> String {
        let authority = match self.host {
            Some(host) => format!("{host}:{}", self.to.port()),
            None => self.to.to_string(),
        };
        format!("http://{authority}{}{}", self.path(), self.query)
    }

    /// The path as sent.
    pub(super) fn path(&self) -> String {
        match (self.template.find('{'), self.template.find('}')) {
            (Some(open), Some(close)) => {
                format!("{}{}{}", &self.template[..open], self.number, &self.template[close + 1..])
            }
            _ => self.template.to_owned(),
        }
    }
}

/// What a caller knows after asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The callee answered.
    Status(StatusCode),
    /// No answer in time: whether the request had its effect is not known.
    TimedOut,
    /// The request failed otherwise.
    Failed,
}

impl Answer {
    pub(super) fn is_success(self) -> bool {
        matches!(self, Self::Status(status) if status.is_success())
    }
}

/// A running service.
pub(super) struct Service {
    pub(super) name: &'static str,
    provider: SdkTracerProvider,
    pub(super) tracer: SdkTracer,
    http: reqwest::Client,
    /// Requests that were begun, whether or not somebody still waits for them.
    begun: TaskTracker,
}

impl Service {
    /// A service with its own SDK, not listening yet.
    pub(super) fn new(
        name: &'static str,
        environment: &'static str,
        to: &str,
        shipped: &Shipped,
    ) -> anyhow::Result<Arc<Self>> {
        let provider = export::provider(name, environment, to, shipped)?;
        let tracer = provider.tracer("debunk.demo");
        let http = client(None)?;
        Ok(Arc::new(Self { name, provider, tracer, http, begun: TaskTracker::new() }))
    }

    /// A route of this service: `work` runs under a server span and decides the status.
    pub(super) fn route<Work, Served>(
        self: &Arc<Self>,
        router: Router,
        method: Method,
        route: &'static str,
        work: Work,
    ) -> Router
    where
        Work: Fn(Inbound) -> Served + Clone + Send + Sync + 'static,
        Served: Future<Output: Into<Reply>> + Send + 'static,
    {
        let service = Arc::clone(self);
        let filter = MethodFilter::try_from(method.clone()).expect("GET and POST have filters");
        let handler = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let (service, work, method) = (Arc::clone(&service), work.clone(), method.clone());
            async move { service.serve(method, route, &uri, &headers, &body, work).await }
        };
        router.route(route, on(filter, handler))
    }

    /// The same for work that asks others: it gets this service and whatever else it needs.
    pub(super) fn handle<State, Work, Served>(
        self: &Arc<Self>,
        router: Router,
        (method, route): (Method, &'static str),
        state: State,
        work: Work,
    ) -> Router
    where
        State: Clone + Send + Sync + 'static,
        Work: Fn(Arc<Self>, State, Inbound) -> Served + Clone + Send + Sync + 'static,
        Served: Future<Output: Into<Reply>> + Send + 'static,
    {
        let service = Arc::clone(self);
        self.route(router, method, route, move |request| work(Arc::clone(&service), state.clone(), request))
    }

    async fn serve<Work, Served>(
        self: Arc<Self>,
        method: Method,
        route: &'static str,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
        work: Work,
    ) -> (StatusCode, Bytes)
    where
        Work: FnOnce(Inbound) -> Served,
        Served: Future<Output: Into<Reply>> + Send + 'static,
    {
        let parent = spans::propagator().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let span = self
            .tracer
            .span_builder(format!("{method} {route}"))
            .with_kind(SpanKind::Server)
            .with_attributes(spans::of_request_served(&method, route, uri, headers))
            .start_with_context(&self.tracer, &parent);
        let span = parent.with_span(span);
        let number =
            number_in(uri.path()).or_else(|| Some(serde_json::from_slice::<Order>(body).ok()?.order));
        let key = headers.get(IDEMPOTENCY_KEY).and_then(|key| key.to_str().ok()).map(ToOwned::to_owned);
        let until = headers.get(TIME_LEFT).and_then(|left| left.to_str().ok()?.parse().ok());
        let until = until.map(|left| Instant::now() + Duration::from_millis(left));
        let serving = number.map(|number| work(Inbound { number, key, until, span: span.clone() }));
        // Awaited here, but not owned here: when the caller leaves, the server drops this future and the task goes on.
        let task = self.begun.spawn(async move {
            let reply = match serving {
                Some(serving) => serving.await.into(),
                None => StatusCode::BAD_REQUEST.into(),
            };
            spans::status_sent(&span, reply.status);
            span.span().end();
            (reply.status, reply.body)
        });
        task.await.unwrap_or((StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()))
    }

    /// Asks another service, under a client span of `under`.
    pub(super) async fn ask(&self, under: &Context, request: Outbound) -> Answer {
        let url = request.url();
        let span = self
            .tracer
            .span_builder(format!("{} {}", request.method, request.template))
            .with_kind(SpanKind::Client)
            .with_attributes(spans::of_request_sent(&request, &url))
            .start_with_context(&self.tracer, under);
        let span = under.with_span(span);
        let mut headers = HeaderMap::new();
        spans::propagator().inject_context(&span, &mut HeaderInjector(&mut headers));
        let mut sending = self.http.request(request.method.clone(), &url).headers(headers);
        if let Some(timeout) = request.timeout {
            sending = sending.timeout(timeout);
            if request.tells_deadline {
                sending = sending.header(TIME_LEFT, timeout.as_millis().to_string());
            }
        }
        if let Some(key) = &request.key {
            sending = sending.header(IDEMPOTENCY_KEY, key);
        }
        if request.method == Method::POST {
            sending = sending.json(&Order { order: request.number });
        }
        let answer = match received(sending).await {
            Ok((status, bytes)) => {
                spans::received(&span, status, bytes);
                Answer::Status(status)
            }
            Err(error) => {
                spans::failed(&span, &error);
                if error.is_timeout() { Answer::TimedOut } else { Answer::Failed }
            }
        };
        span.span().end();
        answer
    }

    /// Waits for requests that outlived their callers.
    pub(super) async fn settle(&self) {
        self.begun.close();
        self.begun.wait().await;
        self.begun.reopen();
    }

    /// Exports what has ended. Blocks; how it went is counted by [`Shipped`].
    pub(super) fn flush(&self) {
        drop(self.provider.force_flush());
    }

    /// Exports what has ended and stops the SDK. Blocks, as [`Service::flush`].
    pub(super) fn stop(&self) {
        drop(self.provider.shutdown());
    }
}

/// The status of the answer and the bytes of its body, once it is here whole.
async fn received(sending: reqwest::RequestBuilder) -> reqwest::Result<(StatusCode, usize)> {
    let response = sending.send().await?;
    let status = response.status();
    Ok((status, response.bytes().await?.len()))
}

/// An HTTP client that waits at most so long, or for as long as each request says.
pub(super) fn client(patience: Option<Duration>) -> anyhow::Result<reqwest::Client> {
    // The shop speaks plain HTTP, but no client is built without cryptography.
    choose_cryptography();
    let client = reqwest::Client::builder();
    let client = if let Some(patience) = patience { client.timeout(patience) } else { client };
    client
        // A stand-in on loopback: nothing leaves this machine.
        .resolve(PUBLIC_HOST, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        // Loopback must not go through the proxy of the shell.
        .no_proxy()
        .build()
        .context("cannot build an HTTP client")
}

/// Listens on a free port of loopback and serves until the set is dropped.
pub(super) async fn listen(
    servers: &mut tokio::task::JoinSet<std::io::Result<()>>,
    router: Router,
) -> anyhow::Result<SocketAddr> {
    let listener =
        tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on loopback")?;
    let address = listener.local_addr().context("cannot tell the port that was given")?;
    servers.spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

fn number_in(path: &str) -> Option<u32> {
    path.split('/').find_map(|segment| segment.parse().ok())
}
