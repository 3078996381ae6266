//! Faults met through the probes that are commands, notifications and databases, and what comes before a kill.

use super::faults::{clinic, pid};
use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::{Lab, free_port, http_get, wait_until};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// A python service that tells NOTIFY_SOCKET what `script` says; `tell` sends, `wait_file` waits for a file in the folder.
fn teller(script: &str, more: &str) -> String {
    let program = format!(
        "import os,socket,time\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ntell=lambda t:s.sendto(t.encode(),os.environ['NOTIFY_SOCKET'])\ndef wait_file(n):\n  while not os.path.exists('DIR/'+n): time.sleep(0.02)\n{script}"
    );
    let argv = serde_json::to_string(&["python3", "-c", &program]).expect("JSON is TOML here");
    format!(
        "[service.s]\ncommand = {argv}\nbackoff = {{ min = \"10ms\" }}\nstop = {{ grace = \"200ms\" }}\n{more}\n"
    )
}

#[test]
fn item_16_readiness_waits_for_its_word_and_an_extension_holds_the_watchdog_off() {
    let script = "tell('EXTEND_TIMEOUT_USEC=60000000')\nwait_file('ready')\ntell('READY=1')\nwait_file('never')";
    let daemon = Stayd::start(&teller(
        script,
        "sd_notify = true\nstartup = { within = \"1s\" }",
    ));
    let before = daemon.wait_service("s", "its process", |service| {
        service["state"] == "starting" && service["pid"].is_number()
    });
    let clock = std::time::Instant::now();
    wait_until("the usual budget is over", SOON, || {
        clock.elapsed() > std::time::Duration::from_secs(2)
    });
    assert_eq!(daemon.service("s")["state"], "starting");
    fs::write(daemon.dir().join("ready"), "").expect("a file");
    let ready = daemon.wait_state("s", "running");
    assert_eq!(pid(&ready), pid(&before));
}

const PYTHON: &str = "/usr/bin/python3";

