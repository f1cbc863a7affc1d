//! The real binary as a child process, on ports of its own, and on a private PostgreSQL of its own, another's, or one
//! that the test gives.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use debunk::store::private;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

/// `debunk serve`, as often as it is started.
pub(crate) struct Process {
    folder: tempfile::TempDir,
    private_dir: PathBuf,
    /// Instead of a private server.
    url: Option<String>,
    pub(crate) web: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    child: Option<Child>,
}

/// The binary that `make faults` puts to the test, built for release.
pub(crate) fn named() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment, as insta is")]
    std::env::var_os("FAULTS").map(PathBuf::from)
}

/// That one, or the one that is built with the tests.
fn binary() -> PathBuf {
    named().unwrap_or_else(|| env!("CARGO_BIN_EXE_debunk").into())
}

/// A port that nobody listens on at the moment.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Process {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// With these settings, in TOML, beside those it needs.
    pub(crate) fn with(settings: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("debunk-p.").tempdir_in("/tmp").unwrap();
        // The server's own user must be able to pass.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let private_dir = folder.path().join("pg");
        let (web, grpc, http) = (free_port(), free_port(), free_port());
        let process = Self { folder, private_dir, url: None, web, grpc, http, child: None };
        process.set(settings);
        process
    }

    /// On a database that is somebody else's.
    pub(crate) fn on(url: String, settings: &str) -> Self {
        let mut process = Self::with(settings);
        process.url = Some(url);
        process
    }

    /// Another replica, on the same private server.
    pub(crate) fn replica(&self, settings: &str) -> Self {
        let mut replica = Self::new();
        replica.private_dir.clone_from(&self.private_dir);
        replica.set(settings);
        replica
    }

    /// Writes its settings, for the next start.
    pub(crate) fn set(&self, settings: &str) {
        let mut all: toml::Table = format!(
            "[server]\nlisten = \"{0}\"\npublic_url = \"http://{0}\"\n[otlp]\ngrpc = \"{1}\"\nhttp = \"{2}\"\n\
             [database]\nprivate_dir = \"{3}\"\n[traces]\nquiet_period = \"1s\"\n",
            self.web,
            self.grpc,
            self.http,
            self.private_dir.display()
        )
        .parse()
        .unwrap();
        for (section, given) in settings.parse::<toml::Table>().unwrap() {
            match (all.get_mut(&section).and_then(toml::Value::as_table_mut), given) {
                (Some(known), toml::Value::Table(given)) => known.extend(given),
                (_, given) => drop(all.insert(section, given)),
            }
        }
        std::fs::write(self.config(), toml::to_string(&all).unwrap()).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("debunk.toml")
    }

    /// Starts it and waits until it says that it is ready. Returns how long that took.
    pub(crate) async fn start(&mut self) -> Duration {
        let begun = Instant::now();
        self.spawn();
        let ready = format!("http://{}/readyz", self.web);
        let client = super::client();
        while begun.elapsed() < Duration::from_mins(1) {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("debunk ended with {status}: {}", self.log());
            }
            if client.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200) {
                return begun.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("debunk was not ready within a minute: {}", self.log());
    }

    /// Starts it and does not wait.
    pub(crate) fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = Command::new(binary());
        command.arg("--config").arg(self.config()).arg("serve");
        if let Some(url) = &self.url {
            command.env("DEBUNK_DATABASE__URL", url);
        }
        self.child = Some(command.stdout(Stdio::null()).stderr(log.unwrap()).spawn().unwrap());
    }

    /// `kill -9`: no destructor, no flush, no goodbye.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let told = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(told.success());
    }

    /// Whether it has not ended.
    pub(crate) fn lives(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// SIGTERM; returns whether it ended well, and when.
    pub(crate) fn terminate(&mut self) -> (bool, Duration) {
        let begun = Instant::now();
        self.signal("TERM");
        let mut child = self.child.take().unwrap();
        (child.wait().unwrap().success(), begun.elapsed())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Everything that it and those before it said.
    pub(crate) fn said(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    /// Most memory that it held so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn memory_now(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, field: &str) -> u64 {
        let pid = self.child.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib << 10
    }

    /// Files and sockets that it holds open.
    pub(crate) fn open_files(&self) -> usize {
        let pid = self.child.as_ref().unwrap().id();
        std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
    }

    /// What it answers to GET, and the status.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = super::client().get(format!("http://{}{path}", self.web)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The first page of its findings that are like this, as the API tells them.
    pub(crate) async fn findings(&self, query: &str) -> Vec<serde_json::Value> {
        let (status, body) = self.get(&format!("/api/v1/findings?{query}")).await;
        assert_eq!(status, 200, "{query}: {body}");
        let list: serde_json::Value = serde_json::from_str(&body).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The value of one of its metrics, named with its labels; zero where it was never moved.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// A connection to its private server, which must be running, or starting again.
    pub(crate) async fn connect(&self) -> PgConnection {
        let begun = Instant::now();
        loop {
            match PgConnection::connect_with(&self.options()).await {
                Ok(connection) => return connection,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The way to its private server.
    pub(crate) fn options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass().socket(&self.private_dir).username("debunk");
        options.database("debunk")
    }

    /// A connection to its private server, whether it runs or not.
    pub(crate) async fn database(&self) -> (private::PrivateServer, PgConnection) {
        let server = private::start(&self.private_dir).await.unwrap();
        let connection = PgConnection::connect_with(&server.options()).await.unwrap();
        (server, connection)
    }

    /// The process of its private server.
    pub(crate) fn postmaster(&self) -> Option<String> {
        postmaster(&self.private_dir)
    }
}

/// The process of the server in this folder.
pub(crate) fn postmaster(folder: &Path) -> Option<String> {
    let file = std::fs::read_to_string(folder.join("data/postmaster.pid")).ok()?;
    file.lines().next().map(ToOwned::to_owned)
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ended = child.kill();
            let _reaped = child.wait();
        }
        if self.private_dir.starts_with(self.folder.path())
            && let Some(pid) = self.postmaster()
        {
            let _told = Command::new("kill").args(["-QUIT", &pid]).status();
        }
    }
}
