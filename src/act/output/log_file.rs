//! The log file of one service, `current.log`, and its rotation to `current.log.1`, `current.log.2`, …

use crate::act::dirs::state_dir::{FILE_MODE, create_folder};
use crate::act::failpoint::{Failpoint, reached};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name of the file that output is written to.
pub(super) const CURRENT: &str = "current.log";
/// The largest part at the end of a file in which rotation waits for a newline. That part is a quarter of a smaller
/// file.
const RESERVE_BYTES_MAX: u64 = 1024 * 1024;

/// The path of the file that was rotated `age` times; 0 is the current file.
pub(super) fn path_of(dir: &Path, age: u32) -> PathBuf {
    match age {
        0 => dir.join(CURRENT),
        age => dir.join(format!("{CURRENT}.{age}")),
    }
}

/// The log of one service, as one instance writes it. Two instances can have it open at the same time, while the last
/// output of the older one is drained. Either of them rotates the file for both.
#[derive(Debug)]
pub(super) struct LogFile {
    dir: PathBuf,
    max_size_bytes: u64,
    keep: u32,
    current: Option<File>,
}

/// Where to write the next bytes.
#[derive(Debug)]
pub(super) struct WritePosition<'a> {
    pub(super) file: &'a File,
    pub(super) offset: u64,
    /// Write at most this many bytes, then get a new position.
    pub(super) bytes_max: u64,
    /// The file is nearly full: write no further than the next newline.
    pub(super) to_newline: bool,
}

impl LogFile {
    pub(super) fn new(dir: PathBuf, max_size_bytes: u64, keep: u32) -> Self {
        Self {
            dir,
            max_size_bytes: max_size_bytes.max(1),
            keep,
            current: None,
        }
    }