#[test]
fn a_service_of_another_user_is_heard_in_a_closed_folder_and_its_namesake_is_not() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let name = format!("nobodys-{}", std::process::id());
    let folder = Path::new("/run/stayd").join(&name);
    fs::create_dir_all(&folder).expect("a runtime folder");
    fs::set_permissions(&folder, Permissions::from_mode(0o700))
        .expect("closed, as systemd makes it");
    let script = "tell('STATUS=waiting')\nwait_file('ready')\ntell('READY=1')\nwait_file('never')";
    let config = teller(script, "user = \"nobody\"\nsd_notify = true");
    // the system's own, which nobody may run too
    let config = config.replacen("python3", PYTHON, 1);
    let daemon = Stayd::start_with(&format!("name = \"{name}\"\n{config}"), |command| {
        let dir = command.get_current_dir().expect("the test's folder");
        fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("open to nobody");
    });
    let before = daemon.wait_service("s", "waiting", |service| {
        service["state"] == "starting" && service["pid"].is_number()
    });
    let socket = fs::read_dir(&folder)
        .expect("the runtime folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|end| end == "notify"))
        .expect("the service's socket");
    let lie = "import socket,sys\nsocket.socket(socket.AF_UNIX,socket.SOCK_DGRAM).sendto(b'READY=1',sys.argv[1])";
    let told = Command::new("setpriv")
        .args(["--reuid=nobody", "--clear-groups", PYTHON, "-c", lie])
        .arg(&socket)
        .status();
    assert!(told.expect("setpriv").success());
    // the loop has heard the lie before it hears this question
    for _ in 0..3 {
        assert_eq!(daemon.service("s")["state"], "starting");
    }
    fs::write(daemon.dir().join("ready"), "").expect("a file");
    assert_eq!(pid(&daemon.wait_state("s", "running")), pid(&before));
    drop(daemon);
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn a_service_that_stops_reporting_is_killed() {
    let script = "tell('READY=1')\nwhile not os.path.exists('DIR/wedge'):\n  tell('WATCHDOG=1')\n  time.sleep(0.1)\nos.remove('DIR/wedge')\nwait_file('never')";
    let daemon = Stayd::start(&teller(
        script,
        "[service.s.watchdog]\nprobe = \"notify\"\ninterval = \"1s\"\ntimeout = \"1s\"\nfailures = 2\nbusy_grace = \"0s\"",
    ));
    let before = daemon.wait_service("s", "heard of", |service| {
        service["state"] == "running" && service["probes"][0]["class"] == "alive"
    });
    assert_eq!(daemon.count("killed"), 0);
    fs::write(daemon.dir().join("wedge"), "").expect("a file");
    wait_until("killed", SOON, || !is_alive(pid(&before)));
    daemon.wait_service("s", "its next life", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert_eq!(daemon.count("killed"), 1);
}

#[test]
fn item_28_a_check_that_hangs_and_forks_is_one_at_a_time_and_condemns() {
    let check = "if test -e DIR/hang; then echo $$ >> DIR/checks; sleep 76543 & sleep 76543; fi";
    let check = format!("sh -c '{check}'");
    let config = format!(
        "[service.s]\ncommand = [\"sleep\", \"1000000\"]\nbackoff = {{ min = \"10ms\" }}\n[service.s.watchdog]\nprobe = {}\ninterval = \"500ms\"\ntimeout = \"500ms\"\nfailures = 3\nbusy_grace = \"0s\"\n",
        serde_json::to_string(&format!("exec:{check}")).expect("JSON is TOML here")
    );
    let daemon = Stayd::start(&config);
    let before = daemon.wait_service("s", "proven", |service| {
        service["state"] == "running" && service["probes"][0]["class"] == "alive"
    });
    fs::write(daemon.dir().join("hang"), "").expect("a file");
    let checks = || -> Vec<i32> {
        let said = fs::read_to_string(daemon.dir().join("checks")).unwrap_or_default();
        said.lines().filter_map(|line| line.parse().ok()).collect()
    };
    wait_until("condemned", SOON, || {
        let alive = checks().into_iter().filter(|&check| is_alive(check));
        assert!(alive.count() <= 1, "more than one check at a time");
        !is_alive(pid(&before))
    });
    fs::remove_file(daemon.dir().join("hang")).expect("removed");
    daemon.wait_service("s", "alive again", |service| {
        service["probes"][0]["class"] == "alive" && service["state"] == "running"
    });
    let asked = checks();
    assert!(asked.len() >= 3, "{asked:?}");
    wait_until("nothing of the checks is left", SOON, || {
        !asked
            .iter()
            .any(|&check| is_alive(check) || session_lives(check))
    });
}

#[test]
fn item_28_an_ordered_end_leaves_nothing_of_the_checks_under_way() {
    let lab = Lab::new();
    let wild = ["setsid children 2 sleep", "double-fork close-fds sleep"]
        .map(|words| format!("{} {words} & ", lab.victim.display()));
    let check = format!(
        "sh -c '{} echo x >> DIR/asked; wait; sleep 76540'",
        wild.concat()
    );
    let table = |name: usize| {
        format!(
            "[service.s{name}]\ncommand = [\"sleep\", \"1000000\"]\nstop = {{ grace = \"200ms\" }}\n[service.s{name}.watchdog]\nprobe = {}\ninterval = \"600s\"\ntimeout = \"600s\"\n",
            serde_json::to_string(&format!("exec:{check}")).expect("JSON is TOML here")
        )
    };
    let mut daemon = Stayd::start(&(0..6).map(table).collect::<String>());
    let asked = daemon.dir().join("asked");
    wait_until("all are asked", SOON, || {
        fs::read_to_string(&asked).is_ok_and(|said| said.lines().count() == 6)
    });
    wait_until("their processes run", SOON, || lab.alive().len() >= 6 * 4);
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.said());
    assert_eq!(lab.alive(), Vec::<i32>::new(), "{}", daemon.said());
}

/// Whether anything of this session runs.
fn session_lives(leader: i32) -> bool {
    let pids = stayd::sys::process::all().expect("/proc");
    pids.into_iter()
        .filter_map(|pid| stayd::sys::process::stat(pid).ok())
        .any(|stat| stat.sid == leader)
}

#[test]
fn the_evidence_and_the_first_signal_come_before_the_kill() {
    let port = free_port();
    let more = "first = { signal = \"QUIT\", grace = \"1s\" }\nevidence = [\"sh\", \"-c\", \"kill -0 $(cat DIR/main) && echo alive > DIR/evidence\"]";
    let config = clinic("s", port, "", more);
    let start = config.find("command = ").expect("a command");
    let end = start + config[start..].find('\n').expect("its line");
    let python = format!(
        "import os,signal,http.server,time\nopen('DIR/main','w').write(str(os.getpid()))\ndef quit(*a):\n  open('DIR/first','w').write('heard')\nsignal.signal(signal.SIGQUIT,quit)\nclass H(http.server.BaseHTTPRequestHandler):\n  def do_GET(self):\n    if self.path=='/wedge':\n      while True: time.sleep(60)\n    self.send_response(200);self.end_headers()\n  def log_message(self,*a): pass\nhttp.server.HTTPServer(('127.0.0.1',{port}),H).serve_forever()"
    );
    let argv = serde_json::to_string(&["python3", "-c", &python]).expect("JSON is TOML here");
    let config = format!("{}command = {argv}{}", &config[..start], &config[end..]);
    let daemon = Stayd::start(&config);
    let before = pid(&daemon.wait_state("s", "running"));
    let asking = std::thread::spawn(move || http_get(port, "/wedge"));
    wait_until("killed", SOON, || !is_alive(before));
    for (file, said) in [("evidence", "alive\n"), ("first", "heard")] {
        let found = fs::read_to_string(daemon.dir().join(file));
        assert_eq!(found.expect(file), said, "{}", daemon.said());
    }
    let _ = asking.join();
    let killed = daemon.wait_service("s", "its next life", |service| service["life"] == 2);
    assert_eq!(killed["last_exit"]["signal"], "KILL");
}

#[test]
fn item_18_a_database_under_lock_is_degraded_and_its_holder_lives() {
    let script = "import sqlite3\nd=sqlite3.connect('DIR/state.db',isolation_level=None)\nd.execute('CREATE TABLE IF NOT EXISTS t(a)')\nopen('DIR/made','w')\nwait_file('lock')\nd.execute('BEGIN EXCLUSIVE')\nopen('DIR/locked','w')\nwait_file('unlock')\nd.execute('COMMIT')\nwait_file('never')";
    let daemon = Stayd::start(&teller(
        script,
        "[service.s.watchdog]\nprobe = \"sqlite:DIR/state.db\"\ninterval = \"200ms\"\ntimeout = \"1s\"\nfailures = 2\nbusy_grace = \"0s\"",
    ));
    let is_class = |class: &str| {
        daemon.wait_service("s", class, |service| {
            service["probes"][0]["class"] == class && service["life"] == 1
        })
    };
    let before = is_class("alive");
    fs::write(daemon.dir().join("lock"), "").expect("a file");
    assert_eq!(pid(&is_class("degraded")), pid(&before));
    fs::write(daemon.dir().join("unlock"), "").expect("a file");
    assert_eq!(pid(&is_class("alive")), pid(&before));
    assert_eq!(daemon.count("killed"), 0);
}

#[test]
fn a_preparation_that_hangs_is_ended_at_the_startup_budget() {
    let before = "before = [\"sh\", \"-c\", \"echo $$ > DIR/before; exec sleep 76542\"]\nstartup = { within = \"1s\" }";
    let daemon = Stayd::start(&format!(
        "[service.s]\ncommand = [\"sleep\", \"1000000\"]\n{before}\n"
    ));
    daemon.wait_state("s", "blocked");
    let hung = fs::read_to_string(daemon.dir().join("before")).expect("it ran");
    let hung: i32 = hung.trim().parse().expect("a pid");
    wait_until("nothing of it is left", SOON, || {
        !is_alive(hung) || daemon.count("started") > 0
    });
    assert_eq!(daemon.count("started"), 0);
}
