//! A PostgreSQL server of a test's own, with a private folder and port; stopped and removed when dropped.

use super::tool;
use super::wait::{TempDir, free_port, wait_until};
use nix::libc::{SIGCONT, SIGKILL, SIGSTOP};
use nix::unistd::User;
use stayd::sys::process::{self, Handle, State};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Deadline for a cold start on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(20);
/// How each role authenticates; the password is always [`PASSWORD`]. Every other role is trusted.
const HOST_RULES: &str = "\
local all all trust
host all app 127.0.0.1/32 scram-sha-256
host all old 127.0.0.1/32 md5
host all plain 127.0.0.1/32 password
host all nobody 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust
";
const ROLES: &str = "\
CREATE ROLE app LOGIN PASSWORD 'hunter2';
CREATE ROLE plain LOGIN PASSWORD 'hunter2';
SET password_encryption = 'md5';
CREATE ROLE old LOGIN PASSWORD 'hunter2';
";
/// The password of the roles `app` (SCRAM), `old` (MD5) and `plain` (in the clear).
pub(crate) const PASSWORD: &str = "hunter2";

/// A data folder, and the server on it while one runs.
#[derive(Debug)]
pub(crate) struct Postgres {
    dir: TempDir,
    port: u16,
    server: Option<Child>,
}

