//! Socket files in a folder that the service's user can write: root changes no other file, whatever the user does meanwhile.

use super::support::TempDir;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use stayd::sys::listen::{self, Address};
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The user that owns the folder; it needs no entry in passwd.
const OWNER: (u32, u32) = (54_321, 54_321);
/// How often the socket is bound. Before the fix, root changed another file after 69 to 264 attempts.
const ATTEMPTS: u32 = 3000;

/// A file of root alone, and a folder of [`OWNER`] with a symbolic link to that file.
fn secret_and_folder(dir: &TempDir) -> (std::path::PathBuf, std::path::PathBuf) {
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("searchable");
    let secret = dir.join("secret");
    fs::write(&secret, "of root").expect("written");
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("closed");
    let folder = dir.join("folder");
    fs::create_dir(&folder).expect("made");
    chown(&folder, Some(OWNER.0), Some(OWNER.1)).expect("given");
    symlink(&secret, folder.join("link")).expect("linked");
    (secret, folder)
}

fn assert_untouched(secret: &Path) {
    let found = fs::metadata(secret).expect("there");
    assert_eq!((found.mode() & 0o777, found.uid()), (0o600, 0));
}

#[test]
#[ignore = "needs root"]
fn a_link_that_is_exchanged_with_the_socket_never_leads_root_to_another_file() {
    let dir = TempDir::new();
    let (secret, folder) = secret_and_folder(&dir);
    let (path, link) = (folder.join("app.sock"), folder.join("link"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Fails while the socket is missing.
                let _ = renameat_with(CWD, &path, CWD, &link, RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..ATTEMPTS {
            // What the last attempt has left of the two, in either order.
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(&link);
            symlink(&secret, &link).expect("linked");
            // Fails where the user is quicker.
            let _ = listen::bind(&Address::Unix(path.clone()), Some(OWNER));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_untouched(&secret);
}

#[test]
#[ignore = "needs root"]
fn a_socket_in_the_folder_of_the_services_user_belongs_to_that_user_and_takes_connections() {
    let dir = TempDir::new();
    let (secret, folder) = secret_and_folder(&dir);
    let path = folder.join("app.sock");
    let address = Address::Unix(path.clone());
    for _ in 0..2 {
        let _socket = listen::bind(&address, Some(OWNER)).expect("bound, also over a stale file");
        let found = fs::symlink_metadata(&path).expect("there");
        assert_eq!((found.uid(), found.gid()), OWNER);
        assert_eq!(found.mode() & 0o777, 0o666);
        UnixStream::connect(&path).expect("it listens");
    }
    assert!(listen::remove_stale(&path).expect("removed") && !path.exists());
    assert_untouched(&secret);
}

#[test]
#[ignore = "needs root"]
fn roots_own_socket_is_refused_in_a_folder_that_another_user_can_change() {
    let dir = TempDir::new();
    let (_secret, folder) = secret_and_folder(&dir);
    let path = folder.join("app.sock");
    let refused = listen::bind(&Address::Unix(path.clone()), None).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    assert!(refused.to_string().contains("user 54321"), "{refused}");
    assert!(!path.exists());
}

#[test]
#[ignore = "needs root"]
fn a_folder_of_root_takes_the_socket_of_any_user() {
    let dir = TempDir::new();
    let path = dir.join("app.sock");
    let _socket = listen::bind(&Address::Unix(path.clone()), Some(OWNER)).expect("bound");
    let found = fs::symlink_metadata(&path).expect("there");
    assert_eq!((found.uid(), found.mode() & 0o777), (OWNER.0, 0o666));
}
