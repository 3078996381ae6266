//! A service with many processes and descriptors costs the loop nothing: requests and other services are not delayed.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::pid;
use super::support::{wait_for, wait_until};
use stayd::sys::process;
use std::fs;
use std::time::{Duration, Instant};

/// The processes that leave the tree, and the descriptors that each duplicates.
const ORPHANS: usize = 20;
const DESCRIPTORS: usize = 10_000;
/// The most time for a request.
const REQUEST_MAX: Duration = Duration::from_secs(2);

/// Starts orphans in sessions of their own that carry only the token; each has a file open many times. Writes their pids to
/// DIR/pids.
fn hoarder() -> String {
    format!(
        "import os, resource, sys, time\n\
         hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
         resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n\
         child = '''import os, time\n\
         os.closerange(0, 64)\n\
         fd = os.open('DIR/stayd.toml', os.O_RDONLY)\n\
         for _ in range({DESCRIPTORS}): os.dup(fd)\n\
         open('DIR/pids', 'a').write(str(os.getpid()) + chr(10))\n\
         time.sleep(1000000)\n'''\n\
         for _ in range({ORPHANS}):\n\
         \x20 if os.fork() == 0:\n\
         \x20   os.setsid()\n\
         \x20   if os.fork() == 0: os.execv(sys.executable, ['python3', '-c', child])\n\
         \x20   os._exit(0)\n\
         \x20 os.wait()\n\
         time.sleep(1000000)\n"
    )
}

/// The orphans; killed when dropped, also where stayd cannot end them.
struct Orphans(Vec<i32>);

impl Drop for Orphans {
    fn drop(&mut self) {
        for stat in self.0.iter().flat_map(|&pid| process::stat(pid)) {
            let handle = process::Handle::open(stat.process);
            let _ = handle.and_then(|handle| handle.signal(libc::SIGKILL));
        }
    }
}

#[test]
fn a_service_with_many_descriptors_delays_no_request() {
    let command = serde_json::to_string(&["python3", "-c", &hoarder()]).expect("JSON is TOML here");
    let daemon = Stayd::start(&format!(
        "[service.s]\ncommand = {command}\nstop = {{ grace = \"300ms\" }}\n\
         [service.s.watchdog]\nprobe = \"exec:false\"\ninterval = \"300ms\"\nmode = \"shadow\"\n\
         [service.s.log]\nto = \"file\"\n[service.other]\ncommand = [\"sleep\", \"1000000\"]\n",
    ));
    let main = pid(&daemon.wait_state("other", "running"));
    let orphans = wait_for("all orphans have their descriptors", SOON, || {
        let text = fs::read_to_string(daemon.dir().join("pids")).unwrap_or_default();
        let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == ORPHANS).then(|| Orphans(pids))
    });
    let open = fs::read_dir(format!("/proc/{}/fd", orphans.0[0])).expect("its descriptors");
    assert!(open.count() > DESCRIPTORS);
    for _ in 0..10 {
        let asked_at = Instant::now();
        let answer = daemon.client(&["status"]);
        let took = asked_at.elapsed();
        assert!(took < REQUEST_MAX, "{took:?}: {answer:?}");
    }
    let answer = daemon.client(&["stop", "s"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    wait_until("all have ended", SOON, || {
        !orphans.0.iter().any(|&pid| is_alive(pid))
    });
    assert!(process::stat(main).is_ok(), "the other service runs on");
}
