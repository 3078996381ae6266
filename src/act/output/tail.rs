//! Reads captured output back: the last lines, and new output as it comes. It uses only the files, so a client can read
//! them while no stayd runs.

use super::log_file::path_of;
use nix::poll::{PollTimeout, poll};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most bytes that are read back, independent of the number of lines asked for.
const TAIL_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes read at a time.
const BLOCK_BYTES: u64 = 64 * 1024;
/// The largest number of rotated files that are searched.
const AGES_MAX: u32 = 1000;
/// After this many missing ages there are no older files. A rotation in progress leaves one missing age, which moves
/// from the oldest file to the current one.
const MISSING_AGES_MAX: usize = 3;
/// Failed searches for a file that still has a link: rotations can be faster than a search, or a user has moved it.
const SEARCHES_MAX: u32 = 10;
/// The interval between two reads of a file that does not grow.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The last `count` lines in `dir`, a service's log folder, oldest first, including rotated files; at most 1 MiB.
/// Without a log file the result is empty.
///
/// # Errors
/// Errors of open(2) and read(2), except for a missing file.
pub fn tail(dir: &Path, count: usize) -> io::Result<Vec<String>> {
    let (text, _) = tail_and_follow(dir, count)?;
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .map(str::to_owned)
        .collect())
}

/// The last `count` lines as raw bytes, and a reader that continues exactly after them.
///
/// # Errors
/// As [`tail`].
pub fn tail_and_follow(dir: &Path, count: usize) -> io::Result<(Vec<u8>, LogFollower)> {
    let mut files = ages(dir, File::open);
    let newest = files.next().transpose()?.map(|(_, file)| file);
    let mut end = 0;
    let mut text = Vec::new();
    if let Some(file) = &newest {
        end = file.metadata()?.len();
        read_back(file, end, count, &mut text)?;
    }
    let mut last_seen = newest.as_ref().map(identity).transpose()?;
    while count_lines(&text) < count && (text.len() as u64) < TAIL_BYTES_MAX {
        let Some((_, file)) = files.next().transpose()? else {
            break;
        };
        let seen = Some(identity(&file)?);
        // A file that was rotated meanwhile is found again under its next age.
        if seen != last_seen {
            let length = file.metadata()?.len();
            read_back(&file, length, count, &mut text)?;
        }
        last_seen = seen;
    }
    let keep_from = start_of_last(&text, count);
    text.drain(..keep_from);
    Ok((
        text,
        LogFollower {
            dir: dir.to_owned(),
            file: newest,
            offset: end,
            newer: None,
            searches: 0,
            may_have_missed: false,
        },
    ))
}

/// Prepends blocks of the file before offset `end` to `text`, until `text` has `count` lines or the file begins.
fn read_back(file: &File, end: u64, count: usize, text: &mut Vec<u8>) -> io::Result<()> {
    let mut start = end;
    while start > 0 && count_lines(text) <= count && (text.len() as u64) < TAIL_BYTES_MAX {
        let length = start.min(BLOCK_BYTES);
        start -= length;
        let mut block = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut block, start)?;
        block.append(text);
        *text = block;
    }
    Ok(())
}

/// The number of lines in `text`, including an unfinished last one.
fn count_lines(text: &[u8]) -> usize {
    let whole = text.iter().filter(|&&byte| byte == b'\n').count();
    whole + usize::from(text.last().is_some_and(|&byte| byte != b'\n'))
}

/// The index at which the last `count` lines of `text` begin.
fn start_of_last(text: &[u8], count: usize) -> usize {
    if count == 0 {
        return text.len();
    }
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let newlines = body
        .iter()
        .enumerate()
        .rev()
        .filter(|&(_, &byte)| byte == b'\n');
    newlines.map(|(at, _)| at + 1).nth(count - 1).unwrap_or(0)
}

