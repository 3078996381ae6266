//! A log folder that never answers delays neither the loop nor a kill.

use crate::support::daemon::{SOON, Stayd, is_alive};
use crate::support::hung_mount::HungMount;
use crate::support::service::pid;
use crate::support::{require_root, wait_until};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// The most time for a request that needs no log, the start of the client included.
const REQUEST_MAX: Duration = Duration::from_secs(2);
/// A service that writes one line and answers as long as the file `ok` exists.
const CONFIG: &str = "[service.s]\ncommand = [\"sh\", \"-c\", \"echo hello; exec sleep 1000000\"]\nlog = { to = \"file\" }\n\
                      [service.s.watchdog]\nprobe = \"exec:test -e DIR/ok\"\ninterval = \"1s\"\ntimeout = \"1s\"\nbusy_grace = \"0s\"\n";

fn start() -> Stayd {
    let stayd = Stayd::start_with(CONFIG, |command| {
        let dir = command.get_current_dir().expect("a folder");
        fs::write(dir.join("ok"), "").expect("a file");
    });
    stayd.wait_service("s", "its probe is answered", |s| s["healthy"] == true);
    wait_until("its line is in the log", SOON, || {
        stayd.client(&["logs", "s"]).out == "hello\n"
    });
    stayd
}

/// Asks stayd for the log over the control socket; the whole answer. (The verb reads the files itself.)
fn ask_for_log(stayd: &Stayd) -> String {
    let request = "GET /v1/services/s/logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut socket =
        UnixStream::connect(stayd.state_dir().join("control.sock")).expect("connected");
    socket.set_read_timeout(Some(SOON)).expect("set");
    socket.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
#[ignore = "needs root"]
fn a_request_for_a_log_that_hangs_fails_and_delays_no_other_request() {
    require_root();
    let stayd = start();
    let hung = HungMount::over(&stayd.state_dir().join("logs/s"));
    std::thread::scope(|scope| {
        let requests = [(); 4].map(|()| scope.spawn(|| ask_for_log(&stayd)));
        while !requests.iter().all(ScopedJoinHandle::is_finished) {
            let asked_at = Instant::now();
            let answer = stayd.client(&["status"]);
            let took = asked_at.elapsed();
            assert!(took < REQUEST_MAX, "{took:?}: {answer:?}");
        }
        for request in requests {
            let answer = request.join().expect("no panic");
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.contains("did not answer within"), "{answer}");
        }
    });
    // However many requests there were, one thread hangs.
    let tasks = fs::read_dir(format!("/proc/{}/task", stayd.pid())).expect("threads");
    let names = tasks.map(|task| fs::read_to_string(task.expect("one").path().join("comm")));
    let reading = names.filter(|name| name.as_ref().is_ok_and(|name| name == "logs\n"));
    assert_eq!(reading.count(), 1);
    drop(hung);
    wait_until("the log can be read again", SOON, || {
        ask_for_log(&stayd).contains("hello")
    });
}

#[test]
#[ignore = "needs root"]
fn a_log_that_hangs_delays_no_kill_and_keeps_no_other_evidence_back() {
    require_root();
    let stayd = start();
    let process = pid(&stayd.service("s"));
    let hung = HungMount::over(&stayd.state_dir().join("logs/s"));
    fs::remove_file(stayd.dir().join("ok")).expect("removed");
    wait_until("the service is killed", SOON, || !is_alive(process));
    // The next instance needs the folder.
    drop(hung);
    wait_until("there is an incident", SOON, || {
        let incidents = stayd.client(&["incidents", "--json"]).out;
        incidents.contains("no time was left for: last output") && incidents.contains("thread")
    });
}
