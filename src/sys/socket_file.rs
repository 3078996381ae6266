//! The file of a bound Unix socket: whether it is still that socket's own, and its removal.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The file that bind(2) has created for a Unix socket. The socket itself has another inode, so the file has to be identified
/// when it is new.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode; none if the file was already gone.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// The file that is at `path` now.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        let identity = identity_of(&path).ok();
        Self { path, identity }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the file to `path`, and replaces a file there.
    ///
    /// # Errors
    /// Errors of rename(2).
    pub fn rename(&mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        path.clone_into(&mut self.path);
        Ok(())
    }

    /// Whether the path leads to no file or to another one, so that no client can reach the socket. False if the path cannot
    /// be checked.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match identity_of(&self.path) {
            Ok(found) => Some(found) != self.identity,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Removes the file, unless another one has its place. A file that cannot be removed stays; the next bind replaces it.
    pub fn remove(&self) {
        if !self.is_lost() {
            let _stays = fs::remove_file(&self.path);
        }
    }
}

fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::SocketFile;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn only_its_own_file_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let _first = UnixDatagram::bind(&path).expect("bound");
        let mut file = SocketFile::at(path.clone());
        assert!(!file.is_lost());
        let kept = folder.path().join("kept");
        file.rename(&kept).expect("renamed");
        assert!(!file.is_lost());
        let _second = UnixDatagram::bind(&path).expect("bound");
        std::fs::rename(&path, &kept).expect("replaced");
        assert!(file.is_lost());
        file.remove();
        assert!(kept.exists());
        std::fs::remove_file(&kept).expect("removed");
        assert!(file.is_lost());
    }
}
