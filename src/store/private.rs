//! A private PostgreSQL, for whoever gives no database URL: an ordinary server with its own data folder and a unix
//! socket that only its owner (and root) can reach. It never runs as root and never listens on the network.
//!
//! Several processes may use one folder: the first one starts the server, the last one stops it. A server that a
//! killed process left running is taken over, and one that died is started again. Nothing here upgrades a data folder
//! to another version.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

/// Where Debian and its kin keep server binaries, one folder per version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The user of the data when we are root.
const UNPRIVILEGED: &str = "postgres";
/// Name of our role and of our database.
const NAME: &str = "debunk";
/// Crash recovery of a large log takes its time.
const START: Duration = Duration::from_mins(5);
/// Held while the server is started or stopped; the first thing that we make in its folder.
const TURN: &str = "turn.lock";
/// The kernel's limit for the path of a unix socket, less the file's own name.
const LONGEST_FOLDER: usize = 107 - "/.s.PGSQL.5432".len();

/// Why there is no private server, in words that say what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PrivateError(String);

/// A running private server. Dropping it stops the server, unless another process uses it too.
#[derive(Debug)]
pub struct PrivateServer {
    place: Place,
    /// Held while in use; its file says whether anybody else does.
    used: Option<File>,
}

/// Brings a private server back that ended although it is in use: killed for its memory, say. Outlives no use of it.
#[derive(Clone, Debug)]
pub struct Keeper {
    place: Place,
}

/// Where a server lives and as whom it runs.
#[derive(Clone, Debug)]
struct Place {
    folder: PathBuf,
    binaries: PathBuf,
    /// User and group of the server, where they are not our own.
    owner: Option<(u32, u32)>,
}

/// `/var/lib/debunk/postgres` for root, else below the user's own data.
pub fn default_folder() -> Result<PathBuf, PrivateError> {
    if is_root()? {
        return Ok(PathBuf::from("/var/lib/debunk/postgres"));
    }
    let home = std::env::home_dir()
        .ok_or_else(|| PrivateError("no home folder: set database.private_dir".to_owned()))?;
    Ok(home.join(".local/share/debunk/postgres"))
}

/// Starts the server in `folder`, making its data when there is none, or takes over the one that runs there.
pub async fn start(folder: &Path) -> Result<PrivateServer, PrivateError> {
    let folder = folder.to_owned();
    let server = tokio::task::spawn_blocking(move || PrivateServer::start(&folder))
        .await
        .map_err(|error| PrivateError(format!("cannot start the private PostgreSQL: {error}")))??;
    server.create_database().await?;
    Ok(server)
}

impl PrivateServer {
    /// How to reach it.
    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.place.folder)
            .port(5432)
            .username(NAME)
            .password("")
            .database(NAME)
    }

    /// What looks after it while it is used.
    pub fn keeper(&self) -> Keeper {
        Keeper { place: self.place.clone() }
    }

    /// Stops the server in order, unless another process uses it.
    pub async fn stop(mut self) -> Result<(), PrivateError> {
        let Some(used) = self.used.take() else { return Ok(()) };
        let place = self.place.clone();
        tokio::task::spawn_blocking(move || place.stop(used, "fast"))
            .await
            .map_err(|error| PrivateError(format!("cannot stop the private PostgreSQL: {error}")))?
    }

    fn start(folder: &Path) -> Result<Self, PrivateError> {
        let place = Place::prepare(folder)?;
        let turn = place.take_turn()?;
        let used = place.lock_file("used.lock")?;
        used.lock_shared().map_err(|error| place.broken("lock", &error))?;
        place.make_data()?;
        place.make_ready()?;
        drop(turn);
        Ok(Self { place, used: Some(used) })
    }

    async fn create_database(&self) -> Result<(), PrivateError> {
        let broken = |error: sqlx::Error| PrivateError(format!("cannot use the private PostgreSQL: {error}"));
        let options = self.options().database("postgres");
        let mut connection = PgConnection::connect_with(&options).await.map_err(broken)?;
        let exists = sqlx::query_scalar!(
            "select exists (select from pg_database where datname = $1) as \"exists!\"",
            NAME
        )
        .fetch_one(&mut connection)
        .await
        .map_err(broken)?;
        if !exists {
            match sqlx::raw_sql("create database debunk").execute(&mut connection).await {
                Ok(_) => {}
                // Another process that uses the folder came first.
                Err(error) if super::error::sqlstate(&error).as_deref() == Some("42P04") => {}
                Err(error) => return Err(broken(error)),
            }
        }
        connection.close().await.map_err(broken)
    }
}

