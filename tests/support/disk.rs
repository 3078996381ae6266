//! A disk of its own: mounted for a test, pulled, filled or made read-only by it, and gone with it. Needs root.

use super::wait::TempDir;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Disk {
    _folder: TempDir,
    place: PathBuf,
    image: Option<PathBuf>,
    mounted: bool,
}

impl Disk {
    /// An ext4 file system of so many MiB on a loop device.
    pub(crate) fn ext4(mebibytes: u64) -> Self {
        Self::made_by("mkfs.ext4", mebibytes)
    }

    /// A btrfs file system of so many MiB, at least 110, on a loop device: its files can share their bytes.
    pub(crate) fn btrfs(mebibytes: u64) -> Self {
        Self::made_by("mkfs.btrfs", mebibytes)
    }

    /// A squashfs image of what is in `folder`, in which every file has the same times whenever it is made.
    pub(crate) fn squashfs(folder: &Path) -> Self {
        let place = TempDir::new();
        let image = place.join("image");
        run(Command::new("mksquashfs").arg(folder).arg(&image).args([
            "-quiet",
            "-no-progress",
            "-all-time",
            "1000000000",
            "-mkfs-time",
            "1000000000",
        ]));
        Self::at(place, Some(image)).put_back()
    }

    /// Another image takes the place of this one, as an updater exchanges them.
    pub(crate) fn exchange(&mut self, other: &Self) {
        self.pull();
        fs::copy(
            other.image.as_ref().expect("an image"),
            self.image.as_ref().expect("an image"),
        )
        .expect("copied");
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(self.image.as_ref().expect("an image"))
            .arg(&self.place));
        self.mounted = true;
    }

    fn made_by(maker: &str, mebibytes: u64) -> Self {
        let folder = TempDir::new();
        let image = folder.join("image");
        let file = fs::File::create(&image).expect("an image");
        file.set_len(mebibytes << 20).expect("its size");
        run(Command::new(maker).arg("-q").arg(&image));
        let disk = Self::at(folder, Some(image));
        disk.put_back()
    }

    /// A tmpfs of so many MiB, mounted with these options.
    pub(crate) fn tmpfs(mebibytes: u64, options: &str) -> Self {
        let mut disk = Self::at(TempDir::new(), None);
        let size = format!("size={mebibytes}m,{options}");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&disk.place));
        disk.mounted = true;
        disk
    }

    fn at(folder: TempDir, image: Option<PathBuf>) -> Self {
        let place = folder.join("disk");
        fs::create_dir(&place).expect("a folder");
        Self {
            _folder: folder,
            place,
            image,
            mounted: false,
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.place
    }

    /// It is there no more; what is open on it stays open.
    pub(crate) fn pull(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.place));
        self.mounted = false;
    }

    /// It is there again.
    pub(crate) fn put_back(mut self) -> Self {
        let image = self.image.as_ref().expect("a disk with an image");
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(&self.place));
        self.mounted = true;
        self
    }

    /// The disk dies behind so many MiB: what lies there and has not been read cannot be read any more.
    pub(crate) fn dies_behind(&self, mebibytes: u64) {
        let image = self.image.as_ref().expect("a disk with an image");
        let file = fs::File::options()
            .write(true)
            .open(image)
            .expect("an image");
        file.set_len(mebibytes << 20).expect("cut");
    }

    /// Mounted again with other options.
    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run(Command::new("mount")
            .args(["-o", &options])
            .arg(&self.place));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // Whatever a failed test has left on it.
            let _ = Command::new("umount")
                .arg("--lazy")
                .arg(&self.place)
                .status();
        }
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command
        .output()
        .expect("util-linux, e2fsprogs and btrfs-progs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
