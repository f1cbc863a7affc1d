//! One file per command. What several of them do alike stands here: writing to standard output, and which exit
//! code says what.

pub mod check;
pub mod demo;
mod post;
pub mod replay;
pub mod rules;
pub mod scan;
pub mod selftest;
pub mod send;
pub mod serve;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use crate::alert::ReceiverError;
use crate::config::{self, Config, ConfigError, Period};
use crate::decode::file::FileError;
use crate::store::private::{self, PrivateServer};
use crate::store::{self, Store};

/// A command line that asks for something that is not there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The exit code for an error: 2 for usage, settings and unreadable input, 3 for the surroundings (database,
/// ports).
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let ours = error.is::<Usage>()
        || error.is::<ConfigError>()
        || error.is::<ReceiverError>()
        || error.is::<FileError>();
    ExitCode::from(if ours { 2 } else { 3 })
}

/// The database that the settings name; a private one, started where it does not run, where they name none.
async fn open(config: &Config) -> anyhow::Result<(Store, Option<PrivateServer>)> {
    if let Some(options) = database(config)? {
        return Ok((Store::new(&options, &config.database), None));
    }
    let folder = config.database.private_dir.clone();
    let folder = folder.map_or_else(private::default_folder, Ok)?;
    tracing::info!(folder = %folder.display(), "starting a private PostgreSQL");
    let server = private::start(&folder).await?;
    Ok((Store::new(&server.options(), &config.database), Some(server)))
}

/// The address of the database that the settings name; `None` asks for a private one. A bad one is a usage error.
fn database(config: &Config) -> Result<Option<PgConnectOptions>, Usage> {
    store::address(&config.database).map_err(|error| Usage(error.to_string()))
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    print_with(|out| out.write_all(text.as_bytes()))
}

/// The same for what is too long to be put together first.
pub(crate) fn print_with(write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A length of time on the command line, written as in the settings.
fn period(text: &str) -> Result<Duration, String> {
    text.parse::<Period>().map(|period| period.0)
}

/// Colour is for terminals, and for those who want it (<https://no-color.org>).
pub(crate) fn wants_colour(out: &impl IsTerminal) -> bool {
    out.is_terminal() && !config::no_colour()
}

/// HTTP clients take the cryptography that the process has chosen; where somebody chose before, it serves as well.
pub(crate) fn choose_cryptography() {
    let _chosen_before = rustls::crypto::ring::default_provider().install_default();
}
