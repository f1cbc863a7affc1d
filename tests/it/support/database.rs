//! One private PostgreSQL per test process, and a migrated, empty database per test.
//!
//! The server lives in a temporary folder. A child shell waits on a pipe that this process holds open: when the
//! process ends, however it ends, the shell stops the server and removes the folder.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use debunk::config;
use debunk::store::{Store, private};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::sync::OnceCell;

/// A migrated database of its own. It stays until the process ends.
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) options: PgConnectOptions,
    /// For a test's own statements.
    pub(crate) pool: PgPool,
}

struct Server {
    options: PgConnectOptions,
    /// It ends the server once our end of its standard input closes.
    _held: Child,
}

static SERVER: OnceCell<Server> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Database {
    pub(crate) async fn fresh() -> Self {
        Self::with(&config::Database::default()).await
    }

    /// A fresh database whose store has other settings.
    pub(crate) async fn with(config: &config::Database) -> Self {
        let server = SERVER.get_or_init(start).await;
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect_with(&server.options).await.unwrap();
        let create = format!("create database {name} template debunk_template");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let options = server.options.clone().database(&name);
        let store = Store::new(&options, config);
        store.migrate().await.unwrap();
        let pool = PgPool::connect_lazy_with(options.clone());
        Self { store, options, pool }
    }

    /// The URL of this database, as a setting would give it.
    pub(crate) fn url(&self) -> String {
        let socket = self.options.get_socket().unwrap().display().to_string();
        let name = self.options.get_database().unwrap();
        format!("postgres://debunk@localhost/{name}?host={socket}")
    }
}

/// A folder for a server of a test's own, below `pg`. It is removed, and the server in it ended, when `Child` is gone.
pub(crate) fn server_folder() -> (PathBuf, Child) {
    let folder = tempfile::Builder::new().prefix("debunk-it.").tempdir_in("/tmp").unwrap().keep();
    let held = clean_up_afterwards(&folder);
    (folder, held)
}

async fn start() -> Server {
    let (folder, held) = server_folder();
    let server = private::start(&folder.join("pg")).await.unwrap();
    let options = server.options().database("postgres");
    // The shell ends it, after the last test.
    std::mem::forget(server);

    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("create database debunk_template").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let template = Store::new(&options.clone().database("debunk_template"), &config::Database::default());
    template.migrate().await.unwrap();
    template.close().await;
    Server { options, _held: held }
}

fn clean_up_afterwards(folder: &Path) -> Child {
    // The server's own user must be able to pass.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder, open).unwrap();
    let pid: PathBuf = folder.join("pg/data/postmaster.pid");
    let script = format!(
        "trap '' INT TERM HUP; read -r _; p=$(head -1 '{pid}' 2>/dev/null); \
         if [ -n \"$p\" ]; then kill -QUIT \"$p\" 2>/dev/null; sleep 1; fi; rm -rf '{folder}'",
        pid = pid.display(),
        folder = folder.display()
    );
    Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
