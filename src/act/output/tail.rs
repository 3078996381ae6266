//! Reading captured output back: its last lines, and what comes after them. Works on the files alone, so a
//! client needs no daemon for it.

use super::file::path_of;
use nix::poll::{PollTimeout, poll};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most that is read back, however many lines were asked for.
const TAIL_BYTES_MAX: u64 = 1024 * 1024;
/// Read at once.
const BLOCK_BYTES: u64 = 64 * 1024;
/// How many rotated files are looked at.
const AGES_MAX: u32 = 1000;
/// Ages without a file before there are no elder ones: a rotation under way leaves one hole, which wanders down.
const HOLES_MAX: usize = 3;
/// Looks in vain for a file that has a name somewhere: rotations may outrun a look, or somebody has moved it away.
const SEARCHES_MAX: u32 = 10;
/// Between two looks at a file that has not grown.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Said when files went away before they were read.
const MISSED: &[u8] = b"stayd: some lines were rotated away before they could be shown\n";

/// The last `count` lines in `dir` (a service's log folder), oldest first, rotated files included; at most
/// 1 MiB. No log is no lines.
///
/// # Errors
/// What open(2) and read(2) say, a missing file apart.
pub fn tail(dir: &Path, count: usize) -> io::Result<Vec<String>> {
    let (text, _) = tail_and_follow(dir, count)?;
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .map(str::to_owned)
        .collect())
}

/// The last `count` lines as they were written, and a reader for what follows them, with nothing between.
///
/// # Errors
/// As [`tail`].
pub fn tail_and_follow(dir: &Path, count: usize) -> io::Result<(Vec<u8>, Follow)> {
    let mut files = ages(dir, File::open);
    let youngest = files.next().transpose()?.map(|(_, file)| file);
    let mut end = 0;
    let mut text = Vec::new();
    if let Some(file) = &youngest {
        end = file.metadata()?.len();
        read_back(file, end, count, &mut text)?;
    }
    let mut last_seen = youngest.as_ref().map(identity).transpose()?;
    while count_lines(&text) < count && (text.len() as u64) < TAIL_BYTES_MAX {
        let Some((_, file)) = files.next().transpose()? else {
            break;
        };
        let seen = Some(identity(&file)?);
        // Rotated while we looked: this is the file that we had already.
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
        Follow {
            dir: dir.to_owned(),
            file: youngest,
            offset: end,
            searches: 0,
        },
    ))
}

/// Puts enough of the file before `end` in front of `text` to make `count` lines of it, if it has so many.
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

/// Lines in `text`; an unfinished one at the end counts.
fn count_lines(text: &[u8]) -> usize {
    let whole = text.iter().filter(|&&byte| byte == b'\n').count();
    whole + usize::from(text.last().is_some_and(|&byte| byte != b'\n'))
}

/// Where the last `count` lines of `text` begin.
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

/// Reads on where the log grows, through every rotation.
#[derive(Debug)]
pub struct Follow {
    dir: PathBuf,
    file: Option<File>,
    offset: u64,
    /// How often it was not found in a row.
    searches: u32,
}

impl Follow {
    /// What was written since the last call, as bytes, at most 64 KiB; empty when nothing came within
    /// `patience`. Blocks: for a client, or a thread of its own.
    ///
    /// # Errors
    /// What open(2) and read(2) say, a missing file apart.
    pub fn read(&mut self, patience: Duration) -> io::Result<Vec<u8>> {
        let mut waited = Duration::ZERO;
        loop {
            let text = self.read_now()?;
            if !text.is_empty() || waited >= patience {
                return Ok(text);
            }
            let nap = LOOK_EVERY.min(patience.saturating_sub(waited));
            pause(nap);
            waited += nap;
        }
    }

    fn read_now(&mut self) -> io::Result<Vec<u8>> {
        let Some(file) = &self.file else {
            let youngest = open(&self.dir, 0)?;
            self.enter(youngest);
            return self.read_block();
        };
        // First whose turn it is, then what is there: nothing is written to a file once it is rotated.
        let age = age_of(&self.dir, identity(file)?)?;
        if age.is_some() {
            self.searches = 0;
        }
        let text = self.read_block()?;
        match age {
            _ if !text.is_empty() => Ok(text),
            Some(0) => Ok(text),
            Some(age) => self.enter_younger(age),
            None if self.is_worth_a_search()? => Ok(text),
            None => self.enter_oldest(),
        }
    }

