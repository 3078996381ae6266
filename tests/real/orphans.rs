//! Orphans with no ownership evidence but the token in their environment, or none at all, beside those of another
//! service.

use super::support::daemon::{SOON, Stayd};
use super::support::service::kill;
use super::support::{TempDir, tool, wait_until};
use std::path::{Path, PathBuf};

/// Two services, each of which leaves an orphan in another session without a descriptor of its instance.
fn config(dir: &Path) -> String {
    let service = |name: &str| {
        let orphan = dir.join(name).display().to_string();
        format!(
            "[service.{name}]\ncommand = [\"sh\", \"-c\", \"(setsid {orphan} 100000 >/dev/null 2>&1 3>&- &); exec sleep 100000\"]\n\
             backoff = {{ min = \"10ms\" }}\nstop = {{ grace = \"300ms\" }}\n"
        )
    };
    service("one") + &service("two")
}

/// A folder with a program for the orphans of each service.
fn programs() -> TempDir {
    let dir = TempDir::new();
    for name in ["one", "two"] {
        std::fs::copy("/bin/sleep", dir.join(name)).expect("a copy");
    }
    dir
}

fn alive(program: &Path) -> usize {
    let path = program.display().to_string();
    let found = tool("pgrep").args(["-fc", &format!("^{path} ")]).output();
    let count = String::from_utf8_lossy(&found.expect("pgrep").stdout)
        .trim()
        .to_owned();
    count.parse().expect("a number")
}

#[test]
fn a_restart_ends_the_orphan_of_its_own_service_and_of_no_other() {
    let dir = programs();
    let mut daemon = Stayd::start(&config(dir.path()));
    let (one, two) = (dir.join("one"), dir.join("two"));
    wait_until("both have left an orphan", SOON, || {
        alive(&one) == 1 && alive(&two) == 1
    });
    for life in 2..6_u64 {
        assert_eq!(daemon.client(&["restart", "one"]).code, Some(0));
        daemon.wait_service("one", "its next instance", |service| {
            service["life"] == life && service["state"] == "running"
        });
        wait_until("its new orphan", SOON, || alive(&one) > 0);
        assert_eq!(
            (alive(&one), alive(&two)),
            (1, 1),
            "life {life}\n{}",
            daemon.output()
        );
    }
    assert_eq!(
        daemon.count("orphan"),
        0,
        "the token in their environment proves them"
    );
    assert_eq!(daemon.client(&["stop", "one"]).code, Some(0));
    assert_eq!((alive(&one), alive(&two)), (0, 1));
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(alive(&two), 0);
}

#[test]
fn the_orphan_of_a_crashed_instance_is_ended_before_the_next_starts() {
    let dir = programs();
    let daemon = Stayd::start(&config(dir.path()));
    let one = dir.join("one");
    wait_until("it has left an orphan", SOON, || alive(&one) == 1);
    for life in 2..8_u64 {
        let pid = daemon.service("one")["pid"].as_i64().expect("a pid");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("kill");
        daemon.wait_service("one", "its next instance", |service| {
            service["life"] == life && service["state"] == "running"
        });
        wait_until("its new orphan", SOON, || alive(&one) > 0);
        assert_eq!(alive(&one), 1, "life {life}\n{}", daemon.output());
    }
}

#[test]
fn processes_that_before_leaves_behind_are_ended() {
    let dir = programs();
    let (one, two) = (dir.join("one"), dir.join("two"));
    let before = format!(
        "{} 100000 & (setsid {} 100000 >/dev/null 2>&1 &) ; exit 0",
        one.display(),
        two.display()
    );
    let argv = serde_json::to_string(&["sh", "-c", &before]).expect("JSON is TOML here");
    let daemon = Stayd::start(&format!(
        "[service.s]\ncommand = [\"sleep\", \"100000\"]\nbefore = {argv}\n"
    ));
    daemon.wait_state("s", "running");
    assert_eq!((alive(&one), alive(&two)), (0, 0), "{}", daemon.output());
}

/// Kills the processes of this program when dropped: stayd leaves them alone.
struct KillOnDrop(PathBuf);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let pattern = format!("^{} ", self.0.display());
        drop(tool("pkill").args(["-9", "-f", &pattern]).status());
    }
}

/// The orphan has closed every descriptor and cleared its environment: it can be of either service.
#[test]
fn an_orphan_without_evidence_is_reported_once_and_left_alone() {
    let dir = programs();
    let one = dir.join("one");
    let _kill = KillOnDrop(one.clone());
    let left = format!(
        "(env -i setsid {} 100000 >/dev/null 2>&1 3>&- &); exec sleep 100000",
        one.display()
    );
    let daemon = Stayd::start(&format!(
        "[service.one]\ncommand = ['sh', '-c', '{left}']\nbackoff = {{ min = '10ms' }}\n\
         [service.two]\ncommand = ['sleep', '100000']\nbackoff = {{ min = '10ms' }}\n"
    ));
    let running = daemon.wait_state("one", "running");
    daemon.wait_state("two", "running");
    wait_until("it has left an orphan", SOON, || alive(&one) == 1);
    // stayd looks for orphans whenever a child ends
    assert_eq!(daemon.client(&["restart", "two"]).code, Some(0));
    wait_until("it is reported", SOON, || daemon.count("orphan") == 1);
    let events = daemon.events();
    let named = events
        .iter()
        .find(|event| event["kind"] == "orphan")
        .expect("an event");
    let pid = named["facts"]["pid"].as_i64().expect("a pid");
    assert_ne!(running["pid"], pid);
    let message = named["message"].as_str().expect("text");
    for part in [
        &format!("pid {pid} ({} 100000) of user ", one.display()),
        ", started ",
        "leaves it alone",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let table = daemon.client(&["status"]).out;
    assert!(
        table.contains(&format!("left alone: pid {pid} ")),
        "{table}"
    );
    let explained = daemon.client(&["explain", &pid.to_string()]);
    assert!(
        explained.out.contains("It became a child of the stayd of "),
        "{}",
        explained.out
    );
    assert!(explained.out.contains("unproven"), "{}", explained.out);

    assert_eq!(daemon.client(&["restart", "one", "two"]).code, Some(0));
    wait_until("the next orphan is reported", SOON, || {
        daemon.count("orphan") == 2
    });
    assert!(alive(&one) == 2, "left alone");
    kill(pid.try_into().expect("a pid"));
    wait_until("it is no longer shown", SOON, || {
        !daemon
            .client(&["status"])
            .out
            .contains(&format!("pid {pid} "))
    });
}
