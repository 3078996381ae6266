//! `stayd explain`: the identity of a process, the ownership evidence and what stayd does with it.

use crate::daemon::{Daemon, LONG, output_of, run, stayd};
use crate::wait::{TempDir, free_port, wait_for, wait_until};
use serde_json::{Value, json};
use stayd::act::claims::{Claim, ClaimFile, Claims, Token};
use stayd::act::dirs::state_dir::StateDir;
use stayd::sys::process::{self, Handle, Process};
use stayd::sys::{identity, socket};
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The uid of a user that does not run the tests: the unprivileged user of most systems.
const ANOTHER_UID: u32 = 65534;

/// A process that stayd did not start. Dropping it kills it.
struct ForeignProcess(Child);

impl ForeignProcess {
    /// A `sleep` with this `stdin`.
    fn with(stdin: Stdio) -> Self {
        let mut command = Command::new("sleep");
        Self(command.arg("1000").stdin(stdin).spawn().expect("sleep"))
    }

    fn process(&self) -> Process {
        let pid = self.0.id().cast_signed();
        process::stat(pid).expect("it sleeps").process
    }
}

impl Drop for ForeignProcess {
    fn drop(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("reaped");
    }
}

/// The exit status and the JSON of `stayd explain what`.
fn explained(state: &str, what: &str) -> (i32, Value) {
    let (status, out, err) = run(&["explain", what, "--json", "--state-dir", state]);
    (
        status,
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}")),
    )
}

/// A claim of life 1 of `db` that names `main` as its main process.
fn claim_that_names(main: Process) -> Claim {
    Claim {
        pid: Some(main.pid),
        start_time: Some(main.start_time),
        boot_id: identity::boot_id().expect("a boot"),
        pid_ns: identity::pid_namespace(),
        token: Token::fresh().expect("random"),
        life: 1,
        claim_fd_number: Some(3),
        claim_fd: ClaimFile {
            dev: 1,
            inode: 1,
            created: 0,
        },
        first: None,
        ready: false,
        ending: false,
        ended: None,
        uid: Some(identity::euid()),
        members: Vec::new(),
        program: "sleep".into(),
        command_key: None,
        user: None,
        env_key: None,
        fingerprint: None,
        runtime: None,
        workspace: "/".into(),
        port: None,
        started_at: None,
    }
}

/// A state folder with this claim of `db`, and no daemon.
fn state_with_claim(claim: Claim) -> (TempDir, String) {
    let folder = TempDir::new();
    let root = folder.join("state");
    let state = StateDir::open(&root, None).expect("a state folder");
    Claims::new(&state)
        .record_intent("db", claim)
        .expect("written");
    (folder, root.to_str().expect("UTF-8").to_owned())
}

#[test]
fn explain_announces_the_adoption_of_a_process_that_a_killed_stayd_left() {
    let folder = TempDir::new();
    let state = folder.join("state");
    let state = state.to_str().expect("UTF-8");
    let words = ["--foreground", "--state-dir", state, "--name", "test"];
    let mut daemon = stayd(&words);
    daemon.args(["--", "sleep", "1000"]);
    let mut daemon = daemon
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("stayd starts");
    let service = wait_for("the service", LONG, || {
        let (_, out, _) = run(&["status", "--json", "--state-dir", state]);
        let status: Value = serde_json::from_str(&out).ok()?;
        status["services"][0]["pid"].as_i64()
    });
    let pid = service.to_string();
    let (status, kept) = explained(state, &pid);
    let claim = &kept["processes"][0]["claims"][0];
    assert_eq!((status, claim["outcome"].as_str()), (0, Some("kept")));
    assert_eq!(kept["processes"][0]["kept_by"], "stayd");
    let (_, own) = explained(state, &daemon.id().to_string());
    assert_eq!(own["processes"][0]["stayd_of"], "test");

    daemon.kill().expect("SIGKILL");
    daemon.wait().expect("reaped");
    let (status, left) = explained(state, &pid);
    let claim = &left["processes"][0]["claims"][0];
    assert_eq!((status, claim["outcome"].as_str()), (0, Some("adopt")));
    assert_eq!(claim["service"], "sleep");
    let marks = json!({
        "main": true, "parentage": false, "member": false, "cgroup": false, "session": true,
        "claim-fd": true, "token": true,
    });
    assert_eq!(claim["marks"], marks);
    let main = process::stat(pid.parse().expect("a pid")).expect("it runs");
    let ended = Handle::open(main.process).and_then(|handle| handle.signal(9));
    ended.expect("SIGKILL");
}

