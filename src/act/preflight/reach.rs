//! May this person get there and do that?

use super::{Obstacle, forbidden, missing};
use crate::sys::{filesystem, identity, user};
use nix::unistd::{AccessFlags, access};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whoever is to use a file.
#[derive(Debug)]
pub(super) struct Person {
    name: Option<String>,
    uid: u32,
    groups: Vec<u32>,
}

/// What is to be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Enter a folder.
    Search,
    /// Run a file.
    Execute,
}

impl Person {
    /// The user of that name; none: ourselves.
    pub(super) fn named(name: Option<&str>) -> Result<Self, Obstacle> {
        let Some(name) = name else {
            return Ok(Self {
                name: None,
                uid: identity::euid(),
                groups: Vec::new(),
            });
        };
        let found = nix::unistd::User::from_name(name).ok().flatten();
        let found = found.ok_or_else(|| {
            missing(format!(
                "there is no user {name}; create it, or correct `user`"
            ))
        })?;
        let groups = user::groups(name, found.gid.as_raw()).unwrap_or_default();
        Ok(Self {
            name: Some(name.to_owned()),
            uid: found.uid.as_raw(),
            groups,
        })
    }

    /// Whether every folder above `path` may be searched, and `path` itself used; what is not there is no obstacle here.
    pub(super) fn can(&self, path: &Path, want: Want) -> Result<(), Obstacle> {
        for folder in path.ancestors().skip(1).collect::<Vec<_>>().iter().rev() {
            self.may(folder, Want::Search)?;
        }
        if want == Want::Execute && path.is_file() && filesystem::forbids_execution(path) {
            return Err(forbidden(format!(
                "{0} lies on a file system that is mounted noexec; `mount -o remount,exec {1}`, or put it elsewhere",
                path.display(),
                mount_of(path).display()
            )));
        }
        self.may(path, want)
    }

    fn may(&self, path: &Path, want: Want) -> Result<(), Obstacle> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let Ok(found) = fs::metadata(path) else {
            return Ok(());
        };
        let may = match &self.name {
            // Access control lists and capabilities too: only for ourselves can the kernel be asked.
            None => access(path, AccessFlags::X_OK).is_ok(),
            Some(_) => self.has_x(&found),
        };
        if may {
            return Ok(());
        }
        let (who, shown) = (self.name.as_deref().unwrap_or("this user"), path.display());
        Err(forbidden(match want {
            Want::Search => format!("{who} may not enter {shown}; `chmod o+x {shown}`"),
            Want::Execute if found.mode() & 0o111 == 0 => {
                format!("{shown} is not executable; `chmod +x {shown}`")
            }
            Want::Execute => format!("{who} may not execute {shown}; `chmod o+x {shown}`"),
        }))
    }

    fn has_x(&self, found: &Metadata) -> bool {
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

/// The top of the file system that `path` is on.
fn mount_of(path: &Path) -> &Path {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let own = device(path);
    let inside = path.ancestors().take_while(|above| device(above) == own);
    inside.last().unwrap_or(path)
}

/// Nothing that a browser has put on it keeps it from running.
pub(super) fn is_trusted(program: &Path) -> Result<(), Obstacle> {
    if !filesystem::is_quarantined(program) {
        return Ok(());
    }
    let shown = program.display();
    Err(forbidden(format!(
        "{shown} is quarantined; `xattr -d com.apple.quarantine {shown}` when you trust where it came from"
    )))
}
