//! `stranger = "attach"`: stayd watches a foreign server on a service's port, reports about it, and never signals it.

use super::support::daemon::{ClientOutput, SOON, Stayd, is_alive};
use super::support::postgres::{Postgres, database_user};
use super::support::{TempDir, free_port, http_get, require_root, test_service, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stayd::sys::process::{self, State};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// A server that the test started, and that logs the signals it gets.
struct ForeignServer {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl ForeignServer {
    fn serve() -> Self {
        let (dir, port) = (TempDir::new(), free_port());
        let child = Command::new(test_service())
            .arg("log-signals")
            .arg(dir.join("signals"))
            .args(["serve", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("a server");
        wait_until("it answers", SOON, || http_get(port, "/").is_ok());
        Self { child, port, dir }
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("our child");
    }

    fn is_stopped(&self) -> bool {
        process::stat(self.pid()).is_ok_and(|stat| stat.state == State::Stopped)
    }

    /// The numbers of the signals that it got.
    fn signals(&self) -> Vec<i32> {
        let signals = std::fs::read_to_string(self.dir.join("signals")).expect("its file");
        signals
            .lines()
            .map(|line| line.parse().expect("a number"))
            .collect()
    }

    #[track_caller]
    fn assert_untouched(&mut self) {
        assert!(self.child.try_wait().expect("wait").is_none(), "it ended");
        assert!(self.signals().is_empty(), "{:?}", self.signals());
        http_get(self.port, "/").expect("it answers");
    }

    fn end(&mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }
}

impl Drop for ForeignServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// A service that serves on `port` itself unless it is attached to a foreign server.
fn service(port: u16) -> String {
    let argv = [
        test_service().display().to_string(),
        "serve".into(),
        port.to_string(),
    ];
    let argv = serde_json::to_string(&argv).expect("JSON is TOML here");
    format!(
        r#"
[service.web]
command = {argv}
port = {port}
stranger = "attach"
stop = {{ grace = "300ms" }}
[service.web.log]
to = "file"
[service.web.watchdog]
probe = "http://127.0.0.1:{port}/"
interval = "300ms"
timeout = "300ms"
failures = 2
busy_grace = "0s"
first = {{ signal = "QUIT" }}
evidence = ["touch", "collected"]
"#
    )
}

/// Waits until the service is attached to `pid` and healthy.
#[track_caller]
fn attached(daemon: &Stayd, name: &str, pid: i32) -> Value {
    let shown = daemon.wait_service(name, "attached", |service| {
        service["state"] == "attached" && service["healthy"] == true
    });
    assert_eq!(shown["pid"], pid);
    assert_eq!(shown["ownership"], "attached");
    shown
}

#[track_caller]
fn assert_refused(answer: &ClientOutput, verb: &str, pid: i32) {
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let what = format!("cannot {verb} web: pid {pid} holds its port, is not ours");
    assert!(answer.err.contains(&what), "{answer:?}");
    assert!(answer.err.contains(&format!("`kill {pid}`")), "{answer:?}");
}

#[test]
fn a_foreign_server_is_watched_and_outlives_every_end_of_stayd() {
    let mut foreign = ForeignServer::serve();
    let pid = foreign.pid();
    let daemon = Stayd::start(&service(foreign.port));
    let shown = attached(&daemon, "web", pid);
    let reason = shown["reason"].as_str().expect("a reason");
    let named = format!("attached: port {} is held by pid {pid} (", foreign.port);
    assert!(reason.starts_with(&named), "{reason}");
    assert_eq!(daemon.client(&["status"]).code, Some(0));
    assert!(
        !daemon.state_dir().join("claims/web.json").exists(),
        "a foreign process is not claimed"
    );
    for verb in ["restart", "reload"] {
        assert_refused(&daemon.client(&[verb, "web"]), verb, pid);
    }

    let what = format!(":{}", foreign.port);
    let explained = daemon.client(&["explain", &what]);
    assert_eq!(explained.code, Some(0), "{explained:?}");
    let sentence = "the process like the service, and never signals it";
    assert!(explained.out.contains(sentence), "{explained:?}");

    daemon.signal(libc::SIGHUP);
    wait_until("the configuration is reloaded", SOON, || {
        daemon
            .output()
            .contains("reloaded the configuration: nothing has changed")
    });
    attached(&daemon, "web", pid);

    let daemon = daemon.kill_and_restart();
    attached(&daemon, "web", pid);
    assert_eq!(daemon.count("attached"), 2, "once by each stayd");

    let stopped = daemon.client(&["stop", "web"]);
    let output = format!("web: stopped: pid {pid} is not ours, and runs on unwatched\n");
    assert_eq!((stopped.code, &stopped.out), (Some(0), &output));
    assert_eq!(daemon.client(&["start", "web"]).code, Some(0));
    let mut daemon = daemon;
    attached(&daemon, "web", pid);
    assert_eq!(daemon.stop().code(), Some(0));
    let explained = daemon.client(&["explain", &what, "--json", "-c", "stayd.toml"]);
    let explained: Value = serde_json::from_str(&explained.out).expect("JSON");
    let outcome = &explained["processes"][0]["claims"][0]["outcome"];
    assert_eq!(outcome, "attach", "{explained:#}");
    foreign.assert_untouched();
}

#[test]
fn a_wedged_foreign_server_is_reported_and_gets_no_signal() {
    let mut foreign = ForeignServer::serve();
    let daemon = Stayd::start(&service(foreign.port));
    attached(&daemon, "web", foreign.pid());
    foreign.signal(Signal::SIGSTOP);
    wait_until("the wedge is an incident", SOON, || {
        daemon.client(&["incidents"]).out.contains("wedged: ")
    });
    let seen = format!(
        "port {} held by pid {} (itself)",
        foreign.port,
        foreign.pid()
    );
    wait_until("its evidence is recorded", SOON, || {
        let incidents = daemon.client(&["incidents", "--json"]);
        incidents.out.contains(&seen)
    });
    assert!(!daemon.dir().join("collected").exists());
    let shown = daemon.service("web");
    assert_eq!(
        (&shown["state"], &shown["healthy"]),
        (&"attached".into(), &false.into())
    );
    let reason = shown["reason"].as_str().expect("a reason");
    assert_eq!(
        reason,
        "no answer: its main process is stopped (SIGSTOP); not ours, and never killed"
    );
    assert_eq!(daemon.client(&["status"]).code, Some(1));
    let why = daemon.client(&["why", "web"]).out;
    let decided = format!("not killed: pid {} is not ours", foreign.pid());
    assert!(why.contains(&decided), "{why}");
    assert_eq!(daemon.count("killed"), 0);
    assert!(foreign.is_stopped(), "it is still stopped");
    assert!(foreign.signals().is_empty(), "{:?}", foreign.signals());

    foreign.signal(Signal::SIGCONT);
    attached(&daemon, "web", foreign.pid());
    wait_until("it has got only the signal of this test", SOON, || {
        foreign.signals() == [Signal::SIGCONT as i32]
    });
    assert!(foreign.child.try_wait().expect("wait").is_none());
}

#[test]
fn when_the_foreign_server_ends_the_service_itself_starts() {
    let mut foreign = ForeignServer::serve();
    let daemon = Stayd::start(&service(foreign.port));
    attached(&daemon, "web", foreign.pid());
    foreign.end();
    let own = daemon.wait_service("web", "our own", |service| {
        service["state"] == "running" && service["ownership"] == "spawned"
    });
    assert_eq!(
        (&own["restarts"], &own["last_exit"]),
        (&0.into(), &Value::Null)
    );
    assert_eq!(daemon.count("detached"), 1);
    assert_eq!(
        daemon.count("exited"),
        0,
        "the foreign process was no instance"
    );
    http_get(foreign.port, "/").expect("our own answers");
}

#[test]
fn an_instance_of_an_earlier_stayd_is_adopted_and_not_attached_to() {
    let port = free_port();
    let daemon = Stayd::start(&service(port));
    let own = daemon.wait_state("web", "running");
    let mut daemon = daemon.kill_and_restart();
    let adopted = daemon.wait_state("web", "running");
    assert_eq!(
        (&adopted["pid"], &adopted["ownership"]),
        (&own["pid"], &"adopted".into())
    );
    assert_eq!(daemon.count("attached"), 0);
    assert_eq!(daemon.stop().code(), Some(0));
    http_get(port, "/").expect_err("an adopted instance is ended with stayd");
}

#[test]
fn when_a_foreign_process_closes_the_port_and_lives_on_the_service_itself_starts() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let daemon = Stayd::start(&service(port));
    let waiting = daemon.wait_service("web", "attached", |service| {
        service["ownership"] == "attached"
    });
    assert_eq!(waiting["state"], "starting", "it has not answered yet");
    assert_eq!(waiting["pid"], std::process::id());
    drop(listener);
    daemon.wait_service("web", "our own", |service| {
        service["state"] == "running" && service["ownership"] == "spawned"
    });
}

#[test]
#[ignore = "needs root"]
fn a_server_of_another_user_that_stayd_may_not_inspect_is_watched_by_its_port() {
    require_root();
    let mut foreign = ForeignServer::serve();
    let config = service(foreign.port);
    let from = config.find("command = ").expect("its command");
    let until = config[from..].find('\n').expect("a line") + from;
    let config = format!(
        "{}command = [\"sleep\", \"1000\"]{}",
        &config[..from],
        &config[until..]
    );
    let daemon = Stayd::start_as_another_user(&config);
    let shown = daemon.wait_service("web", "attached", |service| {
        service["state"] == "attached" && service["healthy"] == true
    });
    assert_eq!(
        (&shown["pid"], &shown["ownership"]),
        (&Value::Null, &"attached".into())
    );
    let reason = shown["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("a process of user 0 that is hidden from stayd"),
        "{reason}"
    );
    let refused = daemon.client(&["restart", "web"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("is hidden from stayd"), "{refused:?}");
    foreign.end();
    daemon.wait_service("web", "our own", |service| {
        service["ownership"] == "spawned"
    });
}

/// The foreign server uses the service's data folder: a second server on it would corrupt the data.
#[test]
fn a_foreign_postgres_is_watched_and_followed_by_the_service() {
    let mut postgres = Postgres::start();
    let server = postgres_main(&postgres);
    let daemon = Stayd::start(&database(&postgres));
    attached(&daemon, "db", server);
    postgres.freeze();
    daemon.wait_service("db", "silent", |service| {
        service["state"] == "attached" && service["healthy"] == false
    });
    postgres.thaw();
    attached(&daemon, "db", server);
    assert_eq!(daemon.client(&["stop", "db"]).code, Some(0));
    assert_eq!(postgres.sql("SELECT 1"), "1");
    assert_eq!(daemon.client(&["start", "db"]).code, Some(0));
    attached(&daemon, "db", server);
    postgres.crash();
    let own = daemon.wait_service("db", "our own", |service| {
        service["state"] == "running" && service["ownership"] == "spawned"
    });
    assert_ne!(own["pid"], server);
    assert!(!is_alive(server));
    assert_eq!(daemon.count("started"), 1);
}

fn postgres_main(postgres: &Postgres) -> i32 {
    let pid_file = std::fs::read_to_string(postgres.data().join("postmaster.pid"));
    let pid_file = pid_file.expect("it runs");
    let first = pid_file.lines().next().expect("its pid");
    first.trim().parse().expect("a number")
}

fn database(postgres: &Postgres) -> String {
    let argv = serde_json::to_string(&postgres.command(&[])).expect("JSON is TOML here");
    let run_as =
        database_user().map_or_else(String::new, |user| format!("user = \"{}\"", user.name));
    let port = postgres.port();
    format!(
        r#"
[service.db]
command = {argv}
cwd = "/"
{run_as}
port = {port}
stranger = "attach"
stop = {{ signal = "INT", grace = "10s" }}
[service.db.watchdog]
probe = "postgres://postgres@127.0.0.1:{port}/postgres"
interval = "500ms"
timeout = "500ms"
"#
    )
}
