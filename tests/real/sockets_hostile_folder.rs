//! Socket files in a folder that the service's user can write: root changes no other file, whatever the user does meanwhile.

use super::support::daemon::Stayd;
use super::support::{TempDir, alone, seccomp};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use stayd::sys::listen::{self, Address};
use stayd::sys::spawn::User;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The user that owns the folder; it needs no entry in passwd.
const OWNER: (u32, u32) = (54_321, 54_321);
/// A supplementary group of that user.
const GROUP: u32 = 54_322;
/// How often the socket is bound. A root that changes the file by its path changes another file within 300 attempts.
const ATTEMPTS: u32 = 3000;

fn owner() -> User {
    User {
        uid: OWNER.0,
        gid: OWNER.1,
        groups: vec![OWNER.1, GROUP],
    }
}

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
    let mut bound = 0;
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
            bound += u32::from(listen::bind(&Address::Unix(path.clone()), Some(&owner())).is_ok());
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_untouched(&secret);
    assert!(bound > 0, "no attempt has bound the socket");
}

#[test]
#[ignore = "needs root"]
fn a_socket_in_the_folder_of_the_services_user_belongs_to_that_user_and_takes_connections() {
    let dir = TempDir::new();
    let (secret, folder) = secret_and_folder(&dir);
    let path = folder.join("app.sock");
    let address = Address::Unix(path.clone());
    for _ in 0..2 {
        let _socket =
            listen::bind(&address, Some(&owner())).expect("bound, also over a stale file");
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
    let _socket = listen::bind(&Address::Unix(path.clone()), Some(&owner())).expect("bound");
    let found = fs::symlink_metadata(&path).expect("there");
    assert_eq!((found.uid(), found.mode() & 0o777), (OWNER.0, 0o666));
}

#[test]
#[ignore = "needs root"]
fn a_folder_of_a_supplementary_group_of_the_user_takes_the_socket_and_one_of_roots_group_does_not()
{
    let dir = TempDir::new();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("searchable");
    let bind_in_folder_of = |group| {
        let folder = dir.join(&format!("of-{group}"));
        fs::create_dir(&folder).expect("made");
        chown(&folder, Some(0), Some(group)).expect("given");
        fs::set_permissions(&folder, Permissions::from_mode(0o775)).expect("opened to the group");
        listen::bind(&Address::Unix(folder.join("app.sock")), Some(&owner()))
    };
    bind_in_folder_of(GROUP).expect("bound");
    let refused =
        bind_in_folder_of(0).expect_err("the user is not in root's group, although stayd is");
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
}

/// stayd does not start the service again and again in a folder that it will refuse each time.
#[test]
#[ignore = "needs root"]
fn a_service_of_root_with_a_socket_in_the_folder_of_another_user_is_blocked() {
    let dir = TempDir::new();
    let (_secret, folder) = secret_and_folder(&dir);
    let daemon = Stayd::start(&format!(
        "name = \"refused\"\n[service.s]\ncommand = [\"sleep\", \"1000\"]\nsockets = [\"{}\"]\n",
        folder.join("app.sock").display()
    ));
    let blocked = daemon.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("use a folder of root") && !reason.contains("trying again"),
        "{reason}"
    );
}

/// The default seccomp profile of a container refuses unshare(2).
#[test]
fn a_socket_is_bound_where_unshare_is_refused() {
    alone(|| {
        seccomp::refuse(libc::SYS_unshare, libc::EPERM);
        let dir = TempDir::new();
        let path = dir.join("app.sock");
        let _socket = listen::bind(&Address::Unix(path.clone()), None).expect("bound");
        assert_eq!(
            fs::symlink_metadata(&path).expect("there").mode() & 0o777,
            0o666
        );
    });
}