impl Postgres {
    /// A server that answers, with the roles above.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more settings, each `name=value`.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        let mut postgres = Self::prepared();
        postgres.launch(settings);
        postgres.wait_ready();
        postgres.sql(ROLES);
        postgres
    }

    /// An initialized data folder and a free port, without a server.
    pub(crate) fn prepared() -> Self {
        let dir = TempDir::new();
        if let Some(user) = database_user() {
            nix::unistd::chown(&dir.join(""), Some(user.uid), Some(user.gid)).expect("chown");
        }
        fs::set_permissions(dir.join(""), fs::Permissions::from_mode(0o755)).expect("chmod");
        let made = as_database_user(&binary("initdb"))
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "-E",
                "UTF8",
                "--locale=C",
                "-D",
            ])
            .arg(dir.join("data"))
            .output()
            .expect("initdb");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        fs::write(dir.join("data/pg_hba.conf"), HOST_RULES).expect("pg_hba.conf");
        Self {
            dir,
            port: free_port(),
            server: None,
        }
    }

    /// The server's argv, for a test that starts it as a service. The server refuses to run as root: see
    /// [`database_user`].
    pub(crate) fn command(&self, settings: &[&str]) -> Vec<String> {
        let mut argv = vec![
            binary("postgres").display().to_string(),
            "-D".into(),
            self.data().display().to_string(),
        ];
        let port = format!("port={}", self.port);
        let sockets = format!("unix_socket_directories={}", self.socket_dir().display());
        let own = [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "shared_buffers=8MB",
            &port,
            &sockets,
        ];
        for setting in own.iter().chain(settings) {
            argv.extend(["-c".into(), (*setting).to_owned()]);
        }
        argv
    }

    /// Starts the server without waiting for it.
    pub(crate) fn launch(&mut self, settings: &[&str]) {
        let argv = self.command(settings);
        let log = fs::File::create(self.dir.join("log")).expect("a log");
        let server = as_database_user(Path::new(&argv[0]))
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("postgres");
        self.server = Some(server);
    }

    /// Waits until it answers.
    pub(crate) fn wait_ready(&self) {
        wait_until("PostgreSQL answers", START_WITHIN, || {
            self.try_sql("SELECT 1").is_ok()
        });
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The folder of its `.s.PGSQL.PORT`.
    pub(crate) fn socket_dir(&self) -> PathBuf {
        self.dir.join("")
    }

    /// Runs SQL as the superuser; what it prints.
    #[track_caller]
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same through a pooler on this port of 127.0.0.1.
    #[track_caller]
    pub(crate) fn sql_on(&self, port: u16, sql: &str) -> String {
        let output = self.run_sql(Path::new("127.0.0.1"), port, sql);
        output.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_sql(&self, sql: &str) -> Result<String, String> {
        self.run_sql(&self.socket_dir(), self.port, sql)
    }

    fn run_sql(&self, host: &Path, port: u16, sql: &str) -> Result<String, String> {
        let output = Command::new(binary("psql"))
            .args([
                "-X",
                "-q",
                "-t",
                "-A",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                "postgres",
            ])
            .arg("-h")
            .arg(host)
            .args(["-p", &port.to_string(), "-c", sql])
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Stops the postmaster and all its processes with SIGSTOP.
    pub(crate) fn freeze(&self) {
        // the postmaster forks until it is stopped itself, and does not reap children that ended by then
        wait_until("every process is stopped", END_WITHIN, || {
            self.signal_all(SIGSTOP);
            self.processes().iter().all(|pid| {
                process::stat(*pid).map_or(true, |stat| {
                    matches!(stat.state, State::Stopped | State::Zombie)
                })
            })
        });
    }

    /// Continues them with SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal_all(SIGCONT);
    }

    /// Kills the server and all its processes; it recovers from its log at the next launch.
    pub(crate) fn crash(&mut self) {
        let left = self.processes();
        self.signal_all(SIGKILL);
        if let Some(mut server) = self.server.take() {
            let _ = server.wait();
        }
        wait_until("its processes are gone", END_WITHIN, || {
            left.iter()
                .all(|pid| process::stat(*pid).map_or(true, |stat| stat.state == State::Zombie))
        });
    }

    /// A client that holds a connection until it is dropped.
    pub(crate) fn hold_connection(&self) -> HeldConnection {
        self.hold_transaction("SELECT 1")
    }

    /// A client that runs this SQL, and holds its transaction and its connection until it is dropped.
    pub(crate) fn hold_transaction(&self, sql: &str) -> HeldConnection {
        let client = Command::new(binary("psql"))
            .args(["-X", "-q", "-U", "postgres", "-d", "postgres", "-h"])
            .arg(self.socket_dir())
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut client = client.expect("psql");
        // It stays open, so that psql waits for more.
        let input = client.stdin.as_mut().expect("a pipe");
        writeln!(input, "{sql};").expect("psql reads");
        HeldConnection(client)
    }

    /// The server process of the probe's kept connection. Call it while no psql is refused.
    pub(crate) fn kept_backend(&self) -> i32 {
        let oldest = "SELECT pid FROM pg_stat_activity WHERE application_name = 'stayd' ORDER BY backend_start LIMIT 1";
        self.sql(oldest).parse().expect("a probe is connected")
    }

    /// The postmaster and its children: the server that this started, or one that stayd runs on this folder.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let Some(postmaster) = self.postmaster() else {
            return Vec::new();
        };
        let mut all = vec![postmaster];
        all.extend(process::children(postmaster).unwrap_or_default());
        all
    }

    /// The main process, where the server was started by this or by a stayd.
    pub(crate) fn postmaster(&self) -> Option<i32> {
        if let Some(server) = &self.server {
            return Some(server.id().cast_signed());
        }
        let file = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        file.lines().next()?.parse().ok()
    }

    fn signal_all(&self, signal: i32) {
        for pid in self.processes() {
            // a process that ended meanwhile needs no signal
            let _ = process::stat(pid)
                .and_then(|stat| Handle::open(stat.process))
                .and_then(|handle| handle.signal(signal));
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct HeldConnection(Child);

impl Drop for HeldConnection {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.signal_all(SIGKILL);
        }
        if let Some(mut server) = self.server.take() {
            let _ = server.wait();
        }
    }
}

/// The user that PostgreSQL runs as; none where the test is not root, and PostgreSQL runs as the test's user.
pub(crate) fn database_user() -> Option<User> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let found = User::from_name("postgres").expect("the user database");
    Some(
        found.expect("this test needs PostgreSQL and its user: run tests/support/setup.sh as root"),
    )
}

/// A command that runs `program` as [`database_user`].
pub(super) fn as_database_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env("LC_ALL", "C");
    if let Some(user) = database_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// A server binary. Debian keeps them in a folder per version, Homebrew in the PATH.
fn binary(name: &str) -> PathBuf {
    let debian = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    debian
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .max()
        .unwrap_or_else(|| tool(name).get_program().into())
}
