//! A listing as lines of text: what a person can read and `grep`, and a torn file shows itself.
//!
//! ```text
//! stayd-listing 1
//! glance GLANCE FINGERPRINT
//! f 755 5120 HASH INODE MODIFIED CHANGED bin/server
//! d 755 0 - INODE MODIFIED CHANGED lib
//! l 777 0 - INODE MODIFIED CHANGED lib/libx.so<TAB>libx.so.1
//! end 3
//! ```

use super::listing::{Entry, Fingerprint, Glance, Hash, Kind, Listing, Stamp};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// The first line; another number is another format.
const HEAD: &str = "stayd-listing 1";
/// The second line, where there is such a one: what saves reading the others.
const GLANCE: &str = "glance ";
/// The first two lines are not longer.
pub const HEAD_BYTES: u64 = 200;
/// The last line is not longer, the end of the one before it included.
pub const TAIL_BYTES: u64 = 30;
/// In the place of a hash that is not known.
const UNKNOWN: &str = "-";
/// Between a link and where it points; escaped in names.
const ARROW: char = '\t';

/// The listing as text.
#[must_use]
pub fn write(listing: &Listing) -> String {
    let mut text = format!("{HEAD}\n");
    if let (Some(glance), Some(fingerprint)) = (&listing.glance, listing.fingerprint()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{GLANCE}{} {fingerprint}", glance.as_str());
    }
    for entry in &listing.entries {
        let (letter, bytes, hash) = match &entry.kind {
            Kind::Folder => ('d', 0, None),
            Kind::File { bytes, hash } => ('f', *bytes, *hash),
            Kind::Link(_) => ('l', 0, None),
        };
        let hash = hash.map_or_else(
            || UNKNOWN.to_owned(),
            |hash| blake3::Hash::from_bytes(hash).to_hex().to_string(),
        );
        let Stamp {
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
        if let Kind::Link(target) = &entry.kind {
            text.push(ARROW);
            escape(target, &mut text);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "end {}", listing.entries.len());
    text
}

/// The listing that `text` says; none where it is torn or of another format.
#[must_use]
pub fn read(text: &str) -> Option<Listing> {
    let body = text.strip_prefix(HEAD)?.strip_prefix('\n')?;
    let (body, end) = body.trim_end_matches('\n').rsplit_once("end ")?;
    let (glance, body) = match body.split_once('\n') {
        Some((line, body)) if line.starts_with(GLANCE) => (Some(glance(line)?.0), body),
        _ => (None, body),
    };
    let entries: Vec<Entry> = body.lines().map(entry).collect::<Option<_>>()?;
    let whole = text.ends_with('\n') && end.parse() == Ok(entries.len());
    whole.then(|| Listing {
        glance,
        ..Listing::of(entries)
    })
}

/// By what a tree is known at a glance, and its fingerprint, from the first [`HEAD_BYTES`] and the last [`TAIL_BYTES`] of
/// its listing; none where a look at every entry is needed.
#[must_use]
pub fn read_glance(head: &str, tail: &str) -> Option<(Glance, Fingerprint)> {
    let body = head.strip_prefix(HEAD)?.strip_prefix('\n')?;
    let (_, end) = tail.strip_suffix('\n')?.rsplit_once('\n')?;
    end.strip_prefix("end ")?.parse::<usize>().ok()?;
    glance(body.split_once('\n')?.0)
}

fn glance(line: &str) -> Option<(Glance, Fingerprint)> {
    let (digits, fingerprint) = line.strip_prefix(GLANCE)?.split_once(' ')?;
    Some((Glance::parse(digits)?, Fingerprint::parse(fingerprint)?))
}

fn entry(line: &str) -> Option<Entry> {
    let mut fields = line.splitn(8, ' ');
    let letter = fields.next()?;
    let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
    let bytes = fields.next()?.parse().ok()?;
    let hash = hash(fields.next()?)?;
    let stamp = Stamp {
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
        ("d", None) => Kind::Folder,
        ("f", None) => Kind::File { bytes, hash },
        ("l", Some(target)) => Kind::Link(target),
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
    reason = "unreadable, unknown and known are three answers"
)]
fn hash(text: &str) -> Option<Option<Hash>> {
    if text == UNKNOWN {
        return Some(None);
    }
    let hash = blake3::Hash::from_hex(text).ok()?;
    Some(Some(*hash.as_bytes()))
}

/// A name for a person: a terminal obeys what is in it, so that is not shown as it is.
#[must_use]
pub fn shown(path: &Path) -> String {
    let mut text = String::new();
    escape(path, &mut text);
    text
}

/// Bytes that would end a field or a line, or that are no text, as `\xNN`.
fn escape(path: &Path, text: &mut String) {
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                let mut bytes = [0; 4];
                escape_bytes(c.encode_utf8(&mut bytes).as_bytes(), text);
            } else {
                text.push(c);
            }
        }
        escape_bytes(chunk.invalid(), text);
    }
}

