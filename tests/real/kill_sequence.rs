//! What happens before and after a kill: evidence, the first signal, its grace; and a kill by the OOM killer.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{pid, python_service};
use super::support::watchdog::watched_service;
#[cfg(target_os = "linux")]
use super::support::{Cgroup, test_service};
use super::support::{free_port, http_get, wait_until};
use std::fs;
#[cfg(target_os = "linux")]
use std::time::{Duration, SystemTime};

/// The evidence command takes longer than the probe interval. A hold that comes meanwhile suppresses the kill, and no
/// attempt of that time counts as a failure.
#[cfg(target_os = "linux")]
#[test]
fn a_hold_during_the_collection_of_evidence_suppresses_the_kill() {
    let port = free_port();
    let more = "evidence = [\"sh\", \"-c\", \"touch DIR/evidence; sleep 2\"]\nfailures = 2";
    let config = watched_service("s", port, "", more).replacen("failures = 3\n", "", 1);
    let daemon = Stayd::start(&config);
    let subject = pid(&daemon.wait_state("s", "running"));
    http_get(port, "/wedge").expect("the wedge");
    let evidence = daemon.dir().join("evidence");
    wait_until("evidence is taken", SOON, || evidence.exists());
    let held = daemon.client(&["hold", "s", "--for", "10m", "--reason", "dump"]);
    assert_eq!(held.code, Some(0), "{held:?}");
    let shown = daemon.service("s");
    assert_eq!(pid(&shown), subject);
    let reason = shown["reason"].as_str().expect("a reason").to_owned();
    assert!(
        reason.contains("a hold came before the SIGKILL") || reason.contains("no answer"),
        "{reason}"
    );
    wait_until("the hold suppresses the kill", SOON, || {
        daemon.events().iter().any(|event| {
            event["kind"] == "spared"
                && event["message"]
                    .as_str()
                    .is_some_and(|said| said.contains("held (dump)"))
        })
    });
    assert!(is_alive(subject));
}