    /// The position for the next bytes. Rotates a nearly full file that ends with a whole line, if `is_more` says that
    /// there are bytes for the next one. Creates folder and file again if they were deleted. The offset is the size
    /// given by fstat(2), so bytes that a killed stayd has moved are neither moved again nor overwritten.
    pub(super) fn write_position(
        &mut self,
        is_more: impl FnOnce() -> bool,
    ) -> io::Result<WritePosition<'_>> {
        let mut offset = self.open_current()?;
        if self.must_rotate(offset)? && (offset >= self.max_size_bytes || is_more()) {
            self.rotate()?;
            offset = self.open_current()?;
        }
        let is_full = offset >= self.reserve_start();
        let limit = if is_full {
            self.max_size_bytes
        } else {
            self.reserve_start()
        };
        let file = self.current.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(WritePosition {
            file,
            offset,
            bytes_max: limit.saturating_sub(offset).max(1),
            to_newline: is_full,
        })
    }

    /// Appends `line` on a line of its own: the whole line, or nothing.
    pub(super) fn append_line(&mut self, line: &str) -> io::Result<()> {
        let mut end = self.open_current()?;
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        // The line with a newline before and after it.
        if end > 0 && end.saturating_add(bytes).saturating_add(2) > self.max_size_bytes {
            self.rotate()?;
            end = self.open_current()?;
        }
        let newline = if end == 0 || self.ends_with_newline(end)? {
            ""
        } else {
            "\n"
        };
        let file = self.current.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let text = format!("{newline}{line}\n");
        file.write_all_at(text.as_bytes(), end).inspect_err(|_| {
            // Remove a half-written line. The disk may refuse this too.
            drop(file.set_len(end));
        })
    }

    /// Opens the current file again unless the open one still is it: another instance may have rotated it, and a user
    /// may have moved or deleted it. Returns its size.
    fn open_current(&mut self) -> io::Result<u64> {
        let path = path_of(&self.dir, 0);
        if let Some(file) = &self.current {
            let ours = file.metadata()?;
            let is_same = |found: Metadata| (found.dev(), found.ino()) == (ours.dev(), ours.ino());
            if fs::symlink_metadata(&path).is_ok_and(is_same) {
                return Ok(ours.len());
            }
        }
        create_folder(&self.dir)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        let size = file.metadata()?.len();
        self.current = Some(file);
        Ok(size)
    }

    fn must_rotate(&self, size: u64) -> io::Result<bool> {
        Ok(size >= self.reserve_start()
            && (size >= self.max_size_bytes || self.ends_with_newline(size)?))
    }

    /// The size from which on the file is rotated at the next newline. No file grows beyond `max_size_bytes`.
    fn reserve_start(&self) -> u64 {
        let reserve = (self.max_size_bytes / 4).min(RESERVE_BYTES_MAX);
        self.max_size_bytes - reserve
    }

    fn ends_with_newline(&self, size: u64) -> io::Result<bool> {
        let file = self.current.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut last = [0];
        file.read_exact_at(&mut last, size.saturating_sub(1))?;
        Ok(last == *b"\n")
    }

    /// Renames each file to the next age, up to the first missing age. If no age is missing, the oldest file is
    /// replaced.
    fn rotate(&mut self) -> io::Result<()> {
        reached(Failpoint::BeforeRotation);
        if self.keep == 0 {
            fs::remove_file(path_of(&self.dir, 0))?;
        }
        let gap = (1..self.keep).find(|&age| !path_of(&self.dir, age).exists());
        for age in (0..gap.unwrap_or(self.keep)).rev() {
            if age == 0 {
                reached(Failpoint::HalfRotated);
            }
            fs::rename(path_of(&self.dir, age), path_of(&self.dir, age + 1))?;
        }
        reached(Failpoint::AfterRotation);
        self.current = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(log: &mut LogFile, text: &str) {
        let position = log.write_position(|| true).expect("position");
        position
            .file
            .write_all_at(text.as_bytes(), position.offset)
            .expect("write");
    }

    fn read(dir: &Path, age: u32) -> String {
        fs::read_to_string(path_of(dir, age)).unwrap_or_default()
    }

    #[test]
    fn rotation_waits_for_a_newline_and_keeps_the_configured_number_of_files() {
        let dir = tempfile::tempdir().expect("folder");
        let mut log = LogFile::new(dir.path().to_owned(), 4, 2);
        for text in ["one\n", "tw", "o and more\n", "three\n", "four\n"] {
            put(&mut log, text);
        }
        assert_eq!(read(dir.path(), 0), "four\n");
        assert_eq!(read(dir.path(), 1), "three\n");
        assert_eq!(read(dir.path(), 2), "two and more\n");
        assert_eq!(read(dir.path(), 3), "");
    }

    #[test]
    fn without_a_newline_the_file_is_rotated_at_its_size_limit() {
        let dir = tempfile::tempdir().expect("folder");
        let mut log = LogFile::new(dir.path().to_owned(), 4, 1);
        for _ in 0..9 {
            put(&mut log, "x");
        }
        assert_eq!(read(dir.path(), 1), "x".repeat(4));
        assert_eq!(read(dir.path(), 0), "x");
    }

    #[test]
    fn no_file_grows_beyond_its_size_limit() {
        const MAX: u64 = 4096;
        let dir = tempfile::tempdir().expect("folder");
        let mut log = LogFile::new(dir.path().to_owned(), MAX, 50);
        for count in 0..2000_usize {
            // As the output thread does: at most `bytes_max`, and in a full file only up to the newline.
            let line = format!("{}\n", "x".repeat(count % 97));
            let mut rest = line.as_bytes();
            while !rest.is_empty() {
                let position = log.write_position(|| true).expect("position");
                let room = usize::try_from(position.bytes_max)
                    .expect("size")
                    .min(rest.len());
                let written = position.file.write_all_at(&rest[..room], position.offset);
                written.expect("write");
                rest = &rest[room..];
            }
            if count % 100 == 0 {
                log.append_line("stayd: a line of its own").expect("append");
            }
        }
        let files = fs::read_dir(dir.path()).expect("folder").flatten();
        let sizes: Vec<u64> = files
            .map(|file| file.metadata().expect("size").len())
            .collect();
        assert!(sizes.len() > 20, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= MAX), "{sizes:?}");
        for age in 1..20 {
            assert!(read(dir.path(), age).ends_with('\n'), "whole lines");
        }
    }

    #[test]
    fn two_instances_write_to_one_file_and_rotate_it_once() {
        let dir = tempfile::tempdir().expect("folder");
        let open = || LogFile::new(dir.path().to_owned(), 8, 9);
        let (mut older, mut newer) = (open(), open());
        put(&mut older, "1 1\n");
        put(&mut newer, "2 1\n");
        put(&mut older, "1 2\n");
        put(&mut newer, "2 2\n");
        put(&mut older, "1 3\n");
        assert_eq!(read(dir.path(), 2), "1 1\n2 1\n");
        assert_eq!(read(dir.path(), 1), "1 2\n2 2\n");
        assert_eq!(read(dir.path(), 0), "1 3\n");
    }

    #[test]
    fn a_full_file_is_rotated_only_when_there_are_more_bytes() {
        let dir = tempfile::tempdir().expect("folder");
        let mut log = LogFile::new(dir.path().to_owned(), 8, 1);
        put(&mut log, "six..\n");
        let position = log.write_position(|| false).expect("position");
        assert_eq!(
            (position.offset, position.bytes_max, position.to_newline),
            (6, 2, true)
        );
        assert_eq!(read(dir.path(), 1), "");
    }

    #[test]
    fn rotation_keeps_no_file_with_keep_0_and_fills_a_missing_age() {
        let dir = tempfile::tempdir().expect("folder");
        let mut log = LogFile::new(dir.path().to_owned(), 1, 0);
        put(&mut log, "a\n");
        put(&mut log, "b\n");
        assert_eq!(
            (read(dir.path(), 0), read(dir.path(), 1)),
            ("b\n".into(), String::new())
        );

        fs::write(path_of(dir.path(), 2), "old\n").expect("old file");
        let mut log = LogFile::new(dir.path().to_owned(), 1, 2);
        put(&mut log, "c\n");
        assert_eq!(read(dir.path(), 1), "b\n");
        assert_eq!(read(dir.path(), 2), "old\n", "the missing age was filled");
    }

    #[test]
    fn a_line_of_stayd_stands_on_a_line_of_its_own() {
        let dir = tempfile::tempdir().expect("folder");
        let mut log = LogFile::new(dir.path().to_owned(), 100, 1);
        log.append_line("first").expect("append");
        put(&mut log, "half");
        log.append_line("stayd: 3 bytes lost").expect("append");
        assert_eq!(read(dir.path(), 0), "first\nhalf\nstayd: 3 bytes lost\n");
    }
}