impl Keeper {
    /// Starts the server where it does not run; returns whether it had to.
    pub async fn step(&self) -> Result<bool, PrivateError> {
        let place = self.place.clone();
        tokio::task::spawn_blocking(move || place.revive())
            .await
            .map_err(|error| PrivateError(format!("cannot start the private PostgreSQL: {error}")))?
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        let Some(used) = self.used.take() else { return };
        if let Err(error) = self.place.stop(used, "fast") {
            tracing::warn!(%error, "the private PostgreSQL keeps running");
        }
    }
}

impl Place {
    fn prepare(folder: &Path) -> Result<Self, PrivateError> {
        let folder = std::path::absolute(folder)
            .map_err(|error| PrivateError(format!("{}: {error}", folder.display())))?;
        if folder.as_os_str().len() > LONGEST_FOLDER {
            return Err(PrivateError(format!(
                "{}: too long for a unix socket; set database.private_dir to a shorter path",
                folder.display()
            )));
        }
        let owner = if is_root()? {
            Some((id("-u", Some(UNPRIVILEGED))?, id("-g", Some(UNPRIVILEGED))?))
        } else {
            None
        };
        let binaries = find_binaries(&folder.join("data"))?;
        let place = Self { folder, binaries, owner };
        if place.belongs_to_others().map_err(|error| place.broken("read", &error))? {
            return Err(PrivateError(format!(
                "{} holds something else; give database.private_dir a folder of its own",
                place.folder.display()
            )));
        }
        place.make_folder().map_err(|error| place.broken("make", &error))?;
        Ok(place)
    }

    /// Whether the folder is somebody's who would miss it: we take its owner and its mode.
    fn belongs_to_others(&self) -> io::Result<bool> {
        if self.data().join("PG_VERSION").exists() || self.folder.join(TURN).exists() {
            return Ok(false);
        }
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            entries => entries?,
        };
        for entry in entries {
            // What a fresh file system holds.
            if entry?.file_name() != "lost+found" {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The folder is the server's alone: whoever can enter it can connect.
    fn make_folder(&self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let found = fs::metadata(&self.folder)?;
        if let Some((user, group)) = self.owner
            && found.uid() != user
        {
            chown(&self.folder, Some(user), Some(group))?;
        }
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))
    }

    /// Starting and stopping exclude each other.
    fn take_turn(&self) -> Result<File, PrivateError> {
        let turn = self.lock_file(TURN)?;
        turn.lock().map_err(|error| self.broken("lock", &error))?;
        Ok(turn)
    }

