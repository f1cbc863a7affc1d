//! A PostgreSQL that a test starts and stops, for a service that is given its URL.

use std::path::{Path, PathBuf};
use std::process::Child;

use debunk::store::private::{self, PrivateServer};
use sqlx::{Connection as _, PgConnection};

use super::database::server_folder;

/// Nothing brings it back but the test.
pub(crate) struct OwnServer {
    folder: PathBuf,
    server: Option<PrivateServer>,
    _held: Child,
}

impl OwnServer {
    pub(crate) async fn start() -> Self {
        let (folder, held) = server_folder();
        let folder = folder.join("pg");
        let server = Some(private::start(&folder).await.unwrap());
        Self { folder, server, _held: held }
    }

    /// As a setting gives it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://debunk@localhost/debunk?host={}", self.folder.display())
    }

    /// Where its socket and its data are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.server.as_ref().unwrap().options()).await.unwrap()
    }

    /// Ends it in order, cutting off whoever is connected.
    pub(crate) async fn stop(&mut self) {
        self.server.take().unwrap().stop().await.unwrap();
    }

    /// Starts it where it was.
    pub(crate) async fn start_again(&mut self) {
        self.server = Some(private::start(&self.folder).await.unwrap());
    }
}
