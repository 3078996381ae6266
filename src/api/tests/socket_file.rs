//! Creation of the socket file: stale and used sockets, modes, and errors.

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
fn a_stale_socket_is_replaced_and_one_in_use_is_not() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        // Dropping a std listener keeps its file, as after a stayd was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a first socket"));
        let (_listener, socket) = bind(&path, None).await.expect("the stale one is replaced");
        assert_eq!(mode(&path), 0o600);
        let error = bind(&path, None).await.expect_err("it is in use");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(path.exists(), "the socket in use is kept");
        drop(socket);
        assert!(!path.exists());
    });
}

#[test]
fn a_file_in_the_place_of_the_socket_is_an_error() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        fs::write(&path, "precious").expect("a file");
        let error = bind(&path, None).await.expect_err("no socket");
        assert!(error.to_string().ends_with("move it away"), "{error}");
        assert_eq!(fs::read(&path).expect("it is still there"), b"precious");
        fs::remove_file(&path).expect("gone");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
        let error = bind(&path, None).await.expect_err("writable by others");
        assert!(
            error.to_string().contains("can be written by other users"),
            "{error}"
        );
    });
}

#[test]
fn a_path_over_the_socket_limit_is_an_error() {
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
fn a_control_group_gets_access_to_the_socket_and_its_directory() {
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        let group = nix::unistd::getegid().as_raw();
        let (_listener, _socket) = bind(&path, Some(group)).await.expect("a socket");
        assert_eq!((mode(&path), mode(directory.path())), (0o660, 0o750));
    });
}