/// Reads new output of a log, across rotations.
#[derive(Debug)]
pub struct LogFollower {
    dir: PathBuf,
    file: Option<File>,
    offset: u64,
    /// The next newer file, if there was one when `file` was last found. It can be read after its name is gone too.
    newer: Option<File>,
    /// The number of consecutive searches that did not find `file`.
    searches: u32,
    may_have_missed: bool,
}

impl LogFollower {
    /// The bytes written since the last call, at most 64 KiB; empty if none come within `timeout`. Blocks, so call it
    /// in a client or on a thread of its own.
    ///
    /// # Errors
    /// Errors of open(2) and read(2), except for a missing file.
    pub fn read(&mut self, timeout: Duration) -> io::Result<Vec<u8>> {
        let mut waited = Duration::ZERO;
        loop {
            let text = self.read_now()?;
            if !text.is_empty() || waited >= timeout {
                return Ok(text);
            }
            let interval = POLL_INTERVAL.min(timeout.saturating_sub(waited));
            pause(interval);
            waited += interval;
        }
    }

    /// Whether files may have been deleted unread since the last call: the file that was read was deleted before there was a
    /// newer one, and nothing shows whether the oldest remaining one came directly after it.
    pub const fn take_may_have_missed(&mut self) -> bool {
        std::mem::replace(&mut self.may_have_missed, false)
    }

    fn read_now(&mut self) -> io::Result<Vec<u8>> {
        let Some(file) = &self.file else {
            let current = open(&self.dir, 0)?;
            self.switch_to(current);
            return self.read_block();
        };
        // Determine the age before reading: once a file is rotated, nothing more is written to it.
        let age = age_of(&self.dir, identity(file)?)?;
        if let Some(age) = age {
            self.searches = 0;
            self.newer = self.newer_than(age)?;
        }
        let text = self.read_block()?;
        match age {
            _ if !text.is_empty() => Ok(text),
            Some(0) => Ok(text),
            Some(age) => self.switch_to_newer(age),
            None if self.should_search_again()? => Ok(text),
            None => self.switch_after_loss(),
        }
    }

    /// Whether to search for the file again: it still has a link, so the search missed it, unless that happens too
    /// often.
    fn should_search_again(&mut self) -> io::Result<bool> {
        let links = self.file.as_ref().map(File::metadata).transpose()?;
        self.searches += 1;
        Ok(self.searches < SEARCHES_MAX && links.is_some_and(|meta| meta.nlink() > 0))
    }

    fn read_block(&mut self) -> io::Result<Vec<u8>> {
        let Some(file) = &self.file else {
            return Ok(Vec::new());
        };
        if file.metadata()?.len() < self.offset {
            self.offset = 0;
        }
        let mut block = vec![0; usize::try_from(BLOCK_BYTES).map_err(io::Error::other)?];
        let count = file.read_at(&mut block, self.offset)?;
        block.truncate(count);
        self.offset += count as u64;
        Ok(block)
    }

    /// Switches to the file after ours, whose age is `age`. Does nothing if a rotation changed the ages meanwhile.
    fn switch_to_newer(&mut self, age: u32) -> io::Result<Vec<u8>> {
        let newer = self.newer_than(age)?;
        if newer.is_none() {
            return Ok(Vec::new());
        }
        self.switch_to(newer);
        self.read_block()
    }

    /// The file after ours, whose age is `age`; none if there is none, or if a rotation changed the ages meanwhile.
    fn newer_than(&self, age: u32) -> io::Result<Option<File>> {
        let Some(newer_age) = age.checked_sub(1) else {
            return Ok(None);
        };
        let newer = open(&self.dir, newer_age)?;
        let own = self.file.as_ref().map(identity).transpose()?;
        let has_same_age = open(&self.dir, age)?.as_ref().map(identity).transpose()? == own;
        Ok(newer.filter(|_| has_same_age))
    }

    fn switch_to(&mut self, file: Option<File>) {
        self.file = file;
        self.offset = 0;
        self.newer = None;
        self.searches = 0;
    }