fn escape_bytes(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        let _ = write!(text, "\\x{byte:02x}");
    }
}

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
            Just(Kind::Folder),
            (any::<u64>(), any::<Option<Hash>>())
                .prop_map(|(bytes, hash)| Kind::File { bytes, hash }),
            target.prop_map(|bytes| Kind::Link(OsString::from_vec(bytes).into())),
        ];
        let stamp = (any::<u64>(), any::<i64>(), any::<i64>());
        let entry =
            (path, kind, 0_u32..0o1000, stamp).prop_map(|(path, kind, mode, stamp)| Entry {
                path,
                kind,
                mode,
                stamp: Stamp {
                    inode: stamp.0,
                    modified_nanos: stamp.1,
                    changed_nanos: stamp.2,
                },
            });
        let glance = "[0-9a-f]{64}".prop_map(|digits| Glance::parse(&digits));
        (prop::collection::vec(entry, 0..9), glance).prop_map(|(entries, glance)| {
            let listing = Listing::of(entries);
            // A tree that has not been read as a whole is not known at a glance.
            let glance = listing.fingerprint().and(glance);
            Listing { glance, ..listing }
        })
    }

    /// What is read of a file.
    fn ends(text: &str) -> (String, String) {
        let bytes = text.as_bytes();
        let head = &bytes[..bytes.len().min(HEAD_BYTES as usize)];
        let tail = &bytes[bytes.len().saturating_sub(TAIL_BYTES as usize)..];
        let shown = |part| String::from_utf8_lossy(part).into_owned();
        (shown(head), shown(tail))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(listing in listings()) {
            let text = write(&listing);
            let (head, tail) = ends(&text);
            prop_assert_eq!(read_glance(&head, &tail), listing.glance.clone().zip(listing.fingerprint()));
            prop_assert_eq!(read(&text), Some(listing));
        }

        #[test]
        fn nonsense_is_no_listing(text in "(?s)(stayd-listing 1\n)?.{0,80}") {
            if let Some(listing) = read(&text) {
                prop_assert!(listing.entries.is_empty());
            }
        }

        #[test]
        fn a_torn_listing_is_none(listing in listings(), cut in any::<prop::sample::Index>()) {
            let text = write(&listing);
            let cut = (0..text.len()).filter(|at| text.is_char_boundary(*at)).nth(cut.index(text.chars().count()));
            let torn = &text[..cut.expect("a place")];
            prop_assert_eq!(read(torn), None);
            let (head, tail) = ends(torn);
            prop_assert_eq!(read_glance(&head, &tail), None);
        }
    }

    #[test]
    fn what_leads_out_is_not_believed() {
        for path in ["../x", "/x", "a/../b", ""] {
            let text = format!("{HEAD}\nd 755 0 - 1 2 3 {path}\nend 1\n");
            assert_eq!(read(&text), None, "{path}");
        }
    }
}
