//! What lies in a tree of files: names, modes, links, and a hash of every file's bytes.

use super::digest::Digest;
use std::cmp::Ordering;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Permission bits that count. The others (setuid, setgid, sticky) would give a copy rights that its source's owner had
/// no right to give.
pub const MODE_KEPT: u32 = 0o777;
/// Hexadecimal digits of a fingerprint; 160 bits, and short enough for `#!` lines and socket paths.
pub const FINGERPRINT_DIGITS: usize = 40;
/// Of a glance.
const GLANCE_DIGITS: usize = 64;
/// Begins what is hashed, so that another way of hashing gives other fingerprints.
const DOMAIN: &[u8] = b"stayd runtime 1\0";

/// A hash over names, modes, links and bytes: the same for equal trees, wherever they are.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// `text` as a fingerprint, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_hexadecimal(text, FINGERPRINT_DIGITS).then(|| Self(text.to_owned()))
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// By which a change of an inode shows without reading it. Nobody can set `changed_nanos` back (inode(7), ctime).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// st_ino; on a file system that cannot be written mixed with a number of its mount.
    pub inode: u64,
    /// Last change of the bytes, nanoseconds since 1970.
    pub modified_nanos: i64,
    /// Last change of the bytes or of what is known about them, nanoseconds since 1970.
    pub changed_nanos: i64,
}

/// A hash over names, kinds, modes, lengths and stamps: as long as it is the same, nothing in the tree looks changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance(String);

impl Glance {
    pub(super) fn of(digest: Digest) -> Self {
        Self(digest.hex())
    }

    /// `text` as a glance, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_hexadecimal(text, GLANCE_DIGITS).then(|| Self(text.to_owned()))
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The BLAKE3 hash of a file's bytes.
pub type Hash = [u8; 32];

/// One thing in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Its length.
        bytes: u64,
        /// Of its bytes; none as long as nobody has read them.
        hash: Option<Hash>,
    },
    /// A symbolic link and where it points.
    Link(PathBuf),
}

/// One thing and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the root; never empty, never absolute, no `..` in it.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, [`MODE_KEPT`] of them; 0o777 for a link.
    pub mode: u32,
    /// When it was seen.
    pub stamp: Stamp,
}

/// A whole tree, sorted by path; the root itself is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// What is in it.
    pub entries: Vec<Entry>,
    /// By which the tree is known at a glance; none where a change might not show in it.
    pub glance: Option<Glance>,
}

/// See [`Listing::in_order`].
#[derive(Clone, Debug)]
pub struct InOrder<'a>(&'a [Entry]);

impl<'a> InOrder<'a> {
    /// What is at `path`, which comes after all that were asked for.
    pub fn at(&mut self, path: &Path) -> Option<&'a Entry> {
        while let Some((first, rest)) = self.0.split_first() {
            match by_bytes(&first.path).cmp(by_bytes(path)) {
                Ordering::Less => self.0 = rest,
                Ordering::Equal => return Some(first),
                Ordering::Greater => return None,
            }
        }
        None
    }
}

impl Entry {
    /// The same thing, as far as one can tell without reading it. A folder's stamp says only what came and went in it.
    #[must_use]
    pub fn looks_like(&self, other: &Self) -> bool {
        let same_place = self.path == other.path && self.mode == other.mode;
        same_place
            && match (&self.kind, &other.kind) {
                (Kind::Folder, Kind::Folder) => true,
                (Kind::File { bytes, .. }, Kind::File { bytes: others, .. }) => {
                    bytes == others && self.stamp == other.stamp
                }
                (Kind::Link(target), Kind::Link(others)) => target == others,
                _ => false,
            }
    }

    /// The same name, mode and length: perhaps the same bytes on another inode.
    #[must_use]
    pub fn may_equal(&self, other: &Self) -> bool {
        let same_place = self.path == other.path && self.mode == other.mode;
        same_place
            && match (&self.kind, &other.kind) {
                (Kind::File { bytes, .. }, Kind::File { bytes: others, .. }) => bytes == others,
                (one, two) => one == two,
            }
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }
}

impl Listing {
    /// Puts the entries into their order.
    #[must_use]
    pub fn of(mut entries: Vec<Entry>) -> Self {
        // This kind of sorting is quick with what is nearly in order, as a walk and a list are.
        entries.sort_by(|one, two| by_bytes(&one.path).cmp(by_bytes(&two.path)));
        Self {
            entries,
            glance: None,
        }
    }

