//! Making the socket.

use crate::api::listen::bind;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(work)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o777
}

#[test]
fn item_99_a_stale_socket_is_replaced_and_a_living_one_is_not() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        // Dropping a std listener leaves its file: what a killed stayd leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a first socket"));
        let (_listener, socket) = bind(&path, None).await.expect("the stale one is replaced");
        assert_eq!(mode(&path), 0o600);
        let error = bind(&path, None).await.expect_err("it lives");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(path.exists(), "the living one is left alone");
        drop(socket);
        assert!(!path.exists());
    });
}

#[test]
fn item_99_a_squatted_place_is_refused_by_name() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        fs::write(&path, "precious").expect("a file");
        let error = bind(&path, None).await.expect_err("no socket");
        assert!(error.to_string().ends_with("move it away"), "{error}");
        assert_eq!(fs::read(&path).expect("it is still there"), b"precious");
        fs::remove_file(&path).expect("gone");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
        let error = bind(&path, None).await.expect_err("open to others");
        assert!(
            error.to_string().contains("can be written by others"),
            "{error}"
        );
    });
}

#[test]
fn item_99_too_long_a_path_is_said() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x".repeat(120));
        let error = bind(&path, None).await.expect_err("too long");
        assert!(
            error.to_string().starts_with("cannot listen on "),
            "{error}"
        );
    });
}

#[test]
fn a_control_group_gets_the_socket_and_the_way_to_it() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        let group = nix::unistd::getegid().as_raw();
        let (_listener, _socket) = bind(&path, Some(group)).await.expect("a socket");
        assert_eq!((mode(&path), mode(directory.path())), (0o660, 0o750));
    });
}
