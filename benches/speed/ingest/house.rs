//! Both doors before a real database, with or without the judges behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use debunk::alert::Receivers;
use debunk::config::{self, Config};
use debunk::findings::judge;
use debunk::loops::{Evaluate, Progress};
use debunk::otlp::{self, Door, Own};
use debunk::store::Writer;
use debunk::telemetry::Metrics;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::sender::Transport;
use crate::database::Database;

/// Judges at once, as the settings have it by default, and how long they rest when nothing is due.
const JUDGES: usize = 2;
const REST: Duration = Duration::from_millis(50);

pub(crate) struct House {
    grpc: SocketAddr,
    http: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl House {
    pub(crate) async fn open(database: &Database) -> Self {
        let limits = config::Otlp::default();
        let metrics = Metrics::new();
        let capacity = limits.max_in_flight.0 as usize;
        let (writer, work) = Writer::start(database.store.clone(), metrics.clone(), capacity);
        let (retention, store) = (Duration::from_hours(7 * 24), database.store.clone());
        let door = Door::new(&limits, Own::Rejected, retention, store, writer, metrics);
        let one = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (grpc, http) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let stop = watch::Sender::new(false);
        let stopped = |mut stop: watch::Receiver<bool>| async move {
            stop.wait_for(|stop| *stop).await.unwrap();
        };
        let (first, second) = (stopped(stop.subscribe()), stopped(stop.subscribe()));
        let mut tasks = JoinSet::new();
        tasks.spawn(work);
        let grpc_door = Arc::clone(&door);
        tasks.spawn(async move { otlp::grpc::serve(grpc_door, one, first).await.unwrap() });
        tasks.spawn(async move { otlp::http::serve(door, other, second).await.unwrap() });
        Self { grpc, http, stop, tasks }
    }

    /// From now on quiet traces are judged.
    pub(crate) fn judge(&mut self, database: &Database, quiet: Duration) {
        let mut config = Config::default();
        config.traces.quiet_period = config::Period(quiet);
        let config = Arc::new(config);
        let receivers = Arc::new(Receivers::open(&[], "").unwrap());
        for _ in 0..JUDGES {
            let (store, config, receivers) =
                (database.store.clone(), Arc::clone(&config), Arc::clone(&receivers));
            let evaluate = Evaluate::new(store, config, receivers, Metrics::new(), judge);
            let stop = self.stop.subscribe();
            self.tasks.spawn(async move {
                while !*stop.borrow() {
                    if matches!(evaluate.step().await.unwrap(), Progress::Idle) {
                        tokio::time::sleep(REST).await;
                    }
                }
            });
        }
    }

    pub(crate) fn address(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::Grpc => self.grpc,
            Transport::Http => self.http,
        }
    }

    pub(crate) async fn close(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}
