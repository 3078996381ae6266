//! Runtimes and their sources on real file systems: pulled, full, read-only, noexec, shared-extent and exchanged ones.

use super::runtime_service::{restart, runtime_of, wait_version};
use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::disk::Disk;
use super::support::service::pid;
use super::support::{require_root, tool, wait_until};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;

/// Installs a program in the source that writes this version into the file `done` and then sleeps.
fn install(source: &Path, version: &str) {
    let server = source.join("bin/server");
    fs::create_dir_all(source.join("bin")).expect("a source");
    let staged = source.join("server.new");
    fs::write(
        &staged,
        format!("#!/bin/sh\necho {version} > done\nexec sleep 1000000\n"),
    )
    .expect("the program is written");
    fs::set_permissions(&staged, Permissions::from_mode(0o755)).expect("the mode is set");
    fs::rename(staged, server).expect("the program is replaced");
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
fn a_service_outlives_the_disk_of_its_source_and_restarts_without_it() {
    let mut disk = Disk::ext4(16);
    let source = disk.path().join("app");
    install(&source, "one");
    let daemon = Stayd::start(&config(&source, ""));
    wait_version(&daemon, "one");
    let (before, runtime) = (pid(&daemon.wait_state("s", "running")), runtime_of(&daemon));
    disk.pull();
    assert!(is_alive(before), "it runs from the copy on another disk");
    fs::remove_file(daemon.dir().join("done")).expect("the program has written it");
    restart(&daemon);
    wait_version(&daemon, "one");
    assert_eq!(runtime_of(&daemon), runtime);
    assert_eq!(daemon.count("old-runtime"), 1, "{}", daemon.output());
    let disk = disk.put_back();
    install(&source, "two");
    restart(&daemon);
    wait_version(&daemon, "two");
    drop((daemon, disk));
}

/// The names of unfinished copies in the state dir.
fn unfinished_copies(state: &Path) -> Vec<String> {
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
fn a_full_disk_leaves_the_last_good_runtime_in_use() {
    let small = Disk::tmpfs(16, "mode=700");
    let source = tempfile::tempdir().expect("a folder");
    install(source.path(), "one");
    let daemon = Stayd::start_with(&config(source.path(), ""), |command| {
        let dir = command.get_current_dir().expect("its folder").to_owned();
        std::os::unix::fs::symlink(small.path(), dir.join("state")).expect("a link");
    });
    wait_version(&daemon, "one");
    let runtime = runtime_of(&daemon);
    install(source.path(), "two");
    fs::write(source.path().join("large"), vec![1; 32 << 20]).expect("written");
    fs::remove_file(daemon.dir().join("done")).expect("the program has written it");
    restart(&daemon);
    wait_version(&daemon, "one");
    assert_eq!(runtime_of(&daemon), runtime);
    let output = daemon.output();
    assert!(output.contains("No space left on device"), "{output}");
    assert_eq!(unfinished_copies(small.path()), [""; 0]);
    fs::remove_file(source.path().join("large")).expect("removed");
    restart(&daemon);
    wait_version(&daemon, "two");
    drop((daemon, small));
}

#[test]
#[ignore = "needs root"]
fn a_read_error_midway_through_the_copy_leaves_the_last_good_runtime_in_use() {
    const FILES: usize = 8;
    const BYTES: usize = 12 << 20;
    let mut disk = Disk::ext4(160);
    let source = disk.path().join("app");
    install(&source, "one");
    let daemon = Stayd::start(&config(&source, ""));
    wait_version(&daemon, "one");
    let runtime = runtime_of(&daemon);
    install(&source, "two");
    for nth in 0..FILES {
        fs::write(
            source.join(format!("data{nth}")),
            vec![nth as u8 + 1; BYTES],
        )
        .expect("written");
    }
    // After this none of it is in the page cache, so that the copy has to read the disk.
    disk.mount_anew();
    disk.dies_behind(80);
    fs::remove_file(daemon.dir().join("done")).expect("the program has written it");
    restart(&daemon);
    wait_version(&daemon, "one");
    assert_eq!(runtime_of(&daemon), runtime);
    let output = daemon.output();
    assert!(output.contains("Input/output error"), "{output}");
    assert_eq!(daemon.count("old-runtime"), 1, "{output}");
    assert_eq!(unfinished_copies(&daemon.state_dir()), [""; 0]);
    drop((daemon, disk));
}

#[test]
#[ignore = "needs root"]
fn a_runtime_on_a_disk_that_became_read_only_still_starts() {
    let disk = Disk::tmpfs(16, "mode=700");
    let source = tempfile::tempdir().expect("a folder");
    install(source.path(), "one");
    // Only the runtimes lie on that disk: a file open for writing would prevent the remount.
    let daemon = Stayd::start_with(&config(source.path(), ""), |command| {
        let dir = command.get_current_dir().expect("its folder").to_owned();
        fs::create_dir(dir.join("state")).expect("a folder");
        fs::set_permissions(dir.join("state"), Permissions::from_mode(0o700))
            .expect("the mode is set");
        std::os::unix::fs::symlink(disk.path(), dir.join("state/runtime")).expect("a link");
    });
    wait_version(&daemon, "one");
    let before = pid(&daemon.wait_state("s", "running"));
    disk.remount("ro");
    let answer = daemon.client(&["restart", "s"]);
    let after = daemon.wait_service("s", "the next instance", |service| {
        service["state"] == "running" && service["pid"] != before
    });
    assert!(pid(&after) > 0, "{answer:?}");
    disk.remount("rw");
    drop((daemon, disk));
}

#[test]
#[ignore = "needs root"]
fn a_noexec_mount_blocks_the_service_and_the_reason_names_the_remount() {
    let disk = Disk::tmpfs(16, "mode=700,noexec");
    let source = tempfile::tempdir().expect("a folder");
    install(source.path(), "one");
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
fn a_service_of_another_user_runs_from_a_copy_in_the_state_dir() {
    require_root();
    let source = tempfile::tempdir().expect("a folder");
    fs::set_permissions(source.path(), Permissions::from_mode(0o755)).expect("its mode");
    install(source.path(), "one");
    let shared = source.path().join("bin/shared");
    fs::create_dir(&shared).expect("a folder");
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).expect("its mode");
    let config = config(source.path(), "user = \"nobody\"").replace("\"DIR\"", "\"DIR/open\"");
    let daemon = Stayd::start_with(&config, |command| {
        let dir = command.get_current_dir().expect("the test's folder");
        fs::create_dir(dir.join("open")).expect("a folder");
        for (path, mode) in [(dir.to_owned(), 0o755), (dir.join("open"), 0o777)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("the mode is set");
        }
    });
    wait_until("the service runs", SOON, || {
        daemon.dir().join("open/done").exists()
    });
    let state = daemon.state_dir();
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join("claims"))), (0o711, 0o700));
    let copies: Vec<_> = fs::read_dir(state.join("runtime"))
        .expect("copies")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir() && path.join("bin").is_dir())
        .collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    let nobody = nix::unistd::User::from_name("nobody")
        .expect("users")
        .expect("nobody");
    let copy = fs::metadata(&copies[0]).expect("the copy");
    assert_eq!(
        (mode(&copies[0]), copy.uid(), copy.gid()),
        (0o710, 0, nobody.gid.as_raw())
    );
    let shared = fs::metadata(copies[0].join("bin/shared")).expect("the folder");
    assert_eq!(shared.permissions().mode() & 0o7777, 0o1777);
    // Another user knows the name of a file in it.
    let stranger = tool("setpriv")
        .args([
            "--reuid",
            "12345",
            "--regid",
            "12345",
            "--clear-groups",
            "ls",
        ])
        .arg(copies[0].join("bin"))
        .output()
        .expect("setpriv");
    assert!(!stranger.status.success(), "{stranger:?}");
    let mut daemon = daemon;
    assert!(daemon.stop().success());
}