#[cfg(target_os = "linux")]
#[test]
fn the_kill_waits_for_the_whole_grace_of_the_first_signal_unless_the_service_ends_earlier() {
    const GRACE: Duration = Duration::from_secs(5);
    let port = free_port();
    // the first instance ignores SIGQUIT, the second exits
    let python = format!(
        "import os,signal,http.server,time\nlife=int(os.environ['STAYD_LIFE'])\ndef quit(*a):\n  open('DIR/first%d'%life,'w').write(repr(time.time()))\n  if life>1: os._exit(3)\nsignal.signal(signal.SIGQUIT,quit)\nclass H(http.server.BaseHTTPRequestHandler):\n  def do_GET(self):\n    if self.path=='/wedge':\n      while True: time.sleep(60)\n    self.send_response(200);self.end_headers()\n  def log_message(self,*a): pass\nhttp.server.HTTPServer(('127.0.0.1',{port}),H).serve_forever()"
    );
    let argv = serde_json::to_string(&["python3", "-c", &python]).expect("JSON is TOML here");
    let own = format!(
        "[\"{}\", \"serve-query\", \"{port}\"]",
        test_service().display()
    );
    let more = "first = { signal = \"QUIT\", grace = \"5s\" }";
    let daemon = Stayd::start(&watched_service("s", port, "", more).replace(&own, &argv));
    let wedge = |life: u64| {
        let found = daemon.wait_service("s", "running", |service| {
            service["life"] == life
                && service["state"] == "running"
                && service["probes"][0]["class"] == "alive"
        });
        let asking = std::thread::spawn(move || http_get(port, "/wedge"));
        let main = pid(&found);
        wait_until("ended", SOON, || !is_alive(main));
        let ended = SystemTime::now();
        let _ = asking.join();
        let said = fs::read_to_string(daemon.dir().join(format!("first{life}")));
        let signaled = said.expect("it got the signal").parse().expect("seconds");
        let signaled = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(signaled);
        ended.duration_since(signaled).expect("in this order")
    };
    let first = wedge(1);
    assert!(first > GRACE - Duration::from_millis(50), "only {first:?}");
    let killed = daemon.wait_service("s", "its next instance", |service| service["life"] == 2);
    assert_eq!(killed["last_exit"]["signal"], "KILL");
    let second = wedge(2);
    assert!(second < GRACE, "killed only after the grace: {second:?}");
    let ended = daemon.wait_service("s", "its third instance", |service| service["life"] == 3);
    assert_eq!(ended["last_exit"]["code"], 3);
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root"]
fn a_service_that_the_oom_killer_ends_is_reported_as_out_of_memory() {
    let group = Cgroup::with_memory_limit("oom", 32 << 20);
    let script = "import time\nimport os\nwhile not os.path.exists('DIR/eat'): time.sleep(0.02)\nos.remove('DIR/eat')\nx=[]\nwhile True: x.append(bytearray(1<<20))";
    let argv = serde_json::to_string(&["python3", "-c", script]).expect("JSON is TOML here");
    let config = format!("[service.s]\ncommand = {argv}\nbackoff = {{ min = \"10ms\" }}\n");
    let daemon = Stayd::start(&config);
    let subject = pid(&daemon.wait_state("s", "running"));
    group.add_process(subject);
    fs::write(daemon.dir().join("eat"), "").expect("a file");
    let after = daemon.wait_service("s", "its next instance", |service| service["life"] == 2);
    assert_eq!(after["last_exit"]["signal"], "KILL");
    let why = daemon.client(&["why", "s"]);
    assert!(why.out.contains("out of memory"), "{why:?}");
}

#[test]
fn evidence_and_the_first_signal_come_before_the_kill() {
    let port = free_port();
    let more = "first = { signal = \"QUIT\", grace = \"1s\" }\nevidence = [\"sh\", \"-c\", \"kill -0 $(cat DIR/main) && echo alive > DIR/evidence\"]";
    let config = watched_service("s", port, "", more);
    let start = config.find("command = ").expect("a command");
    let end = start + config[start..].find('\n').expect("its line");
    let python = format!(
        "import os,signal,http.server,time\nopen('DIR/main','w').write(str(os.getpid()))\ndef quit(*a):\n  open('DIR/first','w').write('got it')\nsignal.signal(signal.SIGQUIT,quit)\nclass H(http.server.BaseHTTPRequestHandler):\n  def do_GET(self):\n    if self.path=='/wedge':\n      while True: time.sleep(60)\n    self.send_response(200);self.end_headers()\n  def log_message(self,*a): pass\nhttp.server.HTTPServer(('127.0.0.1',{port}),H).serve_forever()"
    );
    let argv = serde_json::to_string(&["python3", "-c", &python]).expect("JSON is TOML here");
    let config = format!("{}command = {argv}{}", &config[..start], &config[end..]);
    let daemon = Stayd::start(&config);
    let before = pid(&daemon.wait_state("s", "running"));
    let asking = std::thread::spawn(move || http_get(port, "/wedge"));
    wait_until("killed", SOON, || !is_alive(before));
    for (file, said) in [("evidence", "alive\n"), ("first", "got it")] {
        let found = fs::read_to_string(daemon.dir().join(file));
        assert_eq!(found.expect(file), said, "{}", daemon.output());
    }
    let _ = asking.join();
    let killed = daemon.wait_service("s", "its next instance", |service| service["life"] == 2);
    assert_eq!(killed["last_exit"]["signal"], "KILL");
}

#[test]
fn a_service_that_stops_its_watchdog_messages_is_killed() {
    let script = "tell('READY=1')\nwhile not os.path.exists('DIR/wedge'):\n  tell('WATCHDOG=1')\n  time.sleep(0.1)\nos.remove('DIR/wedge')\nwait_file('never')";
    let daemon = Stayd::start(&python_service(
        script,
        "[service.s.watchdog]\nprobe = \"notify\"\ninterval = \"1s\"\ntimeout = \"1s\"\nfailures = 2\nbusy_grace = \"0s\"",
    ));
    let before = daemon.wait_service("s", "alive", |service| {
        service["state"] == "running" && service["probes"][0]["class"] == "alive"
    });
    assert_eq!(daemon.count("killed"), 0);
    fs::write(daemon.dir().join("wedge"), "").expect("a file");
    wait_until("killed", SOON, || !is_alive(pid(&before)));
    daemon.wait_service("s", "its next instance", |service| {
        service["life"] == 2 && service["state"] == "running"
    });
    assert_eq!(daemon.count("killed"), 1);
}
