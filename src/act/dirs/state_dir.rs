//! The state folder STATE: the paths in it, its creation, and the checks that only our user can change it.

use super::runtime_dir;
use crate::sys::folder::Folder;
use crate::sys::identity;
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Mode of STATE and of every folder in it.
pub const DIR_MODE: u32 = 0o700;
/// Mode of every file in it.
pub const FILE_MODE: u32 = 0o600;
/// Write permission for group and others.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
/// Search permission for group and others: with it they can open files by name, but not list the folder.
const GROUP_OR_OTHERS_SEARCH: u32 = 0o011;

/// The state folder of this stayd. It is checked, and the folders in it exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
    runtime: Option<PathBuf>,
}

/// Why stayd cannot use a state folder.
#[derive(Debug)]
pub enum StateDirError {
    /// A system call failed: (the step, the path, the error).
    System(&'static str, PathBuf, io::Error),
    /// It belongs to another user.
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
    },
    /// Other users can write it, so they could place claims or logs in it.
    OthersMayWrite(PathBuf),
    /// Another user can change a folder above it, and so redirect root to another place.
    Redirectable(PathBuf),
    /// The runtime folder failed its check: other users could place sockets in it.
    Runtime(io::Error),
}

impl std::fmt::Display for StateDirError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System(step, path, error) => write!(
                out,
                "cannot {step} {}: {error}; name another folder with --state-dir",
                path.display()
            ),
            Self::Foreign { path, owner } => write!(
                out,
                "cannot use {}: it belongs to user {owner}; name another folder with --state-dir",
                path.display()
            ),
            Self::OthersMayWrite(path) => write!(
                out,
                "cannot use {0}: other users can write it; check its content, then run chmod 700 {0}",
                path.display()
            ),
            Self::Redirectable(path) => write!(
                out,
                "cannot use {}: another user can change a folder above it, and could redirect root; name another folder \
                 with --state-dir",
                path.display()
            ),
            Self::Runtime(error) => write!(out, "{error}"),
        }
    }
}

impl std::error::Error for StateDirError {}

impl StateDir {
    /// Creates `root` and its folders if they are missing and checks that they belong to our user. If other users can
    /// only read a folder, its mode is changed to 0700. `runtime`, if given, is the folder for FIFOs that cannot be
    /// created in `root`, because its disk is full or does not support FIFOs.
    ///
    /// # Errors
    /// When a folder cannot be created, belongs to another user, or other users can write it; the same for `runtime`.
    pub fn open(root: &Path, runtime: Option<&Path>) -> Result<Self, StateDirError> {
        let state = Self {
            root: root.to_owned(),
            runtime: runtime.map(Path::to_owned),
        };
        check_way_to(root)?;
        create_private(root)?;
        // Another user may have created a part of the path in between, for example in /tmp. Now all of it exists.
        check_way_to(root)?;
        for folder in [state.claims(), state.logs()] {
            create_private(&folder)?;
        }
        if let Some(runtime) = runtime {
            runtime_dir::check(runtime).map_err(StateDirError::Runtime)?;
        }
        Ok(state)
    }

    /// Checks `root`, which exists, as [`StateDir::open`] does, without changing anything.
    ///
    /// # Errors
    /// When the folder belongs to another user, or other users can write it or redirect its path.
    pub fn check_existing(root: &Path) -> Result<(), StateDirError> {
        check_way_to(root)?;
        let meta = fs::metadata(root).map_err(|error| {
            StateDirError::System("read the metadata of", root.to_owned(), error)
        })?;
        check(root, &meta)
    }

    /// The path of STATE.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The lock file, locked for as long as stayd runs; it contains our pid.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        Self::lock_below(&self.root)
    }

    /// The lock file of a stayd whose state folder is `root`.
    #[must_use]
    pub fn lock_below(root: &Path) -> PathBuf {
        root.join("lock")
    }

    /// The control socket, used if its path is short enough for a socket address.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// The folder of the claims.
    #[must_use]
    pub fn claims(&self) -> PathBuf {
        Self::claims_below(&self.root)
    }

    /// The folder of the claims of a stayd whose state folder is `root`.
    #[must_use]
    pub fn claims_below(root: &Path) -> PathBuf {
        root.join("claims")
    }

    /// The folder of all captured output.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The folder of one service's captured output.
    #[must_use]
    pub fn service_logs(&self, service: &str) -> PathBuf {
        self.logs().join(service)
    }

    /// The journal's database.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        Self::journal_below(&self.root)
    }

    /// The journal's database of a stayd whose state folder is `root`.
    #[must_use]
    pub fn journal_below(root: &Path) -> PathBuf {
        root.join("journal.db")
    }

    /// The paths that an instance's FIFO can have, in the order to try.
    #[must_use]
    pub fn fifo_paths(&self, service: &str, name: &str) -> Vec<PathBuf> {
        let folders = self.fifo_folders(service).into_iter();
        folders
            .map(|(folder, prefix)| folder.join(format!("{prefix}{name}")))
            .collect()
    }

    /// The second name of the FIFO of a service's present instance. It is in another folder than the first one, because a
    /// claim proves nothing without this file on disk.
    #[must_use]
    pub fn second_fifo_name(&self, service: &str) -> PathBuf {
        self.claims().join(format!("{service}.fifo"))
    }

    /// The folders that can contain FIFOs of a service, each with the prefix of their names in it.
    #[must_use]
    pub fn fifo_folders(&self, service: &str) -> Vec<(PathBuf, String)> {
        let beside_the_logs = (self.service_logs(service), String::new());
        let elsewhere = self.runtime.clone().map(|dir| (dir, format!("{service}.")));
        [beside_the_logs].into_iter().chain(elsewhere).collect()
    }
}

