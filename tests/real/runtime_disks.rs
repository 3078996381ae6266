//! Runtimes on real file systems: one that is pulled, one that is full, one that may not be written, one that runs nothing.

use super::runtimes::{restart, runtime_of, wait_version};
use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::disk::Disk;
use super::support::service::pid;
use super::support::{require_root, wait_until};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A server that says which version it is, and waits.
fn put(source: &Path, version: &str) {
    let server = source.join("bin/server");
    fs::create_dir_all(source.join("bin")).expect("a source");
    let staged = source.join("server.new");
    fs::write(
        &staged,
        format!("#!/bin/sh\necho {version} > done\nexec sleep 1000000\n"),
    )
    .expect("written");
    fs::set_permissions(&staged, Permissions::from_mode(0o755)).expect("set");
    fs::rename(staged, server).expect("in its place");
}

fn config(source: &Path, more: &str) -> String {
    format!(
        "[service.s]\ncommand = [\"server\"]\ncwd = \"DIR\"\nbackoff = {{ min = \"10ms\" }}\nstop = {{ grace = \"100ms\" }}\n{more}\n\
         [service.s.runtime]\nsource = \"{}\"\nprogram = \"bin/server\"\n",
        source.display()
    )
}

#[test]
#[ignore = "needs root"]
fn item_61_a_service_outlives_its_disk_and_starts_again_without_it() {
    let mut disk = Disk::ext4(16);
    let source = disk.path().join("app");
    put(&source, "one");
    let daemon = Stayd::start(&config(&source, ""));
    wait_version(&daemon, "one");
    let (before, runtime) = (pid(&daemon.wait_state("s", "running")), runtime_of(&daemon));
    disk.pull();
    assert!(is_alive(before), "it runs from our own disk");
    fs::remove_file(daemon.dir().join("done")).expect("there");
    restart(&daemon);
    wait_version(&daemon, "one");
    assert_eq!(runtime_of(&daemon), runtime);
    assert_eq!(daemon.count("old-runtime"), 1, "{}", daemon.output());
    let disk = disk.put_back();
    put(&source, "two");
    restart(&daemon);
    wait_version(&daemon, "two");
    drop((daemon, disk));
}

/// Copies in the state folder that did not come to their end.
fn under_way(state: &Path) -> Vec<String> {
    let names = fs::read_dir(state.join("runtime")).expect("the cache");
    let names = names.map(|entry| {
        entry
            .expect("entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    names.filter(|name| name.starts_with(".new-")).collect()
}

#[test]
#[ignore = "needs root"]
fn item_63_a_full_disk_leaves_the_last_good_runtime_in_use() {
    let small = Disk::tmpfs(16, "mode=700");
    let source = tempfile::tempdir().expect("a folder");
    put(source.path(), "one");
    let daemon = Stayd::start_with(&config(source.path(), ""), |command| {
        let dir = command.get_current_dir().expect("its folder").to_owned();
        std::os::unix::fs::symlink(small.path(), dir.join("state")).expect("a link");
    });
    wait_version(&daemon, "one");
    let runtime = runtime_of(&daemon);
    put(source.path(), "two");
    fs::write(source.path().join("large"), vec![1; 32 << 20]).expect("written");
    fs::remove_file(daemon.dir().join("done")).expect("there");
    restart(&daemon);
    wait_version(&daemon, "one");
    assert_eq!(runtime_of(&daemon), runtime);
    let said = daemon.output();
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(under_way(small.path()), [""; 0]);
    fs::remove_file(source.path().join("large")).expect("removed");
    restart(&daemon);
    wait_version(&daemon, "two");
    drop((daemon, small));
}

#[test]
#[ignore = "needs root"]
fn item_63_a_source_that_dies_midway_leaves_the_last_good_runtime_in_use() {
    const FILES: usize = 8;
    const BYTES: usize = 12 << 20;
    let mut disk = Disk::ext4(160);
    let source = disk.path().join("app");
    put(&source, "one");
    let daemon = Stayd::start(&config(&source, ""));
    wait_version(&daemon, "one");
    let runtime = runtime_of(&daemon);
    put(&source, "two");
    for nth in 0..FILES {
        fs::write(
            source.join(format!("data{nth}")),
            vec![nth as u8 + 1; BYTES],
        )
        .expect("written");
    }
    // nothing of it is in memory afterwards
    disk.pull();
    let disk = disk.put_back();
    disk.dies_behind(80);
    fs::remove_file(daemon.dir().join("done")).expect("there");
    restart(&daemon);
    wait_version(&daemon, "one");
    assert_eq!(runtime_of(&daemon), runtime);
    let said = daemon.output();
    assert!(said.contains("Input/output error"), "{said}");
    assert_eq!(daemon.count("old-runtime"), 1, "{said}");
    assert_eq!(under_way(&daemon.state_dir()), [""; 0]);
    drop((daemon, disk));
}

#[test]
#[ignore = "needs root"]
fn a_disk_that_may_not_be_written_any_more_keeps_no_runtime_from_starting() {
    let disk = Disk::tmpfs(16, "mode=700");
    let source = tempfile::tempdir().expect("a folder");
    put(source.path(), "one");
    // Nothing else of ours is open for writing there.
    let daemon = Stayd::start_with(&config(source.path(), ""), |command| {
        let dir = command.get_current_dir().expect("its folder").to_owned();
        fs::create_dir(dir.join("state")).expect("a folder");
        fs::set_permissions(dir.join("state"), Permissions::from_mode(0o700)).expect("ours alone");
        std::os::unix::fs::symlink(disk.path(), dir.join("state/runtime")).expect("a link");
    });
    wait_version(&daemon, "one");
    let before = pid(&daemon.wait_state("s", "running"));
    disk.remount("ro");
    let answer = daemon.client(&["restart", "s"]);
    let after = daemon.wait_service("s", "another life", |service| {
        service["state"] == "running" && service["pid"] != before
    });
    assert!(pid(&after) > 0, "{answer:?}");
    disk.remount("rw");
    drop((daemon, disk));
}

#[test]
#[ignore = "needs root"]
fn item_66_a_noexec_mount_is_named_with_its_cure() {
    let disk = Disk::tmpfs(16, "mode=700,noexec");
    let source = tempfile::tempdir().expect("a folder");
    put(source.path(), "one");
    let daemon = Stayd::start_with(&config(source.path(), ""), |command| {
        let dir = command.get_current_dir().expect("its folder").to_owned();
        std::os::unix::fs::symlink(disk.path(), dir.join("state")).expect("a link");
    });
    let blocked = daemon.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("noexec") && reason.contains("remount,exec"),
        "{reason}"
    );
    disk.remount("exec");
    wait_version(&daemon, "one");
    drop((daemon, disk));
}

#[test]
#[ignore = "needs root"]
fn a_service_of_another_user_runs_from_a_copy_in_our_own_state_folder() {
    require_root();
    let source = tempfile::tempdir().expect("a folder");
    put(source.path(), "one");
    let config = config(source.path(), "user = \"nobody\"").replace("\"DIR\"", "\"DIR/open\"");
    let daemon = Stayd::start_with(&config, |command| {
        let dir = command.get_current_dir().expect("the test's folder");
        fs::create_dir(dir.join("open")).expect("a folder");
        for (path, mode) in [(dir.to_owned(), 0o755), (dir.join("open"), 0o777)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("open to nobody");
        }
    });
    wait_until("it runs", SOON, || daemon.dir().join("open/done").exists());
    let state = daemon.state_dir();
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join("claims"))), (0o711, 0o700));
    let mut daemon = daemon;
    assert!(daemon.stop().success());
}

