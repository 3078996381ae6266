//! The file that captured output ends in, and its rotated elders: `current.log`, `current.log.1`, …

use crate::act::dirs::state_dir::{FILE_MODE, make_folder};
use crate::act::failpoint::{Failpoint, reached};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is written to now.
pub(super) const CURRENT: &str = "current.log";
/// The end of a file in which rotation only waits for a newline: a quarter of it, and no more than this.
const RESERVE_BYTES_MAX: u64 = 1024 * 1024;

/// The path of the `age`-th file: 0 is the current one.
pub(super) fn path_of(dir: &Path, age: u32) -> PathBuf {
    match age {
        0 => dir.join(CURRENT),
        age => dir.join(format!("{CURRENT}.{age}")),
    }
}

/// One service's log, as one life writes it. Two lives may have it open, the elder's last words beside the younger's
/// first, and either of them rotates it for both.
#[derive(Debug)]
pub(super) struct LogFile {
    dir: PathBuf,
    max_size_bytes: u64,
    keep: u32,
    current: Option<File>,
}

/// Where the next bytes belong.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) file: &'a File,
    pub(super) offset: u64,
    /// At most this many bytes, then ask again.
    pub(super) room: u64,
    /// The file is nearly full: only the rest of a line, please.
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

    /// The place for the next bytes. Rotates a nearly full file that ends with a whole line once there `is_more` to
    /// come, and builds folder and file anew when somebody has deleted them. The offset is what fstat(2) says, so
    /// whatever a killed predecessor has moved is neither moved again nor written over.
    pub(super) fn place(&mut self, is_more: impl FnOnce() -> bool) -> io::Result<Place<'_>> {
        let mut offset = self.open_current()?;
        if self.is_to_be_rotated(offset)? && (offset >= self.max_size_bytes || is_more()) {
            self.rotate()?;
            offset = self.open_current()?;
        }
        let full = offset >= self.reserve_begins();
        let limit = if full {
            self.max_size_bytes
        } else {
            self.reserve_begins()
        };
        let file = self.current.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(Place {
            file,
            offset,
            room: limit.saturating_sub(offset).max(1),
            to_newline: full,
        })
    }

    /// Appends a line of our own, on a line of its own; all of it or nothing.
    pub(super) fn append_line(&mut self, line: &str) -> io::Result<()> {
        let mut end = self.open_current()?;
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        // The line, and a newline before and after it.
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
            // Best effort on a disk that refuses: half a line of ours is worse than none.
            drop(file.set_len(end));
        })
    }

    /// Makes sure that what is open is still the current file: another life may have rotated it, and anybody may have
    /// moved it or deleted it. Returns its size.
    fn open_current(&mut self) -> io::Result<u64> {
        let path = path_of(&self.dir, 0);
        if let Some(file) = &self.current {
            let ours = file.metadata()?;
            let is_it = |there: Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
            if fs::symlink_metadata(&path).is_ok_and(is_it) {
                return Ok(ours.len());
            }
        }
        make_folder(&self.dir)?;
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

    fn is_to_be_rotated(&self, size: u64) -> io::Result<bool> {
        Ok(size >= self.reserve_begins()
            && (size >= self.max_size_bytes || self.ends_with_newline(size)?))
    }

    /// From this size on the file is rotated at the next newline; no file ever grows past its whole size.
    fn reserve_begins(&self) -> u64 {
        let reserve = (self.max_size_bytes / 4).min(RESERVE_BYTES_MAX);
        self.max_size_bytes - reserve
    }

    fn ends_with_newline(&self, size: u64) -> io::Result<bool> {
        let file = self.current.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut last = [0];
        file.read_exact_at(&mut last, size.saturating_sub(1))?;
        Ok(last == *b"\n")
    }

    /// Ages every file by one, as far as the first gap; the eldest makes room only when there is none.
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
        let place = log.place(|| true).expect("place");
        place
            .file
            .write_all_at(text.as_bytes(), place.offset)
            .expect("write");
    }

    fn read(dir: &Path, age: u32) -> String {
        fs::read_to_string(path_of(dir, age)).unwrap_or_default()
    }

    #[test]
    fn rotation_waits_for_a_newline_and_keeps_so_many() {
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
    fn without_a_newline_rotation_comes_at_the_bound() {
        let dir = tempfile::tempdir().expect("folder");
        let mut log = LogFile::new(dir.path().to_owned(), 4, 1);
        for _ in 0..9 {
            put(&mut log, "x");
        }
        assert_eq!(read(dir.path(), 1), "x".repeat(4));
        assert_eq!(read(dir.path(), 0), "x");
    }

    #[test]
    fn no_file_is_larger_than_was_said() {
        const MAX: u64 = 4096;
        let dir = tempfile::tempdir().expect("folder");
        let mut log = LogFile::new(dir.path().to_owned(), MAX, 50);
        for count in 0..2000_usize {
            // What the pump does: no more than there is room for, and in a full file only to the newline.
            let line = format!("{}\n", "x".repeat(count % 97));
            let mut rest = line.as_bytes();
            while !rest.is_empty() {
                let place = log.place(|| true).expect("place");
                let room = usize::try_from(place.room).expect("room").min(rest.len());
                let written = place.file.write_all_at(&rest[..room], place.offset);
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
    fn two_lives_at_once_write_to_one_file_and_rotate_it_once() {
        let dir = tempfile::tempdir().expect("folder");
        let open = || LogFile::new(dir.path().to_owned(), 8, 9);
        let (mut elder, mut younger) = (open(), open());
        put(&mut elder, "1 1\n");
        put(&mut younger, "2 1\n");
        put(&mut elder, "1 2\n");
        put(&mut younger, "2 2\n");
        put(&mut elder, "1 3\n");
        assert_eq!(read(dir.path(), 2), "1 1\n2 1\n");
        assert_eq!(read(dir.path(), 1), "1 2\n2 2\n");
        assert_eq!(read(dir.path(), 0), "1 3\n");
    }

    #[test]
    fn a_full_file_waits_for_the_first_byte_of_the_next() {
        let dir = tempfile::tempdir().expect("folder");
        let mut log = LogFile::new(dir.path().to_owned(), 8, 1);
        put(&mut log, "six..\n");
        let place = log.place(|| false).expect("place");
        assert_eq!((place.offset, place.room, place.to_newline), (6, 2, true));
        assert_eq!(read(dir.path(), 1), "");
    }

    #[test]
    fn keep_nothing_and_gaps_among_the_elders() {
        let dir = tempfile::tempdir().expect("folder");
        let mut log = LogFile::new(dir.path().to_owned(), 1, 0);
        put(&mut log, "a\n");
        put(&mut log, "b\n");
        assert_eq!(
            (read(dir.path(), 0), read(dir.path(), 1)),
            ("b\n".into(), String::new())
        );

        fs::write(path_of(dir.path(), 2), "old\n").expect("elder");
        let mut log = LogFile::new(dir.path().to_owned(), 1, 2);
        put(&mut log, "c\n");
        assert_eq!(read(dir.path(), 1), "b\n");
        assert_eq!(read(dir.path(), 2), "old\n", "the gap took it");
    }

    #[test]
    fn a_line_of_ours_stands_alone() {
        let dir = tempfile::tempdir().expect("folder");
        let mut log = LogFile::new(dir.path().to_owned(), 100, 1);
        log.append_line("first").expect("append");
        put(&mut log, "half");
        log.append_line("stayd: 3 bytes lost").expect("append");
        assert_eq!(read(dir.path(), 0), "first\nhalf\nstayd: 3 bytes lost\n");
    }
}
