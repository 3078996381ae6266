//! Reports when a file in one of a few folders is deleted.

use super::platform;
use std::io;
use std::path::Path;

/// Watches folders for deleted files. On macOS it reports nothing: kqueue(2) shows every change of a folder alike, and stayd
/// changes its own folders all the time.
#[derive(Debug)]
pub struct FolderWatch {
    watch: Option<platform::folder_watch::FolderWatch>,
}

impl FolderWatch {
    /// A watch of no folder. If the system refuses it (the limit of inotify(7) instances of the user), it reports nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            watch: platform::folder_watch::FolderWatch::new().ok(),
        }
    }

    /// Watches also `folder`, unless it is watched already. A deleted folder that was created again has to be added again.
    ///
    /// # Errors
    /// Errors of inotify_add_watch(2).
    pub fn add(&self, folder: &Path) -> io::Result<()> {
        self.watch
            .as_ref()
            .map_or(Ok(()), |watch| watch.add(folder))
    }

    /// Waits until a file in a watched folder, or the folder itself, is deleted. Reports several deletions once.
    pub async fn deleted(&self) {
        match &self.watch {
            Some(watch) => watch.deleted().await,
            None => std::future::pending().await,
        }
    }
}

impl Default for FolderWatch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::FolderWatch;
    use std::time::Duration;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test(flavor = "current_thread")]
    async fn a_deleted_file_and_a_deleted_folder_are_reported_and_a_rename_is_not() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("watched");
        std::fs::create_dir(&folder).expect("made");
        let (file, other) = (folder.join("file"), folder.join("other"));
        let watch = FolderWatch::new();
        watch.add(&folder).expect("watched");
        watch.add(&folder).expect("watched once");

        std::fs::write(&file, "").expect("written");
        std::fs::rename(&file, &other).expect("renamed");
        let nothing = timeout(Duration::from_millis(50), watch.deleted()).await;
        assert!(nothing.is_err(), "a rename is reported");

        std::fs::remove_file(&other).expect("removed");
        timeout(SOON, watch.deleted()).await.expect("reported");
        std::fs::remove_dir(&folder).expect("removed");
        timeout(SOON, watch.deleted()).await.expect("reported");
    }
}
