//! What excuses a silent service for a while: a host that others overload, its own quota; and what never concerns its
//! life: its readiness.

use super::faults::{clinic, pid};
use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::{Cgroup, free_port, http_get, victim, wait_until};
use std::fs;
use std::process::{Child, Command};

/// More than the processors can take, each with the least of rights to them, so that other tests go on.
struct Crowd(Vec<Child>);

impl Crowd {
    fn gather() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let spin = || {
            let mut command = Command::new("nice");
            command.args(["-n", "19"]).arg(victim()).arg("spin");
            command.spawn().expect("nice")
        };
        Self((0..processors * 4).map(|_| spin()).collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for one in &mut self.0 {
            let _ = one.kill();
            let _ = one.wait();
        }
    }
}

/// A python service of `handler` lines, which see `self.path`, in the place of the clinic.
fn python(port: u16, handler: &str, config: &str) -> String {
    let program = format!(
        "import os,time\nfrom http.server import *\nclass H(BaseHTTPRequestHandler):\n  def do_GET(self):\n{handler}\n    self.send_response(200);self.end_headers()\n  def log_message(self,*a): pass\nHTTPServer(('127.0.0.1',{port}),H).serve_forever()"
    );
    let own = format!("[\"{}\", \"clinic\", \"{port}\"]", victim().display());
    let argv = serde_json::to_string(&["python3", "-c", &program]).expect("JSON is TOML here");
    config.replace(&own, &argv)
}

fn was_spared(daemon: &Stayd, words: &str) -> bool {
    daemon.events().iter().any(|event| {
        event["kind"] == "spared"
            && event["message"]
                .as_str()
                .is_some_and(|said| said.contains(words))
    })
}

#[test]
fn item_12_others_who_overload_the_host_hold_the_kill_and_no_longer_than_its_ceiling() {
    let port = free_port();
    let config = clinic("s", port, "", "")
        .replace("timeout = \"200ms\"", "timeout = \"400ms\"")
        .replace("busy_grace = \"0s\"", "busy_grace = \"2s\"");
    let daemon = Stayd::start(&config);
    let subject = pid(&daemon.wait_state("s", "running"));
    let crowd = Crowd::gather();
    http_get(port, "/wedge").expect("the wedge");
    wait_until("spared for the host's sake", SOON, || {
        was_spared(&daemon, "the host is overloaded by others")
    });
    assert!(is_alive(subject));
    drop(crowd);
    wait_until("a wedge is found all the same", SOON, || !is_alive(subject));
}

#[test]
fn item_13_its_own_quota_excuses_a_service_for_its_grace_and_is_named() {
    let Some(group) = Cgroup::of_controller("cpu", "quota") else {
        return; // only who may set quotas can see this
    };
    group.set("cpu.cfs_period_us", "20000");
    group.set("cpu.cfs_quota_us", "2000");
    let port = free_port();
    let config = clinic("s", port, "", "").replace("busy_grace = \"0s\"", "busy_grace = \"3s\"");
    let handler = "    while self.path=='/spin': pass";
    let daemon = Stayd::start(&python(port, handler, &config));
    let subject = pid(&daemon.wait_state("s", "running"));
    group.set("cgroup.procs", &subject.to_string());
    let asking = std::thread::spawn(move || http_get(port, "/spin"));
    wait_until("spared for its quota's sake", SOON, || {
        was_spared(&daemon, "throttled by its own CPU quota")
    });
    assert!(is_alive(subject));
    wait_until("the grace has an end", SOON, || !is_alive(subject));
    let _ = asking.join();
}

#[test]
fn item_20_a_dependency_that_is_down_takes_readiness_and_never_the_life() {
    let port = free_port();
    let config = clinic("s", port, "startup = { within = \"500ms\" }", "")
        + &format!("[service.s.ready]\nprobe = \"http://127.0.0.1:{port}/ready\"\n");
    let handler = "    if self.path=='/ready' and not os.path.exists('DIR/dependency'):\n      self.send_response(503);self.end_headers();return";
    let daemon = Stayd::start(&python(port, handler, &config));
    let unready = daemon.wait_service("s", "alive, and not ready in time", |service| {
        service["reason"]
            .as_str()
            .is_some_and(|said| said.contains("not ready within"))
            && service["probes"][0]["class"] == "alive"
    });
    assert_eq!(unready["healthy"], false);
    fs::write(daemon.dir().join("dependency"), "").expect("a file");
    let ready = daemon.wait_service("s", "healthy", |service| service["healthy"] == true);
    assert_eq!(pid(&ready), pid(&unready));
    assert_eq!(
        (ready["life"].as_u64(), daemon.count("killed")),
        (Some(1), 0)
    );
}