    /// A file that still has a name was overlooked, unless that goes on.
    fn is_worth_a_search(&mut self) -> io::Result<bool> {
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

    /// Goes on in the file after ours, which has `age`; stays when the ages changed meanwhile.
    fn enter_younger(&mut self, age: u32) -> io::Result<Vec<u8>> {
        let younger = open(&self.dir, age - 1)?;
        let own = self.file.as_ref().map(identity).transpose()?;
        let is_still = open(&self.dir, age)?.as_ref().map(identity).transpose()? == own;
        if younger.is_none() || !is_still {
            return Ok(Vec::new());
        }
        self.enter(younger);
        self.read_block()
    }

    fn enter(&mut self, file: Option<File>) {
        self.file = file;
        self.offset = 0;
        self.searches = 0;
    }

    /// Our file is gone: goes on with the eldest there is, and says so.
    fn enter_oldest(&mut self) -> io::Result<Vec<u8>> {
        let eldest = ages(&self.dir, File::open).last().transpose()?;
        let is_missed = eldest.is_some();
        self.enter(eldest.map(|(_, file)| file));
        let mut text = if is_missed {
            MISSED.to_vec()
        } else {
            Vec::new()
        };
        text.append(&mut self.read_block()?);
        Ok(text)
    }
}

/// poll(2) of nothing; a signal ends it early, which only means one more look.
fn pause(span: Duration) {
    let _ = poll(
        &mut [],
        PollTimeout::try_from(span).unwrap_or(PollTimeout::MAX),
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

/// How many rotations lie between the file and the current one; none when it was not found.
fn age_of(dir: &Path, file: (u64, u64)) -> io::Result<Option<u32>> {
    for found in ages(dir, std::fs::metadata) {
        let (age, meta) = found?;
        if id(&meta) == file {
            return Ok(Some(age));
        }
    }
    Ok(None)
}

/// What `look` finds at each age, the current file first. A file that ages meanwhile is met again, never missed, but
/// where rotations come faster than looks.
fn ages<T>(
    dir: &Path,
    look: impl Fn(PathBuf) -> io::Result<T>,
) -> impl Iterator<Item = io::Result<(u32, T)>> {
    let mut holes = 0;
    (0..AGES_MAX)
        .map(move |age| look(path_of(dir, age)).map(|found| (age, found)))
        .take_while(move |found| {
            holes += usize::from(is_hole(found));
            holes < HOLES_MAX
        })
        .filter(|found| !is_hole(found))
}

fn is_hole<T>(found: &io::Result<T>) -> bool {
    found
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn text(follow: &mut Follow) -> String {
        String::from_utf8(follow.read(Duration::ZERO).expect("read")).expect("text")
    }

    #[test]
    fn the_last_lines_come_from_as_many_files_as_it_takes() {
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
    fn following_goes_through_rotations() {
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
        assert!(text(&mut follow).ends_with("five\n"));
    }

    #[test]
    fn a_rotation_under_way_loses_nobody() {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(path_of(dir.path(), 1), "one\n").expect("write");
        let (seen, mut follow) = tail_and_follow(dir.path(), 5).expect("no current file");
        assert_eq!(seen, b"one\n");
        fs::rename(path_of(dir.path(), 1), path_of(dir.path(), 2)).expect("age");
        fs::write(path_of(dir.path(), 0), "two\n").expect("write");
        let (seen, _) = tail_and_follow(dir.path(), 5).expect("a hole");
        assert_eq!(seen, b"one\ntwo\n");
        assert_eq!(
            text(&mut follow),
            "",
            "whose turn it is shows when the hole is closed"
        );
        fs::rename(path_of(dir.path(), 0), path_of(dir.path(), 1)).expect("age");
        fs::write(path_of(dir.path(), 0), "three\n").expect("write");
        assert_eq!(text(&mut follow), "two\n");
        assert_eq!(text(&mut follow), "three\n");

        // Under a name that is none of ours it is looked for, but not for ever.
        fs::rename(path_of(dir.path(), 0), dir.path().join("taken")).expect("move");
        fs::write(path_of(dir.path(), 1), "four\n").expect("write");
        let searched = (1..SEARCHES_MAX).all(|_| text(&mut follow).is_empty());
        assert!(searched);
        assert!(text(&mut follow).ends_with("one\n"), "the eldest there is");
    }
}
