//! Tests of programs that cannot be started, and of the sentences about them.

use super::{PreflightErrorKind, ProgramLookup, check};
use std::env::consts::OS;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

/// A folder with one file `run` in it.
fn folder_with(content: &[u8], mode: u32) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run");
    fs::write(&file, content).expect("written");
    fs::set_permissions(&file, Permissions::from_mode(mode)).expect("its mode");
    folder
}

fn lookup(program: &str, cwd: &Path) -> ProgramLookup {
    ProgramLookup {
        program: program.to_owned(),
        cwd: cwd.to_owned(),
        path: Some("/usr/bin:/bin".to_owned()),
        user: None,
    }
}

fn error_of(content: &[u8], mode: u32) -> (PreflightErrorKind, String) {
    let folder = folder_with(content, mode);
    let found = check(&lookup("./run", folder.path())).expect_err("cannot start");
    (found.kind, found.cause)
}

/// The executable of this test, with some bytes replaced.
fn patched(from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut image = fs::read(std::env::current_exe().expect("this executable")).expect("read");
    let at = image
        .windows(from.len())
        .position(|bytes| bytes == from)
        .expect("there");
    image[at..at + to.len()].copy_from_slice(to);
    image
}

#[test]
fn a_program_that_can_be_started_is_found() {
    let folder = folder_with(b"#!/usr/bin/env -S A=b sh -e\n", 0o755);
    let found = check(&lookup("./run", folder.path())).expect("starts");
    assert_eq!(found, folder.path().join("./run"));
    let own = std::env::current_exe().expect("this executable");
    assert_eq!(
        check(&lookup(own.to_str().expect("text"), Path::new("/"))),
        Ok(own)
    );
}

#[test]
fn a_program_for_another_machine_or_system_is_recognized() {
    if OS != "linux" {
        return; // the test patches an ELF file
    }
    const EM_S390: [u8; 2] = [22, 0];
    let mut image = fs::read(std::env::current_exe().expect("this executable")).expect("read");
    image[18..20].copy_from_slice(&EM_S390);
    let (kind, cause) = error_of(&image, 0o755);
    assert_eq!(kind, PreflightErrorKind::Missing);
    assert!(
        cause.contains("is a program for another machine, and this machine is"),
        "{cause}"
    );
    let (_, cause) = error_of(
        &[
            0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0,
        ],
        0o755,
    );
    assert!(
        cause.contains("is a program for macos, and this is linux"),
        "{cause}"
    );
}

#[test]
fn a_missing_loader_is_named() {
    if OS != "linux" {
        return; // a Mach-O file names no loader
    }
    let image = patched(b"/ld-linux", b"/ld-musl-");
    let (_, cause) = error_of(&image, 0o755);
    assert!(
        cause.contains("/ld-musl-") && cause.contains("another C library"),
        "{cause}"
    );
}

#[test]
fn a_file_that_is_no_program_and_one_without_permission_are_told_apart() {
    let (kind, cause) = error_of(b"echo no first line\n", 0o755);
    assert_eq!(kind, PreflightErrorKind::Missing);
    assert!(cause.contains("#!/bin/sh"), "{cause}");
    let (kind, cause) = error_of(b"#!/bin/sh\n", 0o644);
    assert_eq!(kind, PreflightErrorKind::Permission);
    assert!(cause.contains("`chmod +x "), "{cause}");
}

#[test]
fn a_missing_interpreter_is_named_with_the_path_it_was_searched_in() {
    for (content, expected) in [
        ("#!/nowhere/python\n", "no program /nowhere/python"),
        (
            "#!/usr/bin/env no-such-node\n",
            "no no-such-node in PATH, which is /usr/bin:/bin",
        ),
        ("#!/bin/sh\r\n", "carriage return"),
    ] {
        let (_, cause) = error_of(content.as_bytes(), 0o755);
        assert!(cause.contains(expected), "{cause}");
    }
}

#[test]
fn a_missing_or_inaccessible_working_directory_is_named() {
    let folder = folder_with(b"#!/bin/sh\n", 0o755);
    let gone = check(&lookup("./run", &folder.path().join("gone"))).expect_err("gone");
    assert!(gone.cause.contains("correct `cwd`"), "{gone:?}");
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("private");
    let closed = ProgramLookup {
        user: Some("daemon".to_owned()),
        ..lookup("./run", folder.path())
    };
    let found = check(&closed).expect_err("closed");
    assert_eq!(found.kind, PreflightErrorKind::Permission);
    assert!(found.cause.contains("daemon may not enter"), "{found:?}");
}
