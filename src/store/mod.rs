//! All that is kept, and all SQL.
//!
//! One public function per question, each holding its checked query. Nothing here knows what spans mean: they are
//! stored as received and judged above. No statement waits for anything but PostgreSQL, and no number is moved by
//! adding to it: what depends on a trace is replaced with it.

mod commit;
mod copy;
mod decisions;
mod deliveries;
mod dictionaries;
mod error;
pub mod findings;
mod history;
mod judged;
mod life;
mod load;
pub mod occurrences;
mod outbox;
mod pending;
pub mod private;
pub mod query;
mod replay;
mod retention;
mod services;
mod sizes;
mod spans;
mod standing;
mod suppressions;
mod traces;
mod trim;
mod writer;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};

use crate::config;

pub use copy::COLUMNS as SPAN_COLUMNS;
pub use decisions::{ChangeRow, Decided, DecisionRow};
pub use deliveries::{DeliveryRow, ReceiverRow, Retried, WantedDeliveries};
pub use error::StoreError;
pub use history::HourRow;
pub use judged::{Finished, Policy, Tell};
pub use load::{Loaded, Room, TraceDays};
pub use outbox::{Allowance, Change, DueDelivery, Example, NewDelivery, Tried};
pub use pending::{Backlog, Claimed, Claims};
pub use replay::{Known, Shows};
pub use services::{EdgeRow, Pace, PartRow, ServiceRow};
pub use sizes::Size;
pub use spans::{Batch, Days, encode};
pub use standing::Scope;
pub use traces::{ListedTrace, TracePlace, WantedTraces};
pub use trim::DayUse;
pub use writer::{WriteError, Writer, Written};

/// Version and text of every migration.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// The way to PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    options: PgConnectOptions,
    limits: Limits,
    prepared: Arc<AtomicBool>,
    dictionaries: Arc<dictionaries::Dictionaries>,
}

/// How long to wait for PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For a connection.
    pub(crate) connect: Duration,
    /// For a statement.
    pub(crate) statement: Duration,
}

impl Store {
    /// Makes the pool without connecting: the service starts and stays up while the database is away.
    pub fn new(options: &PgConnectOptions, config: &config::Database) -> Self {
        let limits = Limits { connect: config.connect_timeout.0, statement: config.statement_timeout.0 };
        // A notice, such as "it exists already", is no news to whoever reads our log.
        let options =
            options.clone().application_name("debunk").options([("client_min_messages", "warning")]);
        let pooled = options.clone().options([
            ("statement_timeout", format!("{}ms", limits.statement.as_millis())),
            // Nobody may hold locks while it does nothing.
            ("idle_in_transaction_session_timeout", format!("{}ms", limits.statement.as_millis())),
            ("synchronous_commit", "on".to_owned()),
            ("timezone", "UTC".to_owned()),
            // Our questions are short; compiling one takes longer than answering it.
            ("jit", "off".to_owned()),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(limits.connect)
            .after_connect(|connection, _| Box::pin(async move { insist_on_durability(connection).await }))
            .connect_lazy_with(pooled);
        Self { pool, options, limits, prepared: Arc::default(), dictionaries: Arc::default() }
    }

    /// Brings the tables up to date, one process at a time, and refuses a server that may forget what it committed.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        // A connection of its own: a migration may take longer than any statement of the service.
        let mut connection =
            tokio::time::timeout(self.limits.connect, PgConnection::connect_with(&self.options))
                .await
                .map_err(|_| StoreError::Unavailable("cannot reach the database: timed out".to_owned()))??;
        insist_on_durability(&mut connection).await?;
        let mut migrations = Migrator { migrations: MIGRATIONS.migrations.clone(), ..Migrator::DEFAULT };
        // A newer version may have been here: its tables suit us too (expand, then contract).
        migrations.set_ignore_missing(true);
        migrations
            .run_direct(None, &mut connection, false)
            .await
            .map_err(|error| StoreError::from(sqlx::Error::from(error)))?;
        self.commit_dictionary(&mut connection).await?;
        connection.close().await?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether `migrate` has succeeded in this process.
    pub fn is_prepared(&self) -> bool {
        self.prepared.load(Ordering::Acquire)
    }

    /// Number of the newest migration that this process has seen to; `None` while it waits for the database.
    pub fn schema(&self) -> Option<i64> {
        let newest = MIGRATIONS.iter().map(|migration| migration.version).max();
        newest.filter(|_| self.is_prepared())
    }

    /// Asks the server for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query_scalar!("select 1 as \"one!\"").fetch_one(&self.pool).await?;
        Ok(())
    }

    /// Closes all connections, waiting for those in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether the way to the server is a socket of this machine. Over the network COPY stalls: its messages go out
    /// without waiting for replies, and sqlx does not tell the network not to hold small ones back.
    fn is_local(&self) -> bool {
        self.options.get_socket().is_some() || self.options.get_host().starts_with('/')
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }
}

/// PostgreSQL's text has no NUL, and one would fail a whole transaction.
fn text(mut sent: String) -> String {
    if sent.contains('\0') {
        sent = sent.replace('\0', "\u{fffd}");
    }
    sent
}

/// The address that the settings name; `None` asks for a private server.
pub fn address(config: &config::Database) -> Result<Option<PgConnectOptions>, StoreError> {
    // The URL itself can only come from the environment, which wins over the file.
    let url = match (config.url.expose().trim(), &config.url_file) {
        ("", Some(file)) => read_url(file)?,
        (url, _) => url.to_owned(),
    };
    if url.is_empty() {
        return Ok(None);
    }
    // The text of the error could quote the password.
    let options = PgConnectOptions::from_str(&url).map_err(|_| {
        StoreError::Invariant("the database URL is not of the form postgres://user@host/name".to_owned())
    })?;
    Ok(Some(options))
}

fn read_url(file: &Path) -> Result<String, StoreError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| StoreError::Invariant(format!("database.url_file {}: {error}", file.display())))?;
    let url = text.trim().to_owned();
    if url.is_empty() {
        return Err(StoreError::Invariant(format!("database.url_file {} is empty", file.display())));
    }
    Ok(url)
}

/// A success reply means committed and on disk, so a server that skips the disk is refused.
async fn insist_on_durability(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let fsync =
        sqlx::query_scalar!("select current_setting('fsync') as \"fsync!\"").fetch_one(connection).await?;
    if fsync == "on" {
        return Ok(());
    }
    Err(sqlx::Error::Configuration(
        "the database runs with fsync = off: it may lose what it has committed; set fsync = on".into(),
    ))
}
