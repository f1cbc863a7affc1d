//! The real binary as a child process, on ports and a private PostgreSQL of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use debunk::store::private;
use sqlx::{Connection as _, PgConnection};

/// `debunk serve`, as often as it is started.
pub(crate) struct Process {
    folder: tempfile::TempDir,
    pub(crate) web: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    child: Option<Child>,
}

/// A port that nobody listens on at the moment.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Process {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("debunk-p.").tempdir_in("/tmp").unwrap();
        // The server's own user must be able to pass.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let process = Self { web: free_port(), grpc: free_port(), http: free_port(), child: None, folder };
        std::fs::write(process.config(), process.settings()).unwrap();
        process
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("debunk.toml")
    }

    fn private_dir(&self) -> PathBuf {
        self.folder.path().join("pg")
    }

    fn settings(&self) -> String {
        format!(
            "[server]\nlisten = \"{}\"\n[otlp]\ngrpc = \"{}\"\nhttp = \"{}\"\n\
             [database]\nprivate_dir = \"{}\"\n[traces]\nquiet_period = \"1s\"\n",
            self.web,
            self.grpc,
            self.http,
            self.private_dir().display()
        )
    }

    /// Starts it and waits until it says that it is ready. Returns how long that took.
    pub(crate) async fn start(&mut self) -> Duration {
        let begun = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_debunk"))
            .arg("--config")
            .arg(self.config())
            .arg("serve")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        self.child = Some(child);
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

    /// `kill -9`: no destructor, no flush, no goodbye.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM; returns whether it ended well, and when.
    pub(crate) fn terminate(&mut self) -> (bool, Duration) {
        let begun = Instant::now();
        let mut child = self.child.take().unwrap();
        let told = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(told.success());
        (child.wait().unwrap().success(), begun.elapsed())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A connection to its database, whether it runs or not.
    pub(crate) async fn database(&self) -> (private::PrivateServer, PgConnection) {
        let server = private::start(Path::new(&self.private_dir())).await.unwrap();
        let connection = PgConnection::connect_with(&server.options()).await.unwrap();
        (server, connection)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ended = child.kill();
            let _reaped = child.wait();
        }
        let pid = std::fs::read_to_string(self.private_dir().join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = pid.lines().next() {
            let _told = Command::new("kill").args(["-QUIT", pid]).status();
        }
    }
}
