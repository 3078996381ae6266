//! The way to the copies, for services of other users.

use super::cache::Cache;
use super::listing::{Fingerprint, MODE_KEPT};
use crate::sys::identity;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// The folder of all instances' state is called so where nobody has chosen another place.
const OF_ALL_INSTANCES: &str = "stayd";
/// To pass through a folder whose names one knows: for everybody.
const SEARCH: u32 = 0o011;

impl Cache {
    /// Lets other users search the way to the copies, and nothing else: a service of another user runs from there. A folder
    /// that a person has chosen for the state is opened itself, and nothing above it.
    ///
    /// # Errors
    /// When a folder of ours does not take the mode.
    pub fn open_the_way(&self) -> io::Result<()> {
        let state = self.dir.parent().unwrap_or(&self.dir);
        let above = state
            .parent()
            .filter(|above| above.file_name() == Some(OsStr::new(OF_ALL_INSTANCES)));
        for folder in [Some(self.dir.as_path()), Some(state), above]
            .into_iter()
            .flatten()
        {
            open(folder)?;
        }
        Ok(())
    }

    /// Lets other users into a copy: the folder that was its source may have been one person's.
    ///
    /// # Errors
    /// When it does not take the mode.
    pub fn open_copy(&self, fingerprint: &Fingerprint) -> io::Result<()> {
        open(&self.path(fingerprint))
    }
}

fn open(folder: &Path) -> io::Result<()> {
    let found = folder.metadata()?;
    let mode = found.permissions().mode() & MODE_KEPT;
    if found.uid() != identity::euid() || mode | SEARCH == mode {
        return Ok(());
    }
    fs::set_permissions(folder, Permissions::from_mode(mode | SEARCH))
}
