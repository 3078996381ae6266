//! A flood of sd_notify messages to one service delays no other one: a wedged service is still killed, and stayd answers.

use super::support::notify::{Flood, Running, flood, lines_with, notify_socket, sender};
use super::support::service::python_service;
use super::support::watchdog::WithCanary;
use super::support::{PYTHON, SOON, free_port, require_root, wait_until};
use std::fs;

/// The service has a tree of 200 processes, which makes each walk of the tree expensive. Its `script` runs after READY=1.
fn with_large_tree(script: &str) -> WithCanary {
    let script = format!(
        "for i in range(200):\n  if os.fork()==0:\n    while True: time.sleep(1000)\ntell('READY=1')\n{script}\nwait_file('never')"
    );
    let config = python_service(&script, "sd_notify = true");
    let config = config.replacen("python3", PYTHON, 1);
    WithCanary::of(free_port(), &config, |_| {})
}

/// The canary is killed while the flood lasts, more than once, and the flooded service is left alone.
fn assert_delays_no_kill(both: &WithCanary, flood: Running) {
    for _ in 0..3 {
        both.assert_outlives_canary();
    }
    drop(flood);
}

#[test]
fn a_flood_from_a_process_outside_the_tree_delays_no_kill() {
    let both = with_large_tree("");
    let flood = flood(None, both.subject, Flood::OneProcess);
    assert_delays_no_kill(&both, flood);
}

#[test]
fn a_flood_from_ever_new_processes_delays_no_kill() {
    let both = with_large_tree("");
    let flood = flood(None, both.subject, Flood::NewProcesses);
    assert_delays_no_kill(&both, flood);
}

#[test]
#[ignore = "needs root"]
fn a_flood_from_another_user_delays_no_kill() {
    require_root();
    let both = with_large_tree("");
    let flood = flood(Some("nobody"), both.subject, Flood::OneProcess);
    assert_delays_no_kill(&both, flood);
}

#[test]
fn a_flood_from_a_worker_of_the_service_delays_no_kill_of_another_service() {
    let worker = "if os.fork()==0:\n  wait_file('flood')\n  s.setblocking(False)\n  while True:\n    try: tell('READY=1\\nSTATUS=x')\n\
                  \x20   except BlockingIOError: open('DIR/full','w')";
    let both = with_large_tree(worker);
    let file = |name: &str| both.daemon.dir().join(name);
    fs::write(file("flood"), "").expect("a file");
    wait_until("the queue is full", SOON, || file("full").exists());
    for _ in 0..3 {
        both.assert_outlives_canary();
    }
}

/// The service reports every 50 ms without waiting for room, and the queue is full of messages of other processes.
#[test]
fn a_service_whose_messages_are_kept_out_by_others_is_not_killed() {
    let script = "s.setblocking(False)\ntell('READY=1')\nwhile True:\n  try: tell('WATCHDOG=1')\n  except BlockingIOError: pass\n\
                  \x20 time.sleep(0.05)";
    let watchdog = "[service.s.watchdog]\nprobe = \"notify\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\nfailures = 3\n\
                    busy_grace = \"0s\"";
    let both = WithCanary::of(free_port(), &python_service(script, watchdog), |_| {});
    both.wait_probe_class("alive");
    let floods = [(); 2].map(|()| flood(None, both.subject, Flood::OneProcess));
    wait_until("an attempt gives no verdict", SOON, || {
        lines_with(&both.daemon, "flood its notify socket") > 0
    });
    for _ in 0..3 {
        both.assert_outlives_canary();
    }
    drop(floods);
    both.wait_probe_class("alive");
}

/// Sends as much as goes in for three seconds after the queue was full, and prints how much and how long.
const COUNTED: &str = "\
import select, time
s.connect(to)
s.setblocking(False)
def send_until_full():
    count = 0
    try:
        while True:
            s.send(b'READY=1\\nWATCHDOG=1\\nEXTEND_TIMEOUT_USEC=1')
            count += 1
    except BlockingIOError: return count
send_until_full()
began = time.monotonic()
count = 0
while time.monotonic() < began + 3:
    count += send_until_full()
    select.select([], [s], [], 0.1)
print(count, time.monotonic() - began)
";

#[test]
fn stayd_reads_a_bounded_number_of_messages_per_second() {
    const PER_SECOND_MAX: f64 = 2000.0;
    // what may come in one burst, and fill the queue
    const MORE_MAX: f64 = 1000.0;
    let both = with_large_tree("");
    let mut sender = sender(None, &notify_socket(both.subject), COUNTED);
    let output = sender.output().expect("a sender").stdout;
    let output = String::from_utf8(output).expect("text");
    let numbers = output.split_whitespace().map(str::parse);
    let numbers: Vec<f64> = numbers.collect::<Result<_, _>>().expect("two numbers");
    let [count, seconds] = numbers[..] else {
        panic!("{output}")
    };
    let max = PER_SECOND_MAX * seconds + MORE_MAX;
    assert!(count > 0.0 && count < max, "{count} in {seconds} s");
}
