//! Creates and checks the runtime folder, in which services of other users find their sockets and only our user and
//! root can create files.

use crate::sys::identity::{self, ROOT};
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Mode of a folder that stayd creates: other users can search it, but not list it.
const MODE: u32 = 0o711;
/// Search permission for group and others.
const GROUP_OR_OTHERS_SEARCH: u32 = 0o011;
/// Write permission for group and others. The group's permission is checked only in the folder itself, because the
/// folders above it belong to a group with one member on many systems.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
/// Write permission for others.
const OTHERS_WRITE: u32 = 0o002;
/// Search permission for others alone.
const OTHERS_SEARCH: u32 = 0o001;
/// In a folder with this bit only a file's owner can rename or remove the file.
const STICKY: u32 = 0o1000;

/// Creates `path` if it is missing and checks it as [`check`] does. If `service_uid`, the user of a service, is not our
/// user, adds search permission for other users.
///
/// # Errors
/// Errors of [`check`] and of the system calls; `PermissionDenied` naming the folder above `path` that the service's
/// user cannot search.
pub fn open(path: &Path, service_uid: Option<u32>) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(path)?;
    check(path)?;
    let Some(service_uid) = service_uid.filter(|uid| *uid != identity::euid()) else {
        return Ok(());
    };
    let mode = fs::metadata(path)?.mode();
    if mode & GROUP_OR_OTHERS_SEARCH != GROUP_OR_OTHERS_SEARCH {
        fs::set_permissions(path, Permissions::from_mode(mode | GROUP_OR_OTHERS_SEARCH))?;
    }
    check_search_permission(path, service_uid)
}

/// Checks that only our user and root can decide what `path` is: if it exists, it belongs to our user, and other users
/// can write neither it nor a folder above it. A folder with the sticky bit, as /tmp, is accepted.
///
/// # Errors
/// `PermissionDenied` with a sentence that names the folder; errors of lstat(2).
pub fn check(path: &Path) -> io::Result<()> {
    check_one(path, GROUP_OR_OTHERS_WRITE, &[identity::euid()])?;
    for folder in path.ancestors().skip(1) {
        check_one(folder, OTHERS_WRITE, &[identity::euid(), ROOT])?;
    }
    // Follow symbolic links of root: /var/run is one on most systems.
    match path.canonicalize() {
        Ok(real) if real != path => check(&real),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn check_one(folder: &Path, forbidden: u32, owners: &[u32]) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    let writable =
        !metadata.is_symlink() && metadata.mode() & forbidden != 0 && !is_sticky(&metadata);
    let problem = if !owners.contains(&metadata.uid()) {
        format!("it belongs to user {}", metadata.uid())
    } else if writable {
        "other users can write it".to_owned()
    } else {
        return Ok(());
    };
    Err(refused(
        folder,
        &problem,
        "remove it, or let its owner take write permission from other users",
    ))
}

fn is_sticky(metadata: &Metadata) -> bool {
    metadata.mode() & STICKY != 0
}

/// Checks that user `service_uid` can search the folders above `path`. stayd does not change their modes.
fn check_search_permission(path: &Path, service_uid: u32) -> io::Result<()> {
    for folder in path.ancestors().skip(1) {
        let metadata = fs::metadata(folder)?;
        if metadata.uid() != service_uid && metadata.mode() & OTHERS_SEARCH == 0 {
            let problem = format!("user {service_uid} has no search permission for it");
            return Err(refused(folder, &problem, "run chmod o+x on it"));
        }
    }
    Ok(())
}

fn refused(folder: &Path, problem: &str, remedy: &str) -> io::Error {
    let message = format!(
        "cannot use the folder {}: {problem}; {remedy}",
        folder.display()
    );
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("folder").mode() & 0o777
    }

    fn refusal(path: &Path) -> String {
        open(path, None).expect_err("refused").to_string()
    }

    #[test]
    fn a_folder_is_searchable_only_for_services_of_other_users() {
        let dir = tempfile::tempdir().expect("folder");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("chmod");
        let path = dir.path().join("stayd/db");
        open(&path, None).expect("made");
        assert_eq!(mode(&path), MODE);

        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("chmod");
        open(&path, Some(identity::euid())).expect("ours");
        assert_eq!(mode(&path), 0o700);
        let other_user = Some(65534);
        let error = open(&path, other_user).expect_err("the folder above is closed");
        assert!(
            error.to_string().contains("no search permission"),
            "{error}"
        );
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).expect("chmod");
        open(&path, other_user).expect("open");
        assert_eq!(mode(&path), 0o711);
    }

    #[test]
    fn a_folder_that_other_users_can_write_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("stayd-7/db");
        open(&path, None).expect("made");
        let above = dir.path().join("stayd-7");
        fs::set_permissions(&above, Permissions::from_mode(0o777)).expect("chmod");
        assert!(refusal(&path).contains("other users can write it"));
        fs::set_permissions(&above, Permissions::from_mode(0o1777)).expect("chmod");
        open(&path, None).expect("as /tmp is");
        fs::set_permissions(&path, Permissions::from_mode(0o770)).expect("chmod");
        assert!(refusal(&path).contains("stayd-7/db"));
    }

    #[test]
    fn a_folder_of_another_user_or_a_link_to_one_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        let planted = dir.path().join("stayd-7");
        fs::create_dir(&planted).expect("made");
        if std::os::unix::fs::chown(&planted, Some(65534), None).is_err() {
            return; // only root can give it away
        }
        assert!(refusal(&planted).contains("belongs to user 65534"));
        assert!(refusal(&planted.join("db")).contains("belongs to user 65534"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&planted, &link).expect("link");
        assert!(refusal(&link.join("db")).contains("belongs to user 65534"));
    }
}
