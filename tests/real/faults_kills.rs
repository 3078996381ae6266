//! What comes before a kill and what may be mistaken for one: dumps, evidence, the first signal, the OOM killer.

use super::faults::{clinic, pid};
use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::{Cgroup, free_port, http_get, victim, wait_until};
use std::fs;
use std::time::{Duration, Instant, SystemTime};

/// gcore, as people take dumps: the process stands still until it is written.
#[test]
fn item_10_a_dump_of_a_healthy_service_costs_it_nothing() {
    let port = free_port();
    let daemon = Stayd::start(&clinic("s", port, "", ""));
    let subject = pid(&daemon.wait_state("s", "running"));
    let tracer = Tracer::stop(subject);
    daemon.wait_service("s", "void", |service| {
        service["probes"][0]["class"] == "void"
    });
    let reason = daemon.service("s")["reason"].clone();
    assert!(
        reason
            .as_str()
            .is_some_and(|said| said.contains("not judged")),
        "{reason}"
    );
    let clock = Instant::now();
    wait_until("many times what would condemn", SOON, || {
        clock.elapsed() > Duration::from_secs(3)
    });
    tracer.release();
    let after = daemon.wait_service("s", "alive", |service| {
        service["probes"][0]["class"] == "alive"
    });
    assert_eq!(pid(&after), subject);
    assert_eq!(daemon.count("killed"), 0);
}

/// Our own evidence stops the service; a hold that comes meanwhile must find no round of that time against it.
#[test]
fn item_10_the_time_of_the_evidence_is_held_against_nobody() {
    let port = free_port();
    let more = "evidence = [\"sh\", \"-c\", \"touch DIR/evidence; sleep 2\"]\nfailures = 2";
    let config = clinic("s", port, "", more).replacen("failures = 3\n", "", 1);
    let daemon = Stayd::start(&config);
    let subject = pid(&daemon.wait_state("s", "running"));
    http_get(port, "/wedge").expect("the wedge");
    let evidence = daemon.dir().join("evidence");
    wait_until("evidence is taken", SOON, || evidence.exists());
    let held = daemon.client(&["hold", "s", "--for", "10m", "--reason", "dump"]);
    assert_eq!(held.code, Some(0), "{held:?}");
    let reprieved = daemon.service("s");
    assert_eq!(pid(&reprieved), subject);
    let reason = reprieved["reason"].as_str().expect("a reason").to_owned();
    assert!(
        reason.contains("a hold came before the SIGKILL") || reason.contains("no answer"),
        "{reason}"
    );
    wait_until("spared by the hold, round after round", SOON, || {
        daemon.events().iter().any(|event| {
            event["kind"] == "spared"
                && event["message"]
                    .as_str()
                    .is_some_and(|said| said.contains("held (dump)"))
        })
    });
    assert!(is_alive(subject));
}

#[test]
fn item_31_the_first_signal_has_its_whole_grace_and_an_end_within_it_is_taken_at_once() {
    const GRACE: Duration = Duration::from_secs(1);
    let port = free_port();
    // Deaf to the first QUIT; in its second life it obeys.
    let python = format!(
        "import os,signal,http.server,time\nlife=int(os.environ['STAYD_LIFE'])\ndef quit(*a):\n  open('DIR/first%d'%life,'w').write(repr(time.time()))\n  if life>1: os._exit(3)\nsignal.signal(signal.SIGQUIT,quit)\nclass H(http.server.BaseHTTPRequestHandler):\n  def do_GET(self):\n    if self.path=='/wedge':\n      while True: time.sleep(60)\n    self.send_response(200);self.end_headers()\n  def log_message(self,*a): pass\nhttp.server.HTTPServer(('127.0.0.1',{port}),H).serve_forever()"
    );
    let argv = serde_json::to_string(&["python3", "-c", &python]).expect("JSON is TOML here");
    let own = format!("[\"{}\", \"clinic\", \"{port}\"]", victim().display());
    let more = "first = { signal = \"QUIT\", grace = \"1s\" }";
    let daemon = Stayd::start(&clinic("s", port, "", more).replace(&own, &argv));
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
        let heard = said.expect("it heard the signal").parse().expect("seconds");
        let heard = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(heard);
        ended.duration_since(heard).expect("in this order")
    };
    let deaf = wedge(1);
    assert!(deaf > GRACE - Duration::from_millis(50), "only {deaf:?}");
    let killed = daemon.wait_service("s", "its next life", |service| service["life"] == 2);
    assert_eq!(killed["last_exit"]["signal"], "KILL");
    let obedient = wedge(2);
    assert!(obedient < GRACE, "its end was not waited for: {obedient:?}");
    let ended = daemon.wait_service("s", "its third life", |service| service["life"] == 3);
    assert_eq!(ended["last_exit"]["code"], 3);
}

#[test]
fn item_45_a_service_that_the_oom_killer_ends_is_said_to_be_out_of_memory() {
    let Some(group) = Cgroup::of_controller("memory", "oom") else {
        return; // only who may limit memory can see this
    };
    group.set("memory.limit_in_bytes", "33554432");
    let script = "import time\nimport os\nwhile not os.path.exists('DIR/eat'): time.sleep(0.02)\nos.remove('DIR/eat')\nx=[]\nwhile True: x.append(bytearray(1<<20))";
    let argv = serde_json::to_string(&["python3", "-c", script]).expect("JSON is TOML here");
    let config = format!("[service.s]\ncommand = {argv}\nbackoff = {{ min = \"10ms\" }}\n");
    let daemon = Stayd::start(&config);
    let subject = pid(&daemon.wait_state("s", "running"));
    group.set("cgroup.procs", &subject.to_string());
    fs::write(daemon.dir().join("eat"), "").expect("a file");
    let after = daemon.wait_service("s", "its next life", |service| service["life"] == 2);
    assert_eq!(after["last_exit"]["signal"], "KILL");
    let why = daemon.client(&["why", "s"]);
    assert!(why.out.contains("out of memory"), "{why:?}");
}

/// Holds a process as a debugger does; the kernel lets only the thread that seized it let it go.
struct Tracer(i32);

#[expect(unsafe_code, reason = "ptrace(2)")]
impl Tracer {
    fn stop(pid: i32) -> Self {
        for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
            // SAFETY: numbers only, about a process of this test's.
            let result = unsafe { libc::ptrace(request, pid, 0, 0) };
            assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        }
        Self(pid)
    }

    fn release(self) {
        // PTRACE_DETACH wants a tracee that has come to its stop.
        wait_until("it lets go", SOON, || {
            // SAFETY: as above.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) == 0 }
        });
    }
}