#[test]
fn a_foreign_process_on_the_port_is_a_conflict_with_and_without_a_daemon() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = holder.local_addr().expect("bound").port();
    let config =
        format!("name = \"test\"\n[service.web]\ncommand = [\"sleep\", \"1000\"]\nport = {port}\n");
    let folder = TempDir::new();
    let file = folder.join("test.toml");
    fs::write(&file, &config).expect("written");
    let file = file.to_str().expect("UTF-8");
    let state = folder.join("state");
    let state = state.to_str().expect("UTF-8");
    let what = format!(":{port}");
    let words = ["explain", &what, "-c", file, "--state-dir", state];
    let (status, out, err) = run(&words);
    assert_eq!((status, err.as_str()), (1, ""), "{out}");
    assert!(
        out.starts_with(&format!("pid {}  ", std::process::id())),
        "{out}"
    );
    for part in [
        "  user ",
        "  started ",
        "  parents ",
        "  session ",
        "  kept by ",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(
        out.contains("Nothing proves that it belongs to web"),
        "{out}"
    );
    assert!(out.contains("web would be blocked until"), "{out}");

    let mut daemon = stayd(&["--foreground", "-c", file, "--state-dir", state])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("stayd starts");
    let stays = || run(&words).1.contains("web stays blocked until");
    wait_until("the running stayd reports the conflict", LONG, stays);
    let us = std::process::id().to_string();
    let (status, answer) = explained(state, &us);
    let claim = &answer["processes"][0]["claims"][0];
    assert_eq!((status, claim["outcome"].as_str()), (1, Some("conflict")));
    let pid = daemon.id().cast_signed();
    let process = process::stat(pid).expect("it runs").process;
    let signalled = Handle::open(process).and_then(|handle| handle.signal(15));
    signalled.expect("SIGTERM");
    daemon.wait().expect("reaped");
    drop(holder);
    let (status, out, _) = run(&words);
    assert_eq!(status, 0);
    assert!(out.ends_with("It is free for test/web.\n"), "{out}");
}

#[test]
fn every_holder_of_a_port_is_named() {
    let both = TcpListener::bind("[::]:0").expect("a port");
    let port = both.local_addr().expect("bound").port();
    let also = TcpListener::bind(("127.0.0.2", port));
    let shared = both.try_clone().expect("a second descriptor");
    let worker = ForeignProcess::with(OwnedFd::from(shared).into());
    let folder = TempDir::new();
    let (status, answer) = explained(folder.path().to_str().expect("UTF-8"), &format!(":{port}"));
    assert_eq!(status, 0);
    let holders = answer["processes"].as_array().expect("a list");
    let of = |pid: i64| {
        let mut holders = holders.iter();
        holders.find(|holder| holder["pid"] == pid).expect("named")["addresses"].clone()
    };
    assert_eq!(
        of(worker.process().pid.into()),
        json!([format!("[::]:{port}")])
    );
    let ours = of(i64::from(std::process::id()));
    let count = 1 + usize::from(also.is_ok());
    assert_eq!(ours.as_array().map(Vec::len), Some(count), "{ours}");
}

#[test]
fn a_forged_claim_with_the_right_start_time_proves_nothing() {
    let innocent = ForeignProcess::with(Stdio::null());
    let (_folder, state) = state_with_claim(claim_that_names(innocent.process()));
    let pid = innocent.process().pid.to_string();
    let (status, out, _) = run(&["explain", &pid, "--state-dir", &state]);
    assert_eq!(status, 1, "{out}");
    assert!(
        out.contains("names exactly this process, but it shows no evidence of that instance")
            && out.contains("stayd never signals it"),
        "{out}"
    );
}

#[test]
fn a_reused_pid_is_recognized_by_its_start_time() {
    let innocent = ForeignProcess::with(Stdio::null());
    let Process { pid, start_time } = innocent.process();
    let earlier = Process {
        pid,
        start_time: start_time - 1,
    };
    let (_folder, state) = state_with_claim(claim_that_names(earlier));
    let (status, answer) = explained(&state, &pid.to_string());
    let claim = &answer["processes"][0]["claims"][0];
    let reported = (claim["standing"].as_str(), claim["outcome"].as_str());
    assert_eq!(
        (status, reported),
        (0, (Some("number-reused"), Some("nothing")))
    );
}

