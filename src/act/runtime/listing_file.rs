//! The file format of a listing: lines of text that a user can read and `grep`. An incomplete file is recognized.
//!
//! ```text
//! stayd-listing 1
//! glance STAMP FINGERPRINT
//! f 755 5120 HASH INODE MODIFIED CHANGED bin/server
//! d 755 0 - INODE MODIFIED CHANGED lib
//! l 777 0 - INODE MODIFIED CHANGED lib/libx.so<TAB>libx.so.1
//! end 3
//! ```

use super::display::escape;
use super::listing::{Entry, EntryKind, FileHash, FileStamp, Fingerprint, Listing, TreeStamp};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// The first line. Another format gets another number.
const HEAD: &str = "stayd-listing 1";
/// Begins the second line, which exists if the stamp is known. With it, the other lines need not be read.
const STAMP: &str = "glance ";
/// Longest length of the first two lines together.
const HEAD_BYTES: u64 = 200;
/// Longest length of the last line, including the end of the line before it.
const TAIL_BYTES: u64 = 30;
/// Stands for a hash that is not known.
const UNKNOWN: &str = "-";
/// Separates a link's name from its target. It is escaped in names.
const ARROW: char = '\t';

/// Formats a listing.
pub(super) fn write(listing: &Listing) -> String {
    let mut text = format!("{HEAD}\n");
    if let (Some(stamp), Some(fingerprint)) = (&listing.stamp, listing.fingerprint()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{STAMP}{} {fingerprint}", stamp.as_str());
    }
    for entry in &listing.entries {
        let (letter, bytes, hash) = match &entry.kind {
            EntryKind::Folder => ('d', 0, None),
            EntryKind::File { bytes, hash } => ('f', *bytes, *hash),
            EntryKind::Link(_) => ('l', 0, None),
        };
        let hash = hash.map_or_else(
            || UNKNOWN.to_owned(),
            |hash| blake3::Hash::from_bytes(hash).to_hex().to_string(),
        );
        let FileStamp {
            inode,
            modified_nanos,
            changed_nanos,
        } = entry.stamp;
        let _ = write!(
            text,
            "{letter} {:o} {bytes} {hash} {inode} {modified_nanos} {changed_nanos} ",
            entry.mode
        );
        escape(&entry.path, &mut text);
        if let EntryKind::Link(target) = &entry.kind {
            text.push(ARROW);
            escape(target, &mut text);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "end {}", listing.entries.len());
    text
}

/// Parses a listing; `None` where the text is incomplete or of another format.
pub(super) fn read(text: &str) -> Option<Listing> {
    let body = text.strip_prefix(HEAD)?.strip_prefix('\n')?;
    let (body, end) = body.trim_end_matches('\n').rsplit_once("end ")?;
    let (stamp, body) = match body.split_once('\n') {
        Some((line, body)) if line.starts_with(STAMP) => (Some(parse_stamp(line)?.0), body),
        _ => (None, body),
    };
    let entries: Vec<Entry> = body.lines().map(parse_entry).collect::<Option<_>>()?;
    let whole = text.ends_with('\n') && end.parse() == Ok(entries.len());
    whole.then(|| Listing {
        stamp,
        ..Listing::of(entries)
    })
}

/// The stamp and the fingerprint of the tree whose listing is in the file `path`. Reads only the ends of the file; `None`
/// where they do not contain it.
pub(super) fn read_stamp_of(path: &Path) -> Option<(TreeStamp, Fingerprint)> {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    let mut file = File::open(path).ok()?;
    let bytes = file.metadata().ok()?.len();
    let mut beginning = (&file).take(HEAD_BYTES);
    beginning.read_to_end(&mut head).ok()?;
    let last = bytes.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(last)).ok()?;
    file.read_to_end(&mut tail).ok()?;
    // Both ends may be cut within a line or a character, but not within the lines that are parsed.
    read_stamp(
        &String::from_utf8_lossy(&head),
        &String::from_utf8_lossy(&tail),
    )
}

/// The stamp and the fingerprint, from the first [`HEAD_BYTES`] and the last [`TAIL_BYTES`] of a listing.
fn read_stamp(head: &str, tail: &str) -> Option<(TreeStamp, Fingerprint)> {
    let body = head.strip_prefix(HEAD)?.strip_prefix('\n')?;
    let (_, end) = tail.strip_suffix('\n')?.rsplit_once('\n')?;
    end.strip_prefix("end ")?.parse::<usize>().ok()?;
    parse_stamp(body.split_once('\n')?.0)
}

fn parse_stamp(line: &str) -> Option<(TreeStamp, Fingerprint)> {
    let (digits, fingerprint) = line.strip_prefix(STAMP)?.split_once(' ')?;
    Some((TreeStamp::parse(digits)?, Fingerprint::parse(fingerprint)?))
}

