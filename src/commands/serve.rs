//! `serve`: builds everything, supervises it, and shuts down in order. The composition root.
//!
//! Order of ends: the doors stop taking requests and finish those they have; the writer answers what is queued;
//! the loops finish their step; the pool closes; the private PostgreSQL stops last.

use std::future::{Future, IntoFuture as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tracing::Instrument as _;

use crate::alert::{Receiver, Receivers};
use crate::config::{Config, MOST_CONNECTIONS};
use crate::findings::judge;
use crate::loops::{self, Deliver, Evaluate, Fit, Progress, Schedule, Supervisor};
use crate::otlp::{self, Door, Own};
use crate::store::private::{Keeper, PrivateError, PrivateServer};
use crate::store::{Store, Writer};
use crate::telemetry::{Metrics, trace};
use crate::view::Shown;
use crate::{api, clock, web};

/// Take traces, judge them, and show what they prove
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

/// How long an idle evaluator waits before it looks again. Judging starts so much later than it could, at most.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const OBSERVE_EVERY: Duration = Duration::from_secs(5);
const KEEP_EVERY: Duration = Duration::from_hours(1);
const FIT_EVERY: Duration = Duration::from_secs(2);
const AGE_EVERY: Duration = Duration::from_mins(1);
const DELIVER_EVERY: Duration = Duration::from_millis(500);
/// As often as Prometheus sends alerts again, and five times before Alertmanager forgets them.
const REMIND_EVERY: Duration = Duration::from_mins(1);
const LOOK_AFTER_DATABASE_EVERY: Duration = Duration::from_secs(2);

/// Serves until told to stop (SIGTERM, SIGINT).
pub async fn run(_: Args, config: Config) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let asked = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop");
    };
    let service = Service::start(config).await?;
    service.run(asked).await?;
    Ok(ExitCode::SUCCESS)
}

/// The whole service, listening. Tests start it on port 0.
pub struct Service {
    /// Where pages and the API are.
    pub web: SocketAddr,
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
    /// What it stores in.
    pub store: Store,
    supervisor: Supervisor,
    private: Option<PrivateServer>,
    grace: Duration,
}

impl Service {
    /// Opens the database (starting a private one where no URL is given) and the listeners.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let receivers = Arc::new(Receivers::open(&config.receivers, &config.server.public_url)?);
        // A wrong address is said before anything is started.
        super::database(&config)?;
        let listeners = Listeners::bind(&config)?;
        let (store, private) = super::open(&config).await?;
        let metrics = Metrics::new();
        let mut supervisor = Supervisor::new(metrics.clone());
        let (web, grpc, http) = listeners.addresses()?;
        prepare(&store, &config, &receivers, &metrics).await?;
        start_loops(&mut supervisor, &store, &config, &receivers, &metrics);
        if let Some(server) = &private {
            look_after(&mut supervisor, server.keeper());
        }
        open_doors(&mut supervisor, listeners, &store, &config, &receivers, &metrics);
        let grace = config.server.shutdown_grace.0;
        tracing::info!(%web, otlp_grpc = %grpc, otlp_http = %http, "ready");
        Ok(Self { web, grpc, http, store, supervisor, private, grace })
    }

    /// Runs until `asked` resolves or a part of it fails.
    pub async fn run(self, asked: impl Future<Output = ()>) -> anyhow::Result<()> {
        let result = self.supervisor.supervise(asked, self.grace).await;
        self.store.close().await;
        if let Some(private) = self.private {
            private.stop().await?;
        }
        result.map_err(anyhow::Error::msg)
    }
}

/// Tables and days. Where the database is away, the keeping loop makes up for it: the doors are open and say "try
/// later". What cannot be mended by waiting ends the start.
async fn prepare(
    store: &Store,
    config: &Config,
    receivers: &Receivers,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let names: Vec<String> = receivers.iter().map(|receiver| receiver.name().to_owned()).collect();
    let prepared = async {
        loops::keep(store, &config.retention, metrics).await?;
        store.give_up_deliveries(&names).await
    };
    match prepared.await {
        Err(error) if error.is_unavailable() => {
            tracing::warn!(%error, "the database is away; waiting for it");
            Ok(())
        }
        other => other.map(drop).context("cannot prepare the database"),
    }
}

