//! Checks that a user can reach a file and execute it.

use super::{PreflightError, forbidden, missing};
use crate::sys::{filesystem, identity, user};
use nix::unistd::{AccessFlags, access};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The user that will run the program.
#[derive(Debug)]
pub(super) struct RunAsUser {
    /// None: the user of this process.
    name: Option<String>,
    uid: u32,
    groups: Vec<u32>,
}

/// The access that is needed to a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Enter a folder.
    Search,
    /// Run a file.
    Execute,
}

impl RunAsUser {
    /// The user with this name or uid; `None`: the user of this process.
    pub(super) fn named(name: Option<&str>) -> Result<Self, PreflightError> {
        let Some(name) = name else {
            return Ok(Self {
                name: None,
                uid: identity::euid(),
                groups: Vec::new(),
            });
        };
        let found = user::look_up(name).ok().flatten();
        let found = found.ok_or_else(|| {
            missing(format!(
                "there is no user {name}; create it, or correct `user`"
            ))
        })?;
        Ok(Self {
            name: Some(name.to_owned()).filter(|_| found.user.uid != identity::euid()),
            uid: found.user.uid,
            groups: [vec![found.user.gid], found.user.groups].concat(),
        })
    }

    /// Checks that the user has search permission in every folder above `path`, and `access` to `path` itself. A path that
    /// does not exist is no error here.
    pub(super) fn check(&self, path: &Path, access: Access) -> Result<(), PreflightError> {
        for folder in path.ancestors().skip(1).collect::<Vec<_>>().iter().rev() {
            self.check_one(folder, Access::Search)?;
        }
        if access == Access::Execute && path.is_file() && filesystem::forbids_execution(path) {
            return Err(forbidden(format!(
                "{0} is on a file system that is mounted noexec; `mount -o remount,exec {1}`, or put it elsewhere",
                path.display(),
                mount_of(path).display()
            )));
        }
        self.check_one(path, access)
    }

    fn check_one(&self, path: &Path, wanted: Access) -> Result<(), PreflightError> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let Ok(found) = fs::metadata(path) else {
            return Ok(());
        };
        let allowed = match &self.name {
            // The kernel also considers access control lists and capabilities, but answers only for this process.
            None => access(path, AccessFlags::X_OK).is_ok(),
            Some(_) => self.has_execute_bit(&found),
        };
        if allowed {
            return Ok(());
        }
        let (name, shown) = (self.name.as_deref().unwrap_or("this user"), path.display());
        Err(forbidden(match wanted {
            Access::Search => format!("{name} may not enter {shown}; `chmod o+x {shown}`"),
            Access::Execute if found.mode() & 0o111 == 0 => {
                format!("{shown} is not executable; `chmod +x {shown}`")
            }
            Access::Execute => format!("{name} may not execute {shown}; `chmod o+x {shown}`"),
        }))
    }

    /// Whether the mode grants search or execute permission to the user.
    fn has_execute_bit(&self, found: &Metadata) -> bool {
        let bits = found.mode() & 0o111;
        if self.uid == 0 {
            found.is_dir() || bits != 0
        } else if self.uid == found.uid() {
            bits & 0o100 != 0
        } else if self.groups.contains(&found.gid()) {
            bits & 0o010 != 0
        } else {
            bits & 0o001 != 0
        }
    }
}

/// The root of the file system that contains `path`.
fn mount_of(path: &Path) -> &Path {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let own = device(path);
    let inside = path.ancestors().take_while(|above| device(above) == own);
    inside.last().unwrap_or(path)
}

/// On a Mac, a file that a browser has downloaded is quarantined and does not run.
pub(super) fn check_not_quarantined(program: &Path) -> Result<(), PreflightError> {
    if !filesystem::is_quarantined(program) {
        return Ok(());
    }
    let shown = program.display();
    Err(forbidden(format!(
        "{shown} is quarantined; `xattr -d com.apple.quarantine {shown}` when you trust where it came from"
    )))
}