fn parse_entry(line: &str) -> Option<Entry> {
    let mut fields = line.splitn(8, ' ');
    let letter = fields.next()?;
    let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
    let bytes = fields.next()?.parse().ok()?;
    let hash = parse_hash(fields.next()?)?;
    let stamp = FileStamp {
        inode: fields.next()?.parse().ok()?,
        modified_nanos: fields.next()?.parse().ok()?,
        changed_nanos: fields.next()?.parse().ok()?,
    };
    let names = fields.next()?;
    let (path, target) = match names.split_once(ARROW) {
        Some((path, target)) => (path, Some(unescape(target)?)),
        None => (names, None),
    };
    let path = unescape(path)?;
    let inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let kind = match (letter, target) {
        ("d", None) => EntryKind::Folder,
        ("f", None) => EntryKind::File { bytes, hash },
        ("l", Some(target)) => EntryKind::Link(target),
        _ => return None,
    };
    (inside && !path.as_os_str().is_empty()).then_some(Entry {
        path,
        kind,
        mode,
        stamp,
    })
}

#[expect(
    clippy::option_option,
    reason = "unparseable, unknown and known are three results"
)]
fn parse_hash(text: &str) -> Option<Option<FileHash>> {
    if text == UNKNOWN {
        return Some(None);
    }
    let hash = blake3::Hash::from_hex(text).ok()?;
    Some(Some(*hash.as_bytes()))
}

/// Reverses [`escape`].
fn unescape(text: &str) -> Option<PathBuf> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    Some(OsString::from_vec(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listings() -> impl Strategy<Value = Listing> {
        let name =
            prop::collection::vec((1_u8..=255).prop_filter("no slash", |b| *b != b'/'), 1..9)
                .prop_filter("no dots", |name| name != b"." && name != b"..");
        let path = prop::collection::vec(name, 1..4).prop_map(|names| {
            names
                .into_iter()
                .map(OsString::from_vec)
                .collect::<PathBuf>()
        });
        let target = prop::collection::vec(1_u8..=255, 1..9);
        let kind = prop_oneof![
            Just(EntryKind::Folder),
            (any::<u64>(), any::<Option<FileHash>>())
                .prop_map(|(bytes, hash)| EntryKind::File { bytes, hash }),
            target.prop_map(|bytes| EntryKind::Link(OsString::from_vec(bytes).into())),
        ];
        let stamp = (any::<u64>(), any::<i64>(), any::<i64>());
        let entry =
            (path, kind, 0_u32..0o1000, stamp).prop_map(|(path, kind, mode, stamp)| Entry {
                path,
                kind,
                mode,
                stamp: FileStamp {
                    inode: stamp.0,
                    modified_nanos: stamp.1,
                    changed_nanos: stamp.2,
                },
            });
        let stamp = "[0-9a-f]{64}".prop_map(|digits| TreeStamp::parse(&digits));
        (prop::collection::vec(entry, 0..9), stamp).prop_map(|(entries, stamp)| {
            let listing = Listing::of(entries);
            // The stamp is written only with a fingerprint, and that needs all hashes.
            let stamp = listing.fingerprint().and(stamp);
            Listing { stamp, ..listing }
        })
    }

    /// The parts of a file that are read for its stamp.
    fn ends(text: &str) -> (String, String) {
        let bytes = text.as_bytes();
        let head = &bytes[..bytes.len().min(HEAD_BYTES as usize)];
        let tail = &bytes[bytes.len().saturating_sub(TAIL_BYTES as usize)..];
        let shown = |part| String::from_utf8_lossy(part).into_owned();
        (shown(head), shown(tail))
    }

    proptest! {
        #[test]
        fn a_listing_is_parsed_as_it_was_written(listing in listings()) {
            let text = write(&listing);
            let (head, tail) = ends(&text);
            prop_assert_eq!(read_stamp(&head, &tail), listing.stamp.clone().zip(listing.fingerprint()));
            prop_assert_eq!(read(&text), Some(listing));
        }

        #[test]
        fn other_text_is_not_parsed(text in "(?s)(stayd-listing 1\n)?.{0,80}") {
            if let Some(listing) = read(&text) {
                prop_assert!(listing.entries.is_empty());
            }
        }

        #[test]
        fn an_incomplete_listing_is_not_parsed(listing in listings(), cut in any::<prop::sample::Index>()) {
            let text = write(&listing);
            let cut = (0..text.len()).filter(|at| text.is_char_boundary(*at)).nth(cut.index(text.chars().count()));
            let torn = &text[..cut.expect("a place")];
            prop_assert_eq!(read(torn), None);
            let (head, tail) = ends(torn);
            prop_assert_eq!(read_stamp(&head, &tail), None);
        }
    }

    #[test]
    fn a_path_out_of_the_tree_is_not_parsed() {
        for path in ["../x", "/x", "a/../b", ""] {
            let text = format!("{HEAD}\nd 755 0 - 1 2 3 {path}\nend 1\n");
            assert_eq!(read(&text), None, "{path}");
        }
    }
}
