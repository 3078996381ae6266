//! The source of a runtime, and the rights with which it is read.
//!
//! The user of a service can own the folder of its runtime, or the link that leads there. So stayd of root reads the source
//! with the rights of that user: a link leads to nothing that the user could not read. The copy is written with root's.

use super::display::printable;
use super::error::SourceError;
use super::listing::{Listing, TreeStamp};
use super::walk::{self, Folders};
use crate::act::spawn::run_as;
use crate::sys::file_rights::{self, HAS_FILE_RIGHTS};
use crate::sys::folder::Folder;
use crate::sys::spawn::User;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What is done first with a source; completes "cannot … PATH".
const OPEN: &str = "open the runtime's source";

/// A folder that runtimes are copied from.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    rights: Rights,
}

/// The rights with which a source is read.
#[derive(Clone, Debug)]
enum Rights {
    /// Those of this process.
    Own,
    /// Those of the service's user, by its name or uid in the configuration.
    OfUser(String, User),
    /// Those of this process, which is root's, in folders that no other user can change: where the service has a user
    /// whose rights a single thread cannot have.
    OwnIfUnchangeable,
}

impl Source {
    /// The folder `path`, read with the rights of this process.
    #[must_use]
    pub fn read_as_caller(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            rights: Rights::Own,
        }
    }

    /// The folder `path`, read with the rights of `user`, as configured; none: the user of this process. Looks the user up,
    /// which can hang in a directory service.
    ///
    /// # Errors
    /// There is no such user, or this process may not become it.
    pub fn read_as_service(path: &Path, user: Option<&str>) -> Result<Self, SourceError> {
        let source = Self::read_as_caller(path);
        let Some(name) = user else {
            return Ok(source);
        };
        let found = run_as::look_up(name).map_err(|failure| {
            let source = printable(path);
            let why = failure.message;
            let sentence = format!("cannot read the runtime's source {source}: {why}");
            if failure.lasting {
                SourceError::NoUser(sentence)
            } else {
                SourceError::Other(sentence)
            }
        })?;
        let rights = match run_as::to_change_to(found) {
            None => Rights::Own,
            Some(user) if HAS_FILE_RIGHTS => Rights::OfUser(name.to_owned(), user),
            Some(_) => Rights::OwnIfUnchangeable,
        };
        Ok(Self { rights, ..source })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the folder, through whatever links there are. Blocks for as long as its disk does.
    ///
    /// # Errors
    /// It does not exist, or may not be read.
    pub(super) fn open(&self) -> Result<File, SourceError> {
        let opened = match self.rights {
            Rights::OwnIfUnchangeable => return self.open_unchangeable(),
            Rights::Own | Rights::OfUser(..) => {
                self.with_rights(|| walk::open_folder(&self.path))?
            }
        };
        opened.map_err(|error| self.error(OPEN, &self.path, &error))
    }

    /// Lists what is below `root`, the open folder.
    ///
    /// # Errors
    /// As [`walk::walk_folders`].
    pub(super) fn list(&self, root: &File) -> Result<Listing, SourceError> {
        let walked = self.with_rights(|| walk::walk_folders(root, &self.path, self.folders()))?;
        walked.map_err(|error| self.name_user(error))
    }

    /// The stamp of what is below `root`, the open folder.
    ///
    /// # Errors
    /// As [`walk::tree_stamp`].
    pub(super) fn stamp(&self, root: &File) -> Result<TreeStamp, SourceError> {
        let stamped = self.with_rights(|| walk::tree_stamp(root, &self.path, self.folders()))?;
        stamped.map_err(|error| self.name_user(error))
    }

    /// Its path without links; none where it cannot be resolved.
    pub(super) fn canonical_path(&self) -> Option<PathBuf> {
        let resolved = self.with_rights(|| self.path.canonicalize());
        resolved.ok()?.ok()
    }

    /// Does `work` on this thread with the rights with which the source is read.
    ///
    /// # Errors
    /// The kernel refuses the rights; then `work` is not done.
    pub(super) fn with_rights<T>(&self, work: impl FnOnce() -> T) -> Result<T, SourceError> {
        let Rights::OfUser(name, user) = &self.rights else {
            return Ok(work());
        };
        file_rights::borrow(user, work).map_err(|error| {
            SourceError::Other(format!(
                "cannot read the runtime's source {} with the rights of user {name}: {error}",
                printable(&self.path)
            ))
        })
    }

    /// Classifies `error`, which happened to the file at `path` in the source. `action` completes "cannot ACTION PATH".
    pub(super) fn error(&self, action: &str, path: &Path, error: &io::Error) -> SourceError {
        self.name_user(SourceError::of_source(action, path, error))
    }

    /// Names the user in the error that the rights do not suffice.
    fn name_user(&self, error: SourceError) -> SourceError {
        match (&self.rights, error) {
            (Rights::OfUser(name, _), SourceError::PermissionDenied(sentence)) => {
                SourceError::DeniedToUser(format!(
                    "{sentence}: stayd reads the source with the rights of the service's user, {name}"
                ))
            }
            (_, error) => error,
        }
    }

    const fn folders(&self) -> Folders {
        match self.rights {
            Rights::Own | Rights::OfUser(..) => Folders::All,
            Rights::OwnIfUnchangeable => Folders::Unchangeable,
        }
    }

    fn open_unchangeable(&self) -> Result<File, SourceError> {
        let path = &self.path;
        let failed = |error| self.error(OPEN, path, &error);
        let folder = std::path::absolute(path).and_then(|path| Folder::open(&path));
        let folder = folder.map_err(failed)?;
        match folder.changeable_by() {
            Some(changeable) => Err(SourceError::of_changeable(path, changeable)),
            None => walk::reopen_folder(folder.into_fd()).map_err(failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::identity::{ROOT, euid};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown};

    /// As on macOS, where a single thread cannot have the rights of another user.
    #[test]
    #[ignore = "needs root"]
    fn without_the_users_rights_root_reads_only_folders_that_no_other_user_can_change() {
        assert_eq!(euid(), ROOT, "run as root");
        let base = tempfile::tempdir().expect("a folder");
        let path = base.path().join("source");
        let inner = path.join("inner");
        fs::create_dir_all(&inner).expect("made");
        let source = Source {
            path: path.clone(),
            rights: Rights::OwnIfUnchangeable,
        };
        let read = || source.open().and_then(|root| source.list(&root));
        assert_eq!(read().expect("root's alone").entries.len(), 1);
        let refused = |folder: &Path| match read() {
            Err(SourceError::DeniedToUser(why)) => {
                let named = format!("can change the folder {} or one above it", folder.display());
                assert!(why.contains(&named), "{why}");
            }
            other => panic!("{other:?}"),
        };
        for folder in [&inner, &path] {
            chown(folder, Some(65_534), None).expect("given");
            refused(folder);
            chown(folder, Some(ROOT), None).expect("taken back");
            fs::set_permissions(folder, Permissions::from_mode(0o777)).expect("set");
            refused(folder);
            fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("set");
        }
        read().expect("root's alone again");
    }
}