/// Checks for root that no other user can change what the path means, while stayd creates and changes files there. Looks at
/// the part of the path that exists.
fn check_way_to(path: &Path) -> Result<(), StateDirError> {
    if identity::euid() != identity::ROOT {
        return Ok(());
    }
    for existing in path.ancestors() {
        match Folder::open(existing) {
            Ok(folder) if folder.changeable_by().is_none() => return Ok(()),
            Ok(_) => {
                // The folder itself may be the one that others can write. Then its mode is what to change.
                if existing == path
                    && let Ok(meta) = fs::metadata(path)
                {
                    check(path, &meta)?;
                }
                return Err(StateDirError::Redirectable(path.to_owned()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(StateDirError::System(
                    "check the path of",
                    existing.to_owned(),
                    error,
                ));
            }
        }
    }
    Ok(())
}

/// Creates the folder `path` if it is missing, checks it, and removes read permission of other users.
fn create_private(path: &Path) -> Result<(), StateDirError> {
    create_folder(path)
        .map_err(|error| StateDirError::System("create the folder", path.to_owned(), error))?;
    let meta = fs::metadata(path)
        .map_err(|error| StateDirError::System("read the metadata of", path.to_owned(), error))?;
    check(path, &meta)?;
    // Services of other users need search permission to reach their runtimes.
    if [DIR_MODE, DIR_MODE | GROUP_OR_OTHERS_SEARCH].contains(&(meta.mode() & 0o777)) {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(DIR_MODE))
        .map_err(|error| StateDirError::System("change the mode of", path.to_owned(), error))
}

/// Creates a folder and its parents with mode 0700. An existing folder is success.
///
/// # Errors
/// Errors of mkdir(2).
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path)
}

/// Checks that the folder belongs to our user and that other users cannot write it.
fn check(path: &Path, meta: &Metadata) -> Result<(), StateDirError> {
    if meta.uid() != identity::euid() {
        return Err(StateDirError::Foreign {
            path: path.to_owned(),
            owner: meta.uid(),
        });
    }
    if meta.mode() & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(StateDirError::OthersMayWrite(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).expect("folder").mode() & 0o777
    }

    #[test]
    fn a_new_folder_is_private() {
        let dir = tempfile::tempdir().expect("folder");
        let root = dir.path().join("a/b");
        let state = StateDir::open(&root, None).expect("opens");
        assert_eq!(mode_of(&root), DIR_MODE);
        assert_eq!(mode_of(&state.claims()), DIR_MODE);
        assert_eq!(mode_of(&state.logs()), DIR_MODE);
    }

    #[test]
    fn a_folder_that_others_can_read_is_made_private_and_one_they_can_write_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
        StateDir::open(dir.path(), None).expect("opens");
        assert_eq!(mode_of(dir.path()), DIR_MODE);

        fs::set_permissions(dir.path(), Permissions::from_mode(0o770)).expect("chmod");
        let error = StateDir::open(dir.path(), None).expect_err("refused");
        assert!(error.to_string().contains("chmod 700"), "{error}");
        fs::set_permissions(dir.path(), Permissions::from_mode(DIR_MODE)).expect("chmod");
    }

    #[test]
    #[ignore = "needs root"]
    fn root_refuses_a_folder_below_one_that_another_user_can_change() {
        let dir = tempfile::tempdir().expect("folder");
        let open = dir.path().join("open");
        fs::create_dir(&open).expect("made");
        for (mode, owner) in [(0o777, 0), (0o755, 54_321)] {
            fs::set_permissions(&open, Permissions::from_mode(mode)).expect("chmod");
            std::os::unix::fs::chown(&open, Some(owner), None).expect("chown");
            let below = open.join("a/b");
            let error = StateDir::open(&below, None)
                .expect_err("refused")
                .to_string();
            assert!(error.contains("redirect root"), "{error}");
            assert!(error.contains(&below.display().to_string()), "{error}");
            assert!(!open.join("a").exists());
            let itself = StateDir::open(&open, None)
                .expect_err("refused")
                .to_string();
            assert!(!itself.contains("redirect root"), "{itself}");
        }
    }

    #[test]
    fn an_error_about_a_file_in_the_way_names_the_option() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("taken");
        fs::write(&path, "").expect("write");
        let error = StateDir::open(&path, None).expect_err("refused");
        assert!(error.to_string().contains("--state-dir"), "{error}");
    }
}