    /// Looks up one path after the other, in ascending order, in one pass over the whole.
    #[must_use]
    pub fn in_order(&self) -> InOrder<'_> {
        InOrder(&self.entries)
    }

    /// The files and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        self.entries.iter().fold((0, 0), |(files, sum), entry| {
            if let Kind::File { bytes, .. } = entry.kind {
                (files + 1, sum + bytes)
            } else {
                (files, sum)
            }
        })
    }

    /// Whether nothing in it can be told from `other` without reading.
    #[must_use]
    pub fn looks_like(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len()
            && self.pairs(other).all(|(one, two)| one.looks_like(two))
    }

    /// Whether it may be the same tree on other inodes: worth reading before anything is copied.
    #[must_use]
    pub fn may_equal(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len()
            && self.pairs(other).all(|(one, two)| one.may_equal(two))
    }

    fn pairs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a Entry, &'a Entry)> {
        self.entries.iter().zip(&other.entries)
    }

    /// Takes over the hash of every file that looks as it does in `known`.
    pub fn take_hashes_of(&mut self, known: &Self) {
        let mut known = known.in_order();
        for entry in &mut self.entries {
            let same = known.at(&entry.path).filter(|one| one.looks_like(entry));
            if let (Kind::File { hash, .. }, Some(Kind::File { hash: known, .. })) =
                (&mut entry.kind, same.map(|one| &one.kind))
            {
                *hash = *known;
            }
        }
    }

    /// As if no file of it had been read.
    pub fn forget_bytes(&mut self) {
        self.glance = None;
        for entry in &mut self.entries {
            if let Kind::File { hash, .. } = &mut entry.kind {
                *hash = None;
            }
        }
    }

    /// The fingerprint; none while a file has not been read.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let mut digest = Digest::new(DOMAIN);
        for entry in &self.entries {
            digest.put_sized(entry.path.as_os_str().as_bytes());
            digest.put(&entry.mode.to_le_bytes());
            let (tag, what) = match &entry.kind {
                Kind::Folder => (b"d", &[][..]),
                Kind::File { hash, .. } => (b"f", &hash.as_ref()?[..]),
                Kind::Link(target) => (b"l", target.as_os_str().as_bytes()),
            };
            digest.put(tag);
            digest.put_sized(what);
        }
        let digits = digest.hex();
        Fingerprint::parse(digits.get(..FINGERPRINT_DIGITS)?)
    }
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == digits && text.bytes().all(digit)
}

fn by_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        inode: 1,
        modified_nanos: 2,
        changed_nanos: 3,
    };

    pub(crate) fn entry(path: &str, kind: Kind) -> Entry {
        Entry {
            path: path.into(),
            kind,
            mode: 0o755,
            stamp: STAMP,
        }
    }

    pub(crate) fn file(path: &str, hash: u8) -> Entry {
        let hash = Some([hash; 32]);
        entry(path, Kind::File { bytes: 9, hash })
    }

    pub(crate) fn link(path: &str, target: &str) -> Entry {
        entry(path, Kind::Link(target.into()))
    }

    #[test]
    fn a_fingerprint_is_of_names_modes_links_and_bytes_and_of_nothing_else() {
        let tree = || vec![entry("d", Kind::Folder), file("d/f", 1), link("l", "d/f")];
        let of = |entries| Listing::of(entries).fingerprint().expect("read");
        let known = of(tree());
        assert_eq!(known.as_str().len(), FINGERPRINT_DIGITS);
        let mut other_inodes = tree();
        other_inodes.reverse();
        other_inodes.iter_mut().for_each(|one| one.stamp.inode += 1);
        assert_eq!(of(other_inodes), known);
        let changes: [fn(&mut Vec<Entry>); 5] = [
            |tree| tree[1] = file("d/f", 2),
            |tree| tree[1].path = "d/g".into(),
            |tree| tree[1].mode = 0o644,
            |tree| tree[2] = link("l", "d"),
            |tree| tree.push(entry("e", Kind::Folder)),
        ];
        for change in changes {
            let mut changed = tree();
            change(&mut changed);
            assert_ne!(of(changed.clone()), known, "{changed:?}");
        }
        let unread = entry(
            "f",
            Kind::File {
                bytes: 1,
                hash: None,
            },
        );
        assert_eq!(Listing::of(vec![unread]).fingerprint(), None);
    }
}