    /// Our file is gone. Continues with the next newer one, if it is known, else with the oldest one.
    fn switch_after_loss(&mut self) -> io::Result<Vec<u8>> {
        let mut next = self.newer.take();
        if next.is_none() {
            let oldest = ages(&self.dir, File::open).last().transpose()?;
            next = oldest.map(|(_, file)| file);
            self.may_have_missed |= next.is_some();
        }
        self.switch_to(next);
        self.read_block()
    }
}

/// Sleeps in poll(2). A signal ends the sleep early, which causes only an additional read.
fn pause(duration: Duration) {
    let _ = poll(
        &mut [],
        PollTimeout::try_from(duration).unwrap_or(PollTimeout::MAX),
    );
}

fn open(dir: &Path, age: u32) -> io::Result<Option<File>> {
    match File::open(path_of(dir, age)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|meta| id(&meta))
}

fn id(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// How often `file` was rotated; none if it was not found.
fn age_of(dir: &Path, file: (u64, u64)) -> io::Result<Option<u32>> {
    for found in ages(dir, std::fs::metadata) {
        let (age, meta) = found?;
        if id(&meta) == file {
            return Ok(Some(age));
        }
    }
    Ok(None)
}

/// The results of `read` for each existing file, the current one first. A file that is rotated meanwhile is visited
/// again; it is missed only if rotations are faster than the visits.
fn ages<T>(
    dir: &Path,
    read: impl Fn(PathBuf) -> io::Result<T>,
) -> impl Iterator<Item = io::Result<(u32, T)>> {
    let mut missing = 0;
    (0..AGES_MAX)
        .map(move |age| read(path_of(dir, age)).map(|found| (age, found)))
        .take_while(move |found| {
            missing += usize::from(is_missing(found));
            missing < MISSING_AGES_MAX
        })
        .filter(|found| !is_missing(found))
}

fn is_missing<T>(found: &io::Result<T>) -> bool {
    found
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn text(follow: &mut LogFollower) -> String {
        String::from_utf8(follow.read(Duration::ZERO).expect("read")).expect("text")
    }

    #[test]
    fn the_last_lines_are_read_from_several_files() {
        let dir = tempfile::tempdir().expect("folder");
        assert_eq!(tail(dir.path(), 3).expect("no log"), Vec::<String>::new());
        fs::write(path_of(dir.path(), 2), "1\n2\n").expect("write");
        fs::write(path_of(dir.path(), 1), "3\n").expect("write");
        fs::write(path_of(dir.path(), 0), "4\nhalf").expect("write");
        assert_eq!(tail(dir.path(), 0).expect("none"), Vec::<String>::new());
        assert_eq!(tail(dir.path(), 1).expect("one"), ["half"]);
        assert_eq!(tail(dir.path(), 4).expect("four"), ["2", "3", "4", "half"]);
        assert_eq!(
            tail(dir.path(), 9).expect("all"),
            ["1", "2", "3", "4", "half"]
        );
    }

    #[test]
    fn a_long_file_is_read_from_its_end() {
        let dir = tempfile::tempdir().expect("folder");
        let lines: String = (0..200_000).map(|n| format!("line {n}\n")).collect();
        fs::write(path_of(dir.path(), 0), lines).expect("write");
        assert_eq!(
            tail(dir.path(), 2).expect("two"),
            ["line 199998", "line 199999"]
        );
        let most = tail(dir.path(), usize::MAX).expect("bounded");
        assert!(most.len() < 200_000 && most.last().is_some_and(|line| line == "line 199999"));
    }

    #[test]
    fn following_continues_across_rotations() {
        let dir = tempfile::tempdir().expect("folder");
        let (seen, mut follow) = tail_and_follow(dir.path(), 5).expect("start");
        assert_eq!(seen, b"");
        let mut current = File::create(path_of(dir.path(), 0)).expect("create");
        current.write_all(b"one\n").expect("write");
        assert_eq!(text(&mut follow), "one\n");
        current.write_all(b"two\n").expect("write");
        for (n, name) in ["three\n", "four\n"].iter().enumerate() {
            if n == 1 {
                fs::rename(path_of(dir.path(), 1), path_of(dir.path(), 2)).expect("age");
            }
            fs::rename(path_of(dir.path(), 0), path_of(dir.path(), 1)).expect("age");
            fs::write(path_of(dir.path(), 0), name).expect("write");
        }
        let all: Vec<String> = (0..4).map(|_| text(&mut follow)).collect();
        assert_eq!(all, ["two\n", "three\n", "four\n", ""]);

        fs::remove_file(path_of(dir.path(), 0)).expect("delete");
        fs::remove_file(path_of(dir.path(), 1)).expect("delete");
        fs::remove_file(path_of(dir.path(), 2)).expect("delete");
        assert_eq!(text(&mut follow), "");
        fs::write(path_of(dir.path(), 0), "five\n").expect("write");
        assert_eq!(text(&mut follow), "five\n");
    }

    #[test]
    fn a_gap_is_reported_only_if_lines_can_be_missing() {
        let dir = tempfile::tempdir().expect("folder");
        let rotate = |next: &str| {
            // As the output thread does if it keeps one old file.
            fs::rename(path_of(dir.path(), 0), path_of(dir.path(), 1)).expect("age");
            fs::write(path_of(dir.path(), 0), next).expect("write");
        };
        let two_blocks = "x".repeat(usize::try_from(BLOCK_BYTES).expect("small") + 1);
        fs::write(path_of(dir.path(), 0), "").expect("write");
        let (_, mut follow) = tail_and_follow(dir.path(), 5).expect("start");
        fs::write(path_of(dir.path(), 0), &two_blocks).expect("write");
        rotate("2\n");
        assert_eq!(text(&mut follow), two_blocks[1..]);
        rotate("3\n");
        rotate("4\n");
        let all: Vec<String> = (0..3).map(|_| text(&mut follow)).collect();
        assert_eq!(all, ["x", "2\n", "3\n"]);
        assert!(
            follow.take_may_have_missed(),
            "its own file was gone and no newer one known"
        );
        assert_eq!(text(&mut follow), "4\n");
        assert!(!follow.take_may_have_missed());
    }

    #[test]
    fn following_loses_no_lines_during_a_rotation() {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(path_of(dir.path(), 1), "one\n").expect("write");
        let (seen, mut follow) = tail_and_follow(dir.path(), 5).expect("no current file");
        assert_eq!(seen, b"one\n");
        fs::rename(path_of(dir.path(), 1), path_of(dir.path(), 2)).expect("age");
        fs::write(path_of(dir.path(), 0), "two\n").expect("write");
        let (seen, _) = tail_and_follow(dir.path(), 5).expect("a missing age");
        assert_eq!(seen, b"one\ntwo\n");
        assert_eq!(
            text(&mut follow),
            "",
            "the age of the file is unknown until the rotation is done"
        );
        fs::rename(path_of(dir.path(), 0), path_of(dir.path(), 1)).expect("age");
        fs::write(path_of(dir.path(), 0), "three\n").expect("write");
        assert_eq!(text(&mut follow), "two\n");
        assert_eq!(text(&mut follow), "three\n");

        // A file that was moved to another name is searched for, but only a limited number of times.
        fs::rename(path_of(dir.path(), 0), dir.path().join("taken")).expect("move");
        fs::write(path_of(dir.path(), 1), "four\n").expect("write");
        let searched = (1..SEARCHES_MAX).all(|_| text(&mut follow).is_empty());
        assert!(searched);
        assert_eq!(text(&mut follow), "one\n", "the oldest existing file");
        assert!(follow.take_may_have_missed());
    }
}
