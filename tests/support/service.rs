//! A simple service in a configuration, and what tests do with its process and its claim.

use super::daemon::Stayd;
use super::{SOON, test_service, tool, wait_until};
use serde_json::Value;
use stayd::sys::process;
use std::fs;
use std::process::{Child, Stdio};

/// The service `s`, which runs the test service with these words, with `more` lines in its table.
pub(crate) fn service(words: &str, more: &str) -> String {
    let mut argv = vec![test_service().display().to_string()];
    argv.extend(words.split(' ').map(str::to_owned));
    let argv = serde_json::to_string(&argv).expect("JSON is TOML here");
    format!(
        "[service.s]\ncommand = {argv}\nbackoff = {{ min = \"10ms\" }}\nstop = {{ grace = \"300ms\" }}\n{more}\n[service.s.log]\nto = \"file\"\n"
    )
}

/// The pid of a service as `status --json` shows it.
pub(crate) fn pid(service: &Value) -> i32 {
    i32::try_from(service["pid"].as_i64().expect("a pid")).expect("a pid")
}

/// Sends SIGKILL.
pub(crate) fn kill(pid: i32) {
    let signal = nix::sys::signal::Signal::SIGKILL;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("kill");
}

/// All descendants of a process.
pub(crate) fn descendants(pid: i32) -> Vec<i32> {
    let mut found = process::children(pid).expect("its children");
    let below: Vec<i32> = found.iter().flat_map(|&child| descendants(child)).collect();
    found.extend(below);
    found
}

/// Waits until the process has a child, and returns the first.
pub(crate) fn wait_for_child(pid: i32) -> i32 {
    let mut child = None;
    wait_until("it has a child", SOON, || {
        child = descendants(pid).first().copied();
        child.is_some()
    });
    child.expect("a child")
}

/// Changes the claim of the service `s`, and computes its checksum as stayd does (64-bit FNV-1a).
pub(crate) fn forge(daemon: &Stayd, change: impl FnOnce(&mut Value)) {
    let path = daemon.state_dir().join("claims/s.json");
    let text = fs::read_to_string(&path).expect("the claim");
    let mut claim: Value = serde_json::from_str(&text).expect("JSON");
    claim.as_object_mut().expect("an object").remove("checksum");
    change(&mut claim);
    let body = claim.to_string();
    let body = body.strip_suffix('}').expect("an object");
    let checksum = body.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    fs::write(
        &path,
        format!("{body},\"checksum\":\"{checksum:016x}\"}}\n"),
    )
    .expect("forged");
}

/// Traces the process with strace until the tracer is killed.
pub(crate) fn strace_process(pid: i32) -> Child {
    tool("strace")
        .args(["-o", "/dev/null", "-p", &pid.to_string()])
        .stderr(Stdio::null())
        .spawn()
        .expect("strace")
}

/// The service `s`, a Python program. Its script has `tell(TEXT)`, which sends to NOTIFY_SOCKET, and `wait_file(NAME)`, which
/// waits for a file in the test's folder. `more` is further lines of its table.
pub(crate) fn python_service(script: &str, more: &str) -> String {
    let program = format!(
        "import os,socket,time\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ntell=lambda t:s.sendto(t.encode(),os.environ['NOTIFY_SOCKET'])\ndef wait_file(n):\n  while not os.path.exists('DIR/'+n): time.sleep(0.02)\n{script}"
    );
    let argv = serde_json::to_string(&["python3", "-c", &program]).expect("JSON is TOML here");
    format!(
        "[service.s]\ncommand = {argv}\nbackoff = {{ min = \"10ms\" }}\nstop = {{ grace = \"200ms\" }}\n{more}\n"
    )
}