/// Everything that goes on by itself.
fn start_loops(
    supervisor: &mut Supervisor,
    store: &Store,
    config: &Arc<Config>,
    receivers: &Arc<Receivers>,
    metrics: &Metrics,
) {
    for _ in 0..config.traces.workers {
        let (config, receivers) = (Arc::clone(config), Arc::clone(receivers));
        let evaluate = Evaluate::new(store.clone(), config, receivers, metrics.clone(), judge);
        supervisor.repeat("evaluate", LOOK_EVERY, move || {
            let evaluate = evaluate.clone();
            async move { evaluate.step().await }
        });
    }
    for receiver in receivers.iter() {
        tell(supervisor, store, receiver, metrics);
    }
    let (kept, settings, counted) = (store.clone(), Arc::clone(config), metrics.clone());
    supervisor.repeat("keep", KEEP_EVERY, move || {
        let (store, config, metrics) = (kept.clone(), Arc::clone(&settings), counted.clone());
        async move { loops::keep(&store, &config.retention, &metrics).await }
    });
    let fit = Fit::new(store.clone(), config.retention.max_size.0, metrics.clone());
    supervisor.repeat("fit", FIT_EVERY, move || {
        let fit = fit.clone();
        async move { fit.step(clock::now().date()).await }
    });
    let (aged, settings, told) = (store.clone(), Arc::clone(config), Arc::clone(receivers));
    supervisor.repeat("age", AGE_EVERY, move || {
        let (store, config, receivers) = (aged.clone(), Arc::clone(&settings), Arc::clone(&told));
        async move { loops::age(&store, &config, &receivers).await }
    });
    let (watched, quiet, metrics) = (store.clone(), config.traces.quiet_period.0, metrics.clone());
    supervisor.repeat("observe", OBSERVE_EVERY, move || {
        let (store, metrics) = (watched.clone(), metrics.clone());
        async move { loops::observe(&store, quiet, &metrics).await }
    });
}

/// What one receiver is told, and told again.
fn tell(supervisor: &mut Supervisor, store: &Store, receiver: &Receiver, metrics: &Metrics) {
    let deliver = Deliver::new(store.clone(), receiver.clone(), Schedule::default(), metrics.clone());
    supervisor.repeat("deliver", DELIVER_EVERY, move || {
        let deliver = deliver.clone();
        async move { deliver.step().await }
    });
    if receiver.forgets() || receiver.remind_every().is_some() {
        let (store, receiver, metrics) = (store.clone(), receiver.clone(), metrics.clone());
        supervisor.repeat("remind", REMIND_EVERY, move || {
            let (store, receiver, metrics) = (store.clone(), receiver.clone(), metrics.clone());
            async move { loops::remind(&store, &receiver, &metrics).await }
        });
    }
}

/// A private server has nobody else who would start it again.
fn look_after(supervisor: &mut Supervisor, keeper: Keeper) {
    supervisor.repeat("private", LOOK_AFTER_DATABASE_EVERY, move || {
        let keeper = keeper.clone();
        async move {
            if keeper.step().await? {
                tracing::warn!("the private PostgreSQL had ended and was started again");
            }
            Ok::<_, PrivateError>(Progress::Idle)
        }
    });
}

/// The writer behind both doors ends when the doors have: it holds what they still wait for.
fn open_doors(
    supervisor: &mut Supervisor,
    listeners: Listeners,
    store: &Store,
    config: &Arc<Config>,
    receivers: &Arc<Receivers>,
    metrics: &Metrics,
) {
    let capacity = config.otlp.max_in_flight.0 as usize;
    let (writer, writing) = Writer::start(store.clone(), metrics.clone(), capacity);
    let retention = config.retention.traces.0;
    let own = if config.telemetry.endpoint().is_some() { Own::Taken } else { Own::Rejected };
    let door = Door::new(&config.otlp, own, retention, store.clone(), writer, metrics.clone());
    supervisor.run("writer", async move {
        writing.await;
        Ok::<(), std::convert::Infallible>(())
    });
    supervisor
        .run("grpc", otlp::grpc::serve(Arc::clone(&door), listeners.grpc, supervisor.shutdown().wait()));
    supervisor.run("http", otlp::http::serve(door, listeners.http, supervisor.shutdown().wait()));
    let shown = Shown {
        store: store.clone(),
        metrics: metrics.clone(),
        config: Arc::clone(config),
        receivers: Arc::clone(receivers),
    };
    let pages = api::router(shown.clone()).merge(web::router(shown)).layer(middleware::from_fn(traced));
    let serving = axum::serve(listeners.web, pages).with_graceful_shutdown(supervisor.shutdown().wait());
    supervisor.run("web", serving.into_future());
}

/// Each request to a page or the API is a span of ours.
async fn traced(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("/{*unknown}", MatchedPath::as_str);
    let span = trace::http(request.method().as_str(), route);
    let response = next.run(request).instrument(span.clone()).await;
    trace::end_http(&span, response.status().as_u16());
    response
}

/// The three listeners, bound before anything else so that a taken port is the first thing said.
struct Listeners {
    web: TcpListener,
    grpc: TcpListener,
    http: TcpListener,
}

impl Listeners {
    fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            web: bind("server.listen", config.server.listen)?,
            grpc: bind("otlp.grpc", config.otlp.grpc)?,
            http: bind("otlp.http", config.otlp.http)?,
        })
    }

    fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr, SocketAddr)> {
        Ok((self.web.local_addr()?, self.grpc.local_addr()?, self.http.local_addr()?))
    }
}

/// As many may wait to be taken as are taken at once: a fleet of exporters connects in one moment after a restart, and
/// a connection that does not fit into the system's queue is lost without a word to one that waits to be spoken to.
fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(MOST_CONNECTIONS as u32)
    };
    listen().with_context(|| format!("{setting}: cannot listen on {address}"))
}
