//! Unix listeners on file systems for which stat(2) reports another device number than the kernel uses for the socket's file.

use super::support::disk::Disk;
use super::support::tool;
use stayd::sys::identity::pid;
use stayd::sys::socket::{held_sockets, listeners_at_path};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

#[track_caller]
fn assert_found(folder: &Path) {
    let path = folder.join("s.sock");
    let _listener = UnixListener::bind(&path).expect("bound");
    let found = listeners_at_path(&path).expect("listed");
    assert_eq!(found.len(), 1, "{}", path.display());
    assert_eq!(held_sockets(pid(), &found).expect("read").len(), 1);
}

#[track_caller]
fn done(program: &str, arguments: &[&str]) {
    let output = tool(program).args(arguments).output().expect(program);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}

#[test]
#[ignore = "needs root"]
fn a_listener_in_a_subvolume_of_btrfs_is_found() {
    let disk = Disk::btrfs(128);
    let subvolume = disk.path().join("sub");
    let path = subvolume.to_str().expect("text");
    done("btrfs", &["subvolume", "create", path]);
    let device = |path: &Path| fs::metadata(path).expect("read").dev();
    assert_ne!(device(&subvolume), device(disk.path()));
    assert_found(&subvolume);
}

#[test]
#[ignore = "needs root"]
fn a_listener_on_overlayfs_is_found() {
    let (disk, other) = (Disk::tmpfs(16, "mode=755"), Disk::tmpfs(16, "mode=755"));
    let folder = |disk: &Disk, name: &str| {
        let path = disk.path().join(name);
        fs::create_dir(&path).expect("a folder");
        path.display().to_string()
    };
    let (lower, mounted) = (folder(&other, "lower"), folder(&other, "mounted"));
    let (upper, work) = (folder(&disk, "upper"), folder(&disk, "work"));
    let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    done(
        "mount",
        &["-t", "overlay", "-o", &layers, "overlay", &mounted],
    );
    let found = std::panic::catch_unwind(|| assert_found(Path::new(&mounted)));
    done("umount", &[&mounted]);
    found.expect("found");
}
