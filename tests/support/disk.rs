//! File systems of a test's own: mounted for the test, pulled, filled, frozen or made read-only by it, unmounted when
//! dropped. They need root.

use super::wait::{SOON, TempDir, wait_until};
use super::{require_root, tool};
use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Disk {
    _folder: TempDir,
    mount_point: PathBuf,
    image: Option<PathBuf>,
    mounted: bool,
    frozen: Cell<bool>,
}

impl Disk {
    /// An ext4 file system of so many MiB on a loop device.
    pub(crate) fn ext4(mebibytes: u64) -> Self {
        Self::made_by("mkfs.ext4", mebibytes)
    }

    /// A btrfs file system of so many MiB, at least 110, on a loop device. Its files can share blocks.
    pub(crate) fn btrfs(mebibytes: u64) -> Self {
        Self::made_by("mkfs.btrfs", mebibytes)
    }

    /// A squashfs image of what is in `folder`. Every file in it has fixed times, the same in every image.
    pub(crate) fn squashfs(folder: &Path) -> Self {
        let folder_of_image = TempDir::new();
        let image = folder_of_image.join("image");
        run(tool("mksquashfs").arg(folder).arg(&image).args([
            "-quiet",
            "-no-progress",
            "-all-time",
            "1000000000",
            "-mkfs-time",
            "1000000000",
        ]));
        Self::at(folder_of_image, Some(image)).put_back()
    }

    /// Replaces the mounted image by that of `other`, as an updater does.
    pub(crate) fn exchange(&mut self, other: &Self) {
        self.unmount();
        fs::copy(
            other.image.as_ref().expect("an image"),
            self.image.as_ref().expect("an image"),
        )
        .expect("copied");
        self.mount();
    }

    /// Unmounts and mounts it again, so that the kernel has cached nothing of it.
    pub(crate) fn mount_anew(&mut self) {
        self.unmount();
        self.mount();
    }

    fn made_by(maker: &str, mebibytes: u64) -> Self {
        let folder = TempDir::new();
        let image = folder.join("image");
        let file = File::create(&image).expect("an image");
        file.set_len(mebibytes << 20).expect("its size");
        run(tool(maker).arg("-q").arg(&image));
        let disk = Self::at(folder, Some(image));
        disk.put_back()
    }

    /// A tmpfs of so many MiB, mounted with these options.
    pub(crate) fn tmpfs(mebibytes: u64, options: &str) -> Self {
        let mut disk = Self::at(TempDir::new(), None);
        let size = format!("size={mebibytes}m,{options}");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&disk.mount_point));
        disk.mounted = true;
        disk
    }

    fn at(folder: TempDir, image: Option<PathBuf>) -> Self {
        require_root();
        let mount_point = folder.join("disk");
        fs::create_dir(&mount_point).expect("a folder");
        Self {
            _folder: folder,
            mount_point,
            image,
            mounted: false,
            frozen: Cell::new(false),
        }
    }

    /// Its mount point.
    pub(crate) fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Unmounts it lazily, as when a disk is pulled: open files stay open.
    pub(crate) fn pull(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.mount_point));
        self.mounted = false;
    }

    /// Mounts it again.
    pub(crate) fn put_back(mut self) -> Self {
        self.mount();
        self
    }

    fn mount(&mut self) {
        let image = self.image.as_ref().expect("a disk with an image");
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(&self.mount_point));
        self.mounted = true;
    }

    /// Returns when the kernel has let go of the file system, which after [`Disk::pull`] may take any time. Fails the test
    /// where files on it stay open.
    fn unmount(&mut self) {
        wait_until("the file system is unmounted", SOON, || {
            let umount = Command::new("umount").arg(&self.mount_point).output();
            umount.expect("util-linux").status.success()
        });
        self.mounted = false;
    }

    /// Truncates the image: reads beyond so many MiB fail, unless the kernel has cached the bytes.
    pub(crate) fn dies_behind(&self, mebibytes: u64) {
        let image = self.image.as_ref().expect("a disk with an image");
        let file = File::options().write(true).open(image).expect("an image");
        file.set_len(mebibytes << 20).expect("cut");
    }

    /// Freezes it: writes to it hang without an error.
    pub(crate) fn freeze(&self) {
        run(&mut self.fsfreeze("--freeze"));
        self.frozen.set(true);
    }

    /// Lets writes go on.
    pub(crate) fn thaw(&self) {
        run(&mut self.fsfreeze("--unfreeze"));
        self.frozen.set(false);
    }

    fn fsfreeze(&self, option: &str) -> Command {
        let mut command = tool("fsfreeze");
        command.arg(option).arg(&self.mount_point);
        command
    }

    /// Remounts it with other options.
    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run(Command::new("mount")
            .args(["-o", &options])
            .arg(&self.mount_point));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.frozen.get() {
            let _ = self.fsfreeze("--unfreeze").status();
        }
        if self.mounted {
            // lazily: a failed test may have left open files on it
            let _ = Command::new("umount")
                .arg("--lazy")
                .arg(&self.mount_point)
                .status();
        }
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().expect("util-linux");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {message}");
}
