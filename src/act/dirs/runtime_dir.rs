//! The runtime folder: services of other users find their sockets in it, and nobody else can put anything there.

use crate::sys::identity;
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Of a folder that is made: others can pass through it, and list nothing.
const MODE: u32 = 0o711;
/// The right of others to pass through a folder.
const OTHERS_PASS: u32 = 0o011;
/// The rights by which others put their files into a folder; a group's count in the folder itself alone, because the
/// folders above belong to groups of one user on many systems.
const OTHERS_PUT: u32 = 0o022;
const ANYBODY_PUTS: u32 = 0o002;
const ANYBODY_PASSES: u32 = 0o001;
/// In such a folder only a file's owner can rename or remove it.
const STICKY: u32 = 0o1000;
const ROOT: u32 = 0;

/// Makes `path` where it is missing, checks it as [`check`] does, and where `visitor`, a service's user, is not ours,
/// opens it for passing through.
///
/// # Errors
/// What [`check`] or the system says; that the visitor cannot come so far, and at which folder it ends.
pub fn open(path: &Path, visitor: Option<u32>) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(path)?;
    check(path)?;
    let Some(visitor) = visitor.filter(|uid| *uid != identity::euid()) else {
        return Ok(());
    };
    let mode = fs::metadata(path)?.mode();
    if mode & OTHERS_PASS != OTHERS_PASS {
        fs::set_permissions(path, Permissions::from_mode(mode | OTHERS_PASS))?;
    }
    check_passage(path, visitor)
}

/// Whether only we and root decide what `path` is: it is ours, as far as it exists, and others write neither it nor a
/// folder above it, unless that keeps each user's files to himself (as /tmp does).
///
/// # Errors
/// `PermissionDenied`, with a sentence that names the folder; what the system says when it is looked at.
pub fn check(path: &Path) -> io::Result<()> {
    check_one(path, OTHERS_PUT, &[identity::euid()])?;
    for folder in path.ancestors().skip(1) {
        check_one(folder, ANYBODY_PUTS, &[identity::euid(), ROOT])?;
    }
    // What symbolic links of root's lead to, /var/run on most systems.
    match path.canonicalize() {
        Ok(real) if real != path => check(&real),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn check_one(folder: &Path, forbidden: u32, owners: &[u32]) -> io::Result<()> {
    let about = match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        about => about?,
    };
    let writable = !about.is_symlink() && about.mode() & forbidden != 0 && !is_sticky(&about);
    let wrong = if !owners.contains(&about.uid()) {
        format!("it belongs to user {}", about.uid())
    } else if writable {
        "other users can write it".to_owned()
    } else {
        return Ok(());
    };
    Err(refused(
        folder,
        &wrong,
        "remove it, or have its owner close it",
    ))
}

fn is_sticky(about: &Metadata) -> bool {
    about.mode() & STICKY != 0
}

/// The folders above are not ours to open.
fn check_passage(path: &Path, visitor: u32) -> io::Result<()> {
    for folder in path.ancestors().skip(1) {
        let about = fs::metadata(folder)?;
        if about.uid() != visitor && about.mode() & ANYBODY_PASSES == 0 {
            let wrong = format!("user {visitor} cannot pass through it");
            return Err(refused(folder, &wrong, "open it with chmod o+x"));
        }
    }
    Ok(())
}

fn refused(folder: &Path, wrong: &str, cure: &str) -> io::Error {
    let message = format!(
        "cannot use the folder {}: {wrong}; {cure}",
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
    fn a_folder_is_made_and_opened_only_for_visitors() {
        let dir = tempfile::tempdir().expect("folder");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("chmod");
        let path = dir.path().join("stayd/db");
        open(&path, None).expect("made");
        assert_eq!(mode(&path), MODE);

        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("chmod");
        open(&path, Some(identity::euid())).expect("ours");
        assert_eq!(mode(&path), 0o700);
        let nobody = Some(65534);
        let error = open(&path, nobody).expect_err("the folder above is closed");
        assert!(error.to_string().contains("cannot pass"), "{error}");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).expect("chmod");
        open(&path, nobody).expect("open");
        assert_eq!(mode(&path), 0o711);
    }

    #[test]
    fn a_folder_that_others_write_or_a_link_in_its_place_is_refused() {
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
    fn a_folder_of_somebody_elses_is_refused() {
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