/// Bytes of the disk that are in use.
fn used_bytes(disk: &Disk) -> u64 {
    let folder = fs::File::open(disk.path()).expect("the disk");
    rustix::fs::syncfs(&folder).expect("on the disk");
    let state = rustix::fs::fstatvfs(&folder).expect("statvfs");
    (state.f_blocks - state.f_bfree) * state.f_frsize
}

#[test]
#[ignore = "needs root"]
fn a_copy_shares_its_bytes_with_the_source_where_the_disk_can() {
    const BYTES: usize = 48 << 20;
    let disk = Disk::btrfs(256);
    let source = disk.path().join("app");
    put(&source, "one");
    let bytes: Vec<u8> = (0..BYTES).map(|nth| (nth ^ (nth >> 9)) as u8).collect();
    fs::write(source.join("large"), &bytes).expect("written");
    fs::create_dir(disk.path().join("runtime")).expect("a folder");
    let before = used_bytes(&disk);
    let daemon = Stayd::start_with(&config(&source, ""), |command| {
        let dir = command.get_current_dir().expect("its folder").to_owned();
        fs::create_dir(dir.join("state")).expect("a folder");
        fs::set_permissions(dir.join("state"), Permissions::from_mode(0o700)).expect("ours alone");
        std::os::unix::fs::symlink(disk.path().join("runtime"), dir.join("state/runtime"))
            .expect("a link");
    });
    wait_version(&daemon, "one");
    let copy = runtime_of(&daemon);
    assert!(fs::read(copy.join("large")).expect("read") == bytes);
    let grown = used_bytes(&disk).saturating_sub(before);
    assert!(grown < BYTES as u64 / 4, "{grown} bytes more");
    // an update in place changes the source's bytes alone
    fs::write(source.join("large"), b"another").expect("written");
    assert!(fs::read(copy.join("large")).expect("read") == bytes);
    drop((daemon, disk));
}

#[test]
#[ignore = "needs root"]
fn item_62_an_image_that_is_exchanged_for_another_with_the_same_times_is_read_again() {
    let [one, two] = ["one", "two"].map(|version| {
        let folder = tempfile::tempdir().expect("a folder");
        put(folder.path(), version);
        (Disk::squashfs(folder.path()), folder)
    });
    let (mut disk, _folder) = one;
    let daemon = Stayd::start(&config(disk.path(), ""));
    wait_version(&daemon, "one");
    disk.exchange(&two.0);
    restart(&daemon);
    wait_version(&daemon, "two");
    drop((daemon, disk));
}
