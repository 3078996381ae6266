//! The state dir cannot be written, at the start or later on: stayd says so, starts nothing twice and stores requests
//! later. Most of it needs root, which can mount a file system.

use super::support::daemon::{SOON, Stayd, binary, is_alive};
use super::support::service::{kill, pid, service};
use super::support::{TempDir, require_root, wait_until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// Mounts it.
    fn mounted_at(path: &Path) -> Self {
        require_root();
        fs::create_dir_all(path).expect("a folder");
        let data = Some("size=16m,mode=700");
        let mounted = mount(
            Some("stayd-test"),
            path,
            Some("tmpfs"),
            MsFlags::empty(),
            data,
        );
        mounted.expect("the tmpfs is mounted");
        Self(path.to_owned())
    }

    /// Mounts a read-only view over it. Remounting the file system itself read-only would fail while a file in it is
    /// open for writing.
    fn make_read_only(&self) {
        let none: Option<&str> = None;
        let remount = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(Some(&self.0), &self.0, none, MsFlags::MS_BIND, none).expect("the bind mount");
        mount(none, &self.0, none, remount, none).expect("the bind mount becomes read-only");
    }

    fn make_writable(&self) {
        umount2(&self.0, MntFlags::MNT_DETACH).expect("the read-only view is mounted");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        while umount2(&self.0, MntFlags::MNT_DETACH).is_ok() {}
    }
}

#[test]
#[ignore = "needs root"]
fn a_read_only_state_dir_at_the_start_ends_stayd_with_71_and_names_the_option() {
    let dir = TempDir::new();
    let state = dir.join("state");
    let disk = Disk::mounted_at(&state);
    disk.make_read_only();
    fs::write(dir.join("stayd.toml"), service("sleep", "")).expect("the configuration");
    let output = Command::new(binary())
        .args(["--foreground", "-c"])
        .arg(dir.join("stayd.toml"))
        .arg("--state-dir")
        .arg(&state)
        .output()
        .expect("stayd");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(71), "{stderr}");
    assert!(
        stderr.contains("Read-only file system") && stderr.contains("--state-dir"),
        "{stderr}"
    );
}

/// An instance starts while no claim can be written, and stayd is killed; then the folder can be written again.
#[test]
#[ignore = "needs root"]
fn an_instance_that_no_claim_names_blocks_the_next_start() {
    let mut disk = None;
    let mut first = Stayd::start_with(&service("sleep", ""), |command| {
        let folder = command.get_current_dir().expect("its folder").to_owned();
        disk = Some(Disk::mounted_at(&folder.join("state")));
    });
    let disk = disk.expect("mounted before the start");
    let before = pid(&first.wait_state("s", "running"));
    disk.make_read_only();
    kill(before);
    let unclaimed = first.wait_service("s", "the next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    let unclaimed = pid(&unclaimed);
    first.kill();
    disk.make_writable();
    let second = first.restart();
    let blocked = second.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains(&format!("`kill {unclaimed}`")), "{reason}");
    assert!(is_alive(unclaimed));
    kill(unclaimed);
    second.wait_state("s", "running");
    drop(second);
    drop(disk);
}

/// A folder lies in the place of the journal: unlike a missing permission that stops root as well.
#[test]
fn a_request_that_cannot_be_stored_is_carried_out_with_a_warning_and_stored_later() {
    let daemon = Stayd::start(&service("sleep", ""));
    daemon.wait_state("s", "running");
    let journal = daemon.state_dir().join("journal.db");
    fs::rename(&journal, journal.with_extension("aside")).expect("moved away");
    fs::create_dir(&journal).expect("a folder");
    let answer = daemon.client(&["stop", "s"]);
    assert_eq!(
        (answer.code, answer.out.as_str()),
        (Some(0), "s: stopped\n")
    );
    assert!(
        answer.err.starts_with("stayd: cannot store the request: ")
            && answer.err.contains("directory"),
        "{}",
        answer.err
    );
    let warning = || {
        let answer = daemon.client(&["release", "s", "--json"]).out;
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON on stdout");
        answer.get("warning").cloned()
    };
    assert!(warning().is_some_and(|warning| warning.is_string()));

    fs::remove_dir(&journal).expect("the folder is removed");
    wait_until("the requests are stored", SOON, || warning().is_none());
    let next = daemon.kill_and_restart();
    assert_eq!(next.wait_state("s", "stopped")["wanted"], "down");
}
