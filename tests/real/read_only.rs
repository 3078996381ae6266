//! A state folder that cannot be written: from the start, or from some moment on. Only for root, who can mount one.

use super::support::daemon::{SOON, Stayd, binary, is_alive};
use super::support::service::{kill, pid, service};
use super::support::{TempDir, require_root, wait_until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own.
struct Disk(PathBuf);

impl Disk {
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
        mounted.expect("a tmpfs can be mounted");
        Self(path.to_owned())
    }

    /// From here on every path to it is read-only; a file that is open for writing would refuse a change of the mount.
    fn cover(&self) {
        let none: Option<&str> = None;
        let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(Some(&self.0), &self.0, none, MsFlags::MS_BIND, none).expect("mounted over");
        mount(none, &self.0, none, again, none).expect("read-only");
    }

    fn uncover(&self) {
        umount2(&self.0, MntFlags::MNT_DETACH).expect("covered before");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        while umount2(&self.0, MntFlags::MNT_DETACH).is_ok() {}
    }
}

#[test]
#[ignore = "needs root"]
fn item_84_a_state_folder_that_is_read_only_at_the_start_is_said_with_its_cure() {
    let dir = TempDir::new();
    let state = dir.join("state");
    let disk = Disk::mounted_at(&state);
    disk.cover();
    fs::write(dir.join("stayd.toml"), service("sleep", "")).expect("the configuration");
    let ended = Command::new(binary())
        .args(["--foreground", "-c"])
        .arg(dir.join("stayd.toml"))
        .arg("--state-dir")
        .arg(&state)
        .output()
        .expect("stayd");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(71), "{said}");
    assert!(
        said.contains("Read-only file system") && said.contains("--state-dir"),
        "{said}"
    );
}

/// A life begins while no claim can be written, and stayd dies; then the folder can be written again.
#[test]
#[ignore = "needs root"]
fn item_84_a_life_that_no_claim_names_is_not_doubled() {
    let mut disk = None;
    let mut first = Stayd::start_with(&service("sleep", ""), |command| {
        let folder = command.get_current_dir().expect("its folder").to_owned();
        disk = Some(Disk::mounted_at(&folder.join("state")));
    });
    let disk = disk.expect("mounted before the start");
    let before = pid(&first.wait_state("s", "running"));
    disk.cover();
    kill(before);
    let unnamed = first.wait_service("s", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    let unnamed = pid(&unnamed);
    first.signal(libc::SIGKILL);
    first.wait();
    disk.uncover();
    let second = first.restart();
    let blocked = second.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains(&format!("`kill {unnamed}`")), "{reason}");
    assert!(is_alive(unnamed));
    kill(unnamed);
    second.wait_state("s", "running");
    drop(second);
    drop(disk);
}

/// Where the journal belongs there is a folder: that refuses root as well.
#[test]
fn item_82_a_wish_that_the_disk_does_not_take_is_carried_out_said_and_stored_later() {
    let daemon = Stayd::start(&service("sleep", ""));
    daemon.wait_state("s", "running");
    let journal = daemon.state_dir().join("journal.db");
    fs::rename(&journal, journal.with_extension("aside")).expect("put aside");
    fs::create_dir(&journal).expect("a folder");
    let told = daemon.client(&["stop", "s"]);
    assert_eq!((told.code, told.out.as_str()), (Some(0), "s: stopped\n"));
    assert!(
        told.err.starts_with("stayd: cannot store the wish: ") && told.err.contains("directory"),
        "{}",
        told.err
    );
    let warning = || {
        let told = daemon.client(&["release", "s", "--json"]).out;
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON alone");
        told.get("warning").cloned()
    };
    assert!(warning().is_some_and(|warning| warning.is_string()));

    fs::remove_dir(&journal).expect("room for the journal");
    wait_until("the disk takes it", SOON, || warning().is_none());
    let next = daemon.kill_and_restart();
    assert_eq!(next.wait_state("s", "stopped")["wanted"], "down");
}