    fn lock_file(&self, name: &str) -> Result<File, PrivateError> {
        let path = self.folder.join(name);
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| PrivateError(format!("cannot open {}: {error}", path.display())))
    }

    /// Makes the data beside its place, so that a half-made folder is never mistaken for data.
    fn make_data(&self) -> Result<(), PrivateError> {
        let data = self.data();
        if data.join("PG_VERSION").exists() {
            return Ok(());
        }
        let fresh = self.folder.join("data.new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(|error| self.broken("clear", &error))?;
        }
        let mut command = self.command("initdb");
        command.arg("--pgdata").arg(&fresh).args([
            "--username=debunk",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--data-checksums",
        ]);
        self.run(command)?;
        fs::rename(&fresh, &data).map_err(|error| self.broken("name the data of", &error))
    }

    /// Starts the server unless it runs, and waits until it answers. One that was told to stop, or was killed, may
    /// still look as if it ran; one that recovers from a crash takes its time.
    fn make_ready(&self) -> Result<(), PrivateError> {
        let deadline = Instant::now() + START;
        loop {
            if !self.is_running()? {
                self.run_server()?;
            }
            let mut command = self.command("pg_isready");
            command.arg("--quiet").arg("--host").arg(&self.folder).arg("--port=5432");
            if output(command)?.status.success() {
                return Ok(());
            }
            if deadline < Instant::now() {
                return Err(PrivateError(format!(
                    "the private PostgreSQL does not answer; {}",
                    self.last_words()
                )));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn revive(&self) -> Result<bool, PrivateError> {
        if self.is_running()? {
            return Ok(false);
        }
        let _turn = self.take_turn()?;
        self.make_ready()?;
        Ok(true)
    }

    fn is_running(&self) -> Result<bool, PrivateError> {
        let mut command = self.command("pg_ctl");
        command.arg("status").arg("--pgdata").arg(self.data());
        Ok(output(command)?.status.success())
    }

    fn run_server(&self) -> Result<(), PrivateError> {
        let settings = [
            "listen_addresses=''".to_owned(),
            format!("unix_socket_directories='{}'", self.folder.display()),
            "unix_socket_permissions=0700".to_owned(),
            "port=5432".to_owned(),
            // What a success reply promises.
            "fsync=on".to_owned(),
            "full_page_writes=on".to_owned(),
            "synchronous_commit=on".to_owned(),
            // Random keys dirty every leaf of their index once a checkpoint: fewer checkpoints, less log.
            "checkpoint_timeout=15min".to_owned(),
            "max_wal_size=4GB".to_owned(),
            "wal_compression=lz4".to_owned(),
            "shared_buffers=256MB".to_owned(),
            "log_checkpoints=off".to_owned(),
        ];
        let options: Vec<String> = settings.iter().map(|setting| format!("-c {setting}")).collect();
        // After a kill the old server's processes need a moment to notice that they are alone.
        let mut patience = if self.data().join("postmaster.pid").exists() { 20 } else { 0 };
        loop {
            match self.try_to_run(&options.join(" ")) {
                Err(_) if 0 < patience => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(250));
                }
                outcome => return outcome,
            }
        }
    }

    fn try_to_run(&self, options: &str) -> Result<(), PrivateError> {
        let mut command = self.command("pg_ctl");
        command.arg("start").arg("--wait").arg(format!("--timeout={}", START.as_secs()));
        command.arg("--pgdata").arg(self.data()).arg("--log").arg(self.log()).arg("--options").arg(options);
        self.run(command).map_err(|error| PrivateError(format!("{error}; {}", self.last_words())))
    }

    /// Stops the server if `used` was the last use of it.
    fn stop(&self, used: File, mode: &str) -> Result<(), PrivateError> {
        let _turn = self.take_turn()?;
        drop(used);
        if !self.is_unused()? || !self.is_running()? {
            return Ok(());
        }
        let mut command = self.command("pg_ctl");
        command.arg("stop").arg("--wait").arg(format!("--mode={mode}")).arg("--pgdata").arg(self.data());
        self.run(command)
    }

    /// Asks more than once: a process that this one is just starting holds a copy of the lock until
    /// it runs its own program.
    fn is_unused(&self) -> Result<bool, PrivateError> {
        let lock = self.lock_file("used.lock")?;
        for _ in 0..20 {
            if lock.try_lock().is_ok() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        Ok(false)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    /// A server binary, run as the data's owner.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.current_dir(&self.folder).stdin(Stdio::null()).env("LC_ALL", "C");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    fn run(&self, command: Command) -> Result<(), PrivateError> {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = output(command)?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Err(PrivateError(format!("{name} failed in {}: {}", self.folder.display(), lines.join("; "))))
    }

    fn last_words(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&log).into_owned();
        let mut last: Vec<&str> = text.lines().rev().take(3).collect();
        last.reverse();
        format!("its log {} ends with: {}", self.log().display(), last.join("; "))
    }

    fn broken(&self, deed: &str, error: &io::Error) -> PrivateError {
        PrivateError(format!("cannot {deed} {}: {error}", self.folder.display()))
    }
}

fn output(mut command: Command) -> Result<Output, PrivateError> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.output().map_err(|error| PrivateError(format!("cannot run {name}: {error}")))
}

/// The folder with `initdb` and `pg_ctl`: that of the data's version, else the newest.
fn find_binaries(data: &Path) -> Result<PathBuf, PrivateError> {
    let version = fs::read_to_string(data.join("PG_VERSION")).ok().map(|text| text.trim().to_owned());
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder): &(u32, PathBuf)| folder.join("initdb").exists())
        .collect();
    found.sort();
    let wanted = version.as_ref().and_then(|version| version.parse::<u32>().ok());
    let fits = |(number, _): &&(u32, PathBuf)| wanted.is_none_or(|wanted| wanted == *number);
    if let Some((_, folder)) = found.iter().rev().find(fits) {
        return Ok(folder.clone());
    }
    if let (Some(version), false) = (version, found.is_empty()) {
        return Err(PrivateError(format!(
            "{} holds data of PostgreSQL {version}, which is not installed: apt-get install postgresql-{version}, or move the data away",
            data.display()
        )));
    }
    // Elsewhere the binaries are on the path.
    let asked = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output();
    if let Ok(answer) = asked
        && answer.status.success()
    {
        let folder = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
        if folder.join("initdb").exists() {
            return Ok(folder);
        }
    }
    Err(PrivateError(
        "no PostgreSQL server is installed: apt-get install postgresql, or give a database URL".to_owned(),
    ))
}

fn is_root() -> Result<bool, PrivateError> {
    Ok(id("-u", None)? == 0)
}

/// Asks for the number of a user or of its group.
fn id(what: &str, user: Option<&str>) -> Result<u32, PrivateError> {
    let mut command = Command::new("id");
    command.arg(what).args(user).stdin(Stdio::null());
    let output = output(command)?;
    let number = String::from_utf8_lossy(&output.stdout).trim().parse().ok();
    let whom = user.unwrap_or("this process");
    number.ok_or_else(|| {
        PrivateError(format!("no user {whom}: apt-get install postgresql makes it, or give a database URL"))
    })
}
