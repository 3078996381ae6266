//! What a service may write into its sd_notify messages: a bad field costs only itself, and is logged once.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::notify::lines_with;
use super::support::service::{pid, python_service};
use super::support::wait_until;
use stayd::sys::process;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// A watchdog that kills after less than a second of silence.
const NOTIFY_PROBE: &str = "[service.s.watchdog]\nprobe = \"notify\"\ninterval = \"300ms\"\ntimeout = \"300ms\"\n\
                            failures = 3\nbusy_grace = \"0s\"";

#[test]
fn a_bad_field_costs_neither_the_other_fields_nor_the_service_and_is_logged_once() {
    let script = "send=lambda b:s.sendto(b,os.environ['NOTIFY_SOCKET'])\n\
                  send(b'READY=1\\nSTATUS=pr\\xe9t')\n\
                  while not os.path.exists('DIR/wedge'):\n  send(b'no field\\nWATCHDOG=1\\nSTATUS=pr\\xe9t\\n\\0')\n  time.sleep(0.05)\n\
                  os.remove('DIR/wedge')\n\
                  wait_file('never')";
    let daemon = Stayd::start(&python_service(script, NOTIFY_PROBE));
    let before = pid(&daemon.wait_state("s", "running"));
    let mut answers = BTreeSet::new();
    wait_until("it has answered more often than a kill needs", SOON, || {
        let service = daemon.service("s");
        assert_eq!(pid(&service), before, "{}", daemon.output());
        answers.insert(service["probes"][0]["last_ok_at"].to_string());
        answers.len() > 8
    });
    assert_eq!(daemon.count("killed"), 0);
    let warnings = lines_with(&daemon, "cannot read a field");
    assert_eq!(warnings, 1, "{}", daemon.output());
    assert_eq!(
        lines_with(&daemon, "pr\\xe9t"),
        1,
        "the bytes are escaped: {}",
        daemon.output()
    );
    fs::write(daemon.dir().join("wedge"), "").expect("a file");
    wait_until("killed after its messages have stopped", SOON, || {
        !is_alive(before)
    });
}

#[test]
fn a_message_that_is_too_long_is_ignored_and_logged_once() {
    let script = "for i in range(5): tell('READY=1\\nSTATUS='+'x'*5000)\n\
                  open('DIR/sent','w')\nwait_file('ready')\ntell('READY=1\\nSTATUS='+'x'*4000)\nwait_file('never')";
    let daemon = Stayd::start(&python_service(script, "sd_notify = true"));
    wait_until("sent", SOON, || daemon.dir().join("sent").exists());
    wait_until("logged", SOON, || lines_with(&daemon, "longer than") > 0);
    assert_eq!(daemon.service("s")["state"], "starting");
    fs::write(daemon.dir().join("ready"), "").expect("a file");
    daemon.wait_state("s", "running");
    assert_eq!(lines_with(&daemon, "longer than"), 1, "{}", daemon.output());
}

#[test]
fn an_extension_that_is_no_number_is_ignored_and_logged_once() {
    let script = "for bad in ('','-1','soon','1e6','99999999999999999999'): tell('EXTEND_TIMEOUT_USEC='+bad)\n\
                  tell('EXTEND_TIMEOUT_USEC=18446744073709551615\\nEXTEND_TIMEOUT_USEC=x\\nREADY=1')\nwait_file('never')";
    let daemon = Stayd::start(&python_service(script, "sd_notify = true"));
    daemon.wait_state("s", "running");
    let warnings = lines_with(&daemon, "EXTEND_TIMEOUT_USEC");
    assert_eq!(warnings, 1, "{}", daemon.output());
}

/// Without a port and a probe, only MAINPID= tells a server that has replaced itself from a process that it has left behind.
#[test]
fn a_process_that_mainpid_names_succeeds_a_server_of_any_age_and_another_one_does_not() {
    for named in [true, false] {
        // The startup budget is over when the main process ends.
        let script = format!(
            "tell('READY=1')\nchild=os.fork()\nif child==0:\n  time.sleep(1000)\n\
             open('DIR/child','w').write(str(child))\n{}\nwait_file('go')\nos._exit(0)",
            if named {
                "tell('MAINPID=%d' % child)"
            } else {
                ""
            }
        );
        let settings = "sd_notify = true\nstartup = { within = \"100ms\" }\nrestart = \"never\"";
        let daemon = Stayd::start(&python_service(&script, settings));
        let first = pid(&daemon.wait_state("s", "running"));
        let child = daemon.dir().join("child");
        wait_until("it has a child", SOON, || child.exists());
        let child = || fs::read_to_string(&child).ok()?.parse::<i32>().ok();
        wait_until("its pid is written", SOON, || child().is_some());
        daemon.wait_service("s", "older than its startup budget", |service| {
            service["state"] == "running" && service["pid"].as_i64() == Some(first.into())
        });
        let began = std::time::Instant::now();
        wait_until("the budget is over", SOON, || {
            began.elapsed().as_millis() > 300
        });
        fs::write(daemon.dir().join("go"), "").expect("a file");
        if named {
            daemon.wait_service("s", "has its successor", |service| {
                service["pid"].as_i64() == child().map(Into::into)
            });
        } else {
            daemon.wait_state("s", "stopped");
            let left = child().expect("a pid");
            wait_until("what it left is ended", SOON, || !is_alive(left));
        }
    }
}

#[test]
fn an_ordered_stop_leaves_neither_the_notify_socket_nor_its_folder() {
    let mut daemon = Stayd::start(&python_service(
        "tell('READY=1')\nwait_file('never')",
        "sd_notify = true",
    ));
    let main = pid(&daemon.wait_state("s", "running"));
    let socket = process::environment_value(main, "NOTIFY_SOCKET").expect("its environment");
    let socket = PathBuf::from(socket.expect("a notify socket"));
    assert!(socket.exists());
    assert_eq!(daemon.stop().code(), Some(0));
    let folder = socket.parent().expect("a folder");
    assert!(!folder.exists(), "{} is left", folder.display());
}