/// Bytes of the disk that are in use, after all writes have reached it.
fn used_bytes(disk: &Disk) -> u64 {
    let folder = fs::File::open(disk.path()).expect("the disk");
    rustix::fs::syncfs(&folder).expect("syncfs");
    let state = rustix::fs::fstatvfs(&folder).expect("statvfs");
    (state.f_blocks - state.f_bfree) * state.f_frsize
}

#[test]
#[ignore = "needs root"]
fn a_copy_shares_its_extents_with_the_source_where_the_file_system_can() {
    const BYTES: usize = 48 << 20;
    let disk = Disk::btrfs(256);
    let source = disk.path().join("app");
    install(&source, "one");
    let bytes: Vec<u8> = (0..BYTES).map(|nth| (nth ^ (nth >> 9)) as u8).collect();
    fs::write(source.join("large"), &bytes).expect("written");
    fs::create_dir(disk.path().join("runtime")).expect("a folder");
    let before = used_bytes(&disk);
    let daemon = Stayd::start_with(&config(&source, ""), |command| {
        let dir = command.get_current_dir().expect("its folder").to_owned();
        fs::create_dir(dir.join("state")).expect("a folder");
        fs::set_permissions(dir.join("state"), Permissions::from_mode(0o700))
            .expect("the mode is set");
        std::os::unix::fs::symlink(disk.path().join("runtime"), dir.join("state/runtime"))
            .expect("a link");
    });
    wait_version(&daemon, "one");
    let copy = runtime_of(&daemon);
    assert!(fs::read(copy.join("large")).expect("read") == bytes);
    let grown = used_bytes(&disk).saturating_sub(before);
    assert!(
        grown < BYTES as u64 / 4,
        "the copy takes {grown} bytes of the disk"
    );
    // An update in place changes only the source.
    fs::write(source.join("large"), b"another").expect("written");
    assert!(fs::read(copy.join("large")).expect("read") == bytes);
    drop((daemon, disk));
}

#[test]
#[ignore = "needs root"]
fn a_source_image_exchanged_for_one_with_the_same_times_is_read_again() {
    let [one, two] = ["one", "two"].map(|version| {
        let folder = tempfile::tempdir().expect("a folder");
        install(folder.path(), version);
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