#[test]
fn a_claim_of_another_pid_namespace_names_no_process_here() {
    let innocent = ForeignProcess::with(Stdio::null());
    let mut claim = claim_that_names(innocent.process());
    claim.pid_ns += 1;
    let (_folder, state) = state_with_claim(claim);
    let (status, answer) = explained(&state, &innocent.process().pid.to_string());
    let claim = &answer["processes"][0]["claims"][0];
    let reported = (claim["standing"].as_str(), claim["outcome"].as_str());
    assert_eq!(
        (status, reported),
        (0, (Some("of-elsewhere"), Some("nothing")))
    );
}

#[test]
fn an_incomplete_claim_is_reported_and_ignored() {
    let innocent = ForeignProcess::with(Stdio::null());
    let (_folder, state) = state_with_claim(claim_that_names(innocent.process()));
    let file = format!("{state}/claims/db.json");
    let text = fs::read_to_string(&file).expect("a claim");
    fs::write(&file, &text[..text.len() / 2]).expect("torn");
    let pid = innocent.process().pid.to_string();
    let (status, out, _) = run(&["explain", &pid, "--state-dir", &state]);
    assert_eq!(status, 0, "{out}");
    let remark = "The claim of state/db is not valid (it is torn: its end is missing)";
    assert!(out.contains(remark), "{out}");
}

#[test]
fn a_free_port_is_0_a_missing_process_is_1_and_an_invalid_argument_is_2() {
    let folder = TempDir::new();
    let state = folder.path().to_str().expect("UTF-8");
    let free = format!(":{}", free_port());
    let (status, answer) = explained(state, &free);
    assert_eq!((status, &answer["processes"]), (0, &json!([])));
    let (status, out, _) = run(&["explain", "2147483647", "--state-dir", state]);
    assert_eq!(status, 1);
    assert!(out.starts_with("There is no process 2147483647"), "{out}");
    for nonsense in ["db", ":0", "0"] {
        let (status, out, err) = run(&["explain", nonsense, "--state-dir", state]);
        assert_eq!((status, out.as_str()), (2, ""), "{nonsense}");
        assert!(err.starts_with("stayd: cannot explain "), "{err}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_hidden_holder_is_4_and_the_text_says_which_user_may_see_it() {
    assert_eq!(identity::euid(), 0, "this test needs root");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    assert!(socket::lists_all_users());
    let folder = TempDir::new();
    // Other users may not enter the folder of the program.
    let program = folder.join("stayd");
    fs::copy(env!("CARGO_BIN_EXE_stayd"), &program).expect("copied");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    let mut command = Command::new(program);
    command
        .args([
            "explain",
            &format!(":{port}"),
            "--state-dir",
            "/nonexistent",
        ])
        .stdin(Stdio::null())
        .current_dir("/");
    let asked = command.uid(ANOTHER_UID).gid(ANOTHER_UID).output();
    let (status, out, err) = output_of(asked.expect("stayd starts"));
    assert_eq!((status, err.as_str()), (4, ""), "{out}");
    let sentence = format!("127.0.0.1:{port} is held by a process of uid 0 that is not visible");
    assert!(out.starts_with(&sentence), "{out}");
}

#[test]
fn explain_uses_the_claims_if_the_daemon_does_not_answer() {
    let daemon = Daemon::start(&["sleep", "1000"]);
    let pid = daemon.service()["pid"].to_string();
    let process = process::stat(daemon.child.id().cast_signed()).expect("it runs");
    let handle = Handle::open(process.process).expect("a handle");
    handle.signal(libc::SIGSTOP).expect("stopped");
    let asked_at = Instant::now();
    let (status, out, err) = daemon.ask(&["explain", &pid]);
    let took = asked_at.elapsed();
    handle.signal(libc::SIGCONT).expect("continued");
    assert_eq!(status, 0, "{out}{err}");
    assert!(
        err.contains("no answer within 5 s; using its claims"),
        "{err}"
    );
    let supervised = format!("which stayd (pid {}) supervises", daemon.child.id());
    assert!(out.contains(&supervised), "{out}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}
