//! The content of a tree of files as a list: names, modes, links, metadata, and a hash of every file's bytes.
//!
//! From it come the fingerprint of the tree, the difference between two trees, and links that lead out of a tree.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Permission bits that are copied. The others (setuid, setgid) would give a copy rights that the owner of the source could
/// not grant.
pub(super) const MODE_KEPT: u32 = 0o777 | STICKY;
/// Without this bit, every user who may write into a folder may remove the files of others there.
pub(super) const STICKY: u32 = 0o1000;
/// The mode of a link; the system has none.
pub(super) const LINK_MODE: u32 = 0o777;
/// Hexadecimal digits of a fingerprint; 160 bits, and short enough for `#!` lines and socket paths.
pub(super) const FINGERPRINT_DIGITS: usize = 40;
/// Hexadecimal digits of a tree's stamp.
const STAMP_DIGITS: usize = 64;
/// Begins the hashed bytes of a fingerprint, so that another way of hashing gives other fingerprints.
const FINGERPRINT_DOMAIN: &[u8] = b"stayd runtime 1\0";
/// Begins the hashed bytes of a tree's stamp.
const STAMP_DOMAIN: &[u8] = b"stayd glance 1\0";
/// Bytes that are collected before they are hashed. BLAKE3 is slow on many small pieces.
const PIECE_BYTES: usize = 16 * 1024;
/// More symbolic links on one path than this are a circle (path_resolution(7) says 40).
const LINKS_MAX: u32 = 40;

/// A hash over names, modes, links and bytes: the same for equal trees, wherever they are. It names a runtime.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Parses a fingerprint; `None` where `text` is none.
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

/// The metadata that shows whether a file changed, without reading it. No process can set `changed_nanos` back (inode(7),
/// ctime).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    /// st_ino; on a read-only file system, combined with a number of its mount.
    pub inode: u64,
    /// Last change of the bytes, nanoseconds since 1970.
    pub modified_nanos: i64,
    /// Last change of the bytes or of the metadata, nanoseconds since 1970.
    pub changed_nanos: i64,
}

/// A hash over names, kinds, modes, lengths and stamps. As long as it is the same, no metadata in the tree changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeStamp(String);

impl TreeStamp {
    /// Parses a stamp; `None` where `text` is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        is_hexadecimal(text, STAMP_DIGITS).then(|| Self(text.to_owned()))
    }

    /// Its digits.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The BLAKE3 hash of a file's bytes.
pub(super) type FileHash = [u8; 32];

/// What an entry of a tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Its length.
        bytes: u64,
        /// The hash of its bytes; `None` as long as they were not read.
        hash: Option<FileHash>,
    },
    /// A symbolic link and its target.
    Link(PathBuf),
}

/// A file, folder or link in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Relative to the root; never empty, and without `..`.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, limited to [`MODE_KEPT`]; 0o777 for a link.
    pub mode: u32,
    /// Its metadata when the tree was listed.
    pub stamp: FileStamp,
}

/// A whole tree, sorted by path; the root itself is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// All files, folders and links.
    pub entries: Vec<Entry>,
    /// The stamp of the tree; `None` where it would not show every change.
    pub stamp: Option<TreeStamp>,
}

/// Looks up paths in ascending order; see [`Listing::sorted_lookup`].
#[derive(Clone, Debug)]
pub(super) struct SortedLookup<'a>(&'a [Entry]);

impl<'a> SortedLookup<'a> {
    /// The entry at `path`, which must sort after all paths of earlier calls.
    pub(super) fn find(&mut self, path: &Path) -> Option<&'a Entry> {
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
    /// Whether the two have the same name and metadata, so that they are equal unless reading them shows otherwise. The
    /// stamps of folders do not count: they change only when entries are added or removed.
    pub(super) fn has_metadata_of(&self, other: &Self) -> bool {
        let same_place = self.path == other.path && self.mode == other.mode;
        same_place
            && match (&self.kind, &other.kind) {
                (EntryKind::Folder, EntryKind::Folder) => true,
                (EntryKind::File { bytes, .. }, EntryKind::File { bytes: others, .. }) => {
                    bytes == others && self.stamp == other.stamp
                }
                (EntryKind::Link(target), EntryKind::Link(others)) => target == others,
                _ => false,
            }
    }

    /// Whether the two have the same name, mode and length: perhaps the same bytes on another inode.
    pub(super) fn has_size_and_mode_of(&self, other: &Self) -> bool {
        let same_place = self.path == other.path && self.mode == other.mode;
        same_place
            && match (&self.kind, &other.kind) {
                (EntryKind::File { bytes, .. }, EntryKind::File { bytes: others, .. }) => {
                    bytes == others
                }
                (one, two) => one == two,
            }
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.kind, EntryKind::File { .. })
    }
}

impl Listing {
    /// Sorts the entries by path.
    pub(super) fn of(mut entries: Vec<Entry>) -> Self {
        // A stable sort is fast on entries that are nearly sorted, as those of a walk and of a file are.
        entries.sort_by(|one, two| by_bytes(&one.path).cmp(by_bytes(&two.path)));
        Self {
            entries,
            stamp: None,
        }
    }

    /// Looks up many paths in ascending order, in one pass over the listing.
    pub(super) fn sorted_lookup(&self) -> SortedLookup<'_> {
        SortedLookup(&self.entries)
    }

    /// The number of files, and the sum of their bytes.
    pub(super) fn size(&self) -> (usize, u64) {
        self.entries.iter().fold((0, 0), |(files, sum), entry| {
            if let EntryKind::File { bytes, .. } = entry.kind {
                (files + 1, sum + bytes)
            } else {
                (files, sum)
            }
        })
    }

    /// Whether all entries have the names and metadata of those of `other`.
    pub(super) fn has_metadata_of(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len()
            && self.pairs(other).all(|(one, two)| one.has_metadata_of(two))
    }

    /// Whether all entries have the names, modes and lengths of those of `other`. Then it may be the same tree on other
    /// inodes, and is read before it is copied.
    pub(super) fn has_size_and_mode_of(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len()
            && self
                .pairs(other)
                .all(|(one, two)| one.has_size_and_mode_of(two))
    }

    fn pairs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a Entry, &'a Entry)> {
        self.entries.iter().zip(&other.entries)
    }

    /// Takes the hash of every file with the same metadata from `known`.
    pub(super) fn reuse_hashes(&mut self, known: &Self) {
        let mut known = known.sorted_lookup();
        for entry in &mut self.entries {
            let same = known
                .find(&entry.path)
                .filter(|one| one.has_metadata_of(entry));
            if let (EntryKind::File { hash, .. }, Some(EntryKind::File { hash: known, .. })) =
                (&mut entry.kind, same.map(|one| &one.kind))
            {
                *hash = *known;
            }
        }
    }

    /// Removes all hashes and the stamp, as if no file had been read.
    pub(super) fn forget_hashes(&mut self) {
        self.stamp = None;
        for entry in &mut self.entries {
            if let EntryKind::File { hash, .. } = &mut entry.kind {
                *hash = None;
            }
        }
    }

    /// The fingerprint; `None` while a file has no hash.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        let mut digest = Digest::new(FINGERPRINT_DOMAIN);
        for entry in &self.entries {
            digest.put_sized(entry.path.as_os_str().as_bytes());
            digest.put(&entry.mode.to_le_bytes());
            let (tag, what) = match &entry.kind {
                EntryKind::Folder => (b"d", &[][..]),
                EntryKind::File { hash, .. } => (b"f", &hash.as_ref()?[..]),
                EntryKind::Link(target) => (b"l", target.as_os_str().as_bytes()),
            };
            digest.put(tag);
            digest.put_sized(what);
        }
        let digits = digest.hex();
        Fingerprint::parse(digits.get(..FINGERPRINT_DIGITS)?)
    }

    /// The first link whose target is outside of the tree, and its target. A copy of such a link would lead to files beside
    /// the copy or to nothing.
    pub(super) fn escaping_link(&self) -> Option<(&Path, &Path)> {
        let links: BTreeMap<&Path, &Path> = self
            .entries
            .iter()
            .filter_map(|entry| match &entry.kind {
                EntryKind::Link(target) => Some((entry.path.as_path(), target.as_path())),
                EntryKind::Folder | EntryKind::File { .. } => None,
            })
            .collect();
        let escapes = |(link, target): &(&Path, &Path)| {
            let folder = link.parent().unwrap_or(Path::new(""));
            resolve(folder, target, &links, &mut 0).is_none()
        };
        let mut found = links.iter().map(|(&link, &target)| (link, target));
        found.find(escapes)
    }
}

/// Resolves `target` from the real folder `from`, as the kernel would; `None` where it leads outside of the tree or in a
/// circle. `followed` counts the links.
fn resolve(
    from: &Path,
    target: &Path,
    links: &BTreeMap<&Path, &Path>,
    followed: &mut u32,
) -> Option<PathBuf> {
    let mut at = from.to_owned();
    for part in target.components() {
        match part {
            Component::RootDir | Component::Prefix(_) => return None,
            Component::CurDir => {}
            Component::ParentDir => {
                if !at.pop() {
                    return None;
                }
            }
            Component::Normal(name) => {
                let next = at.join(name);
                at = match links.get(next.as_path()) {
                    None => next,
                    Some(target) => {
                        *followed += 1;
                        if *followed > LINKS_MAX {
                            return None;
                        }
                        resolve(&at, target, links, followed)?
                    }
                };
            }
        }
    }
    Some(at)
}

/// How a tree differs from an earlier listing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Removed, or with other bytes, another mode or another kind.
    pub altered: Vec<PathBuf>,
    /// Not in the earlier listing.
    pub added: Vec<PathBuf>,
}

impl Difference {
    /// How `now` differs from `then`. A file without a hash on one side is compared by its metadata.
    #[must_use]
    pub(super) fn from_listings(then: &Listing, now: &Listing) -> Self {
        let mut difference = Self::default();
        let mut found = now.sorted_lookup();
        for entry in &then.entries {
            let same = found
                .find(&entry.path)
                .filter(|found| is_same(entry, found));
            if same.is_none() {
                difference.altered.push(entry.path.clone());
            }
        }
        let mut known = then.sorted_lookup();
        for entry in &now.entries {
            if known.find(&entry.path).is_none() {
                difference.added.push(entry.path.clone());
            }
        }
        difference
    }

    /// The added files without Python's bytecode, sorted. These files are written by the service and would be lost with the
    /// runtime.
    #[must_use]
    pub(super) fn added_without_bytecode(&self) -> Vec<PathBuf> {
        let is_written = |path: &&PathBuf| !is_bytecode(path);
        let mut written: Vec<_> = self.added.iter().filter(is_written).cloned().collect();
        written.sort_unstable();
        written
    }
}

fn is_same(then: &Entry, now: &Entry) -> bool {
    match (&then.kind, &now.kind) {
        (
            EntryKind::File {
                hash: Some(then_hash),
                ..
            },
            EntryKind::File {
                hash: Some(now_hash),
                ..
            },
        ) => then_hash == now_hash && then.mode == now.mode,
        _ if then.is_file() => then.has_metadata_of(now),
        _ => then.has_size_and_mode_of(now),
    }
}

/// Whether Python wrote this file or folder beside its sources, as it does wherever it has permission.
#[must_use]
pub(super) fn is_bytecode(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("pyc")) || path.ends_with("__pycache__")
}

/// Computes the [`TreeStamp`] of a tree from its entries, in the order of a walk.
pub(super) struct TreeStamper(Digest);

impl TreeStamper {
    pub(super) fn new() -> Self {
        Self(Digest::new(STAMP_DOMAIN))
    }

    /// Adds exactly what [`Entry::has_metadata_of`] compares.
    pub(super) fn add(&mut self, path: &Path, kind: &EntryKind, mode: u32, stamp: &FileStamp) {
        let digest = &mut self.0;
        digest.put_sized(path.as_os_str().as_bytes());
        digest.put(&mode.to_le_bytes());
        match kind {
            EntryKind::Folder => digest.put(b"d"),
            EntryKind::File { bytes, .. } => {
                digest.put(b"f");
                digest.put(&bytes.to_le_bytes());
                digest.put(&stamp.inode.to_le_bytes());
                digest.put(&stamp.modified_nanos.to_le_bytes());
                digest.put(&stamp.changed_nanos.to_le_bytes());
            }
            EntryKind::Link(target) => {
                digest.put(b"l");
                digest.put_sized(target.as_os_str().as_bytes());
            }
        }
    }

    pub(super) fn finish(self) -> TreeStamp {
        TreeStamp(self.0.hex())
    }
}

/// A BLAKE3 hash over many small values.
struct Digest {
    hasher: blake3::Hasher,
    piece: Vec<u8>,
}

impl Digest {
    /// `domain` comes first, so that hashes for different purposes never agree.
    fn new(domain: &[u8]) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            piece: domain.to_vec(),
        }
    }

    /// Adds a value of fixed length.
    fn put(&mut self, bytes: &[u8]) {
        self.piece.extend(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.hasher.update(&self.piece);
            self.piece.clear();
        }
    }

    /// Adds a value of any length. The length comes first, so that no two sequences of values give the same bytes.
    fn put_sized(&mut self, bytes: &[u8]) {
        self.put(&(bytes.len() as u64).to_le_bytes());
        self.put(bytes);
    }

    /// The hash in hexadecimal.
    fn hex(mut self) -> String {
        self.hasher.update(&self.piece);
        self.hasher.finalize().to_hex().to_string()
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
mod tests {
    use super::*;

    const STAMP: FileStamp = FileStamp {
        inode: 1,
        modified_nanos: 2,
        changed_nanos: 3,
    };

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry {
            path: path.into(),
            kind,
            mode: 0o755,
            stamp: STAMP,
        }
    }

    fn file(path: &str, hash: u8) -> Entry {
        let hash = Some([hash; 32]);
        entry(path, EntryKind::File { bytes: 9, hash })
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, EntryKind::Link(target.into()))
    }

    #[test]
    fn a_fingerprint_depends_on_names_modes_links_and_bytes_and_on_nothing_else() {
        let tree = || {
            vec![
                entry("d", EntryKind::Folder),
                file("d/f", 1),
                link("l", "d/f"),
            ]
        };
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
            |tree| tree.push(entry("e", EntryKind::Folder)),
        ];
        for change in changes {
            let mut changed = tree();
            change(&mut changed);
            assert_ne!(of(changed.clone()), known, "{changed:?}");
        }
        let unread = entry(
            "f",
            EntryKind::File {
                bytes: 1,
                hash: None,
            },
        );
        assert_eq!(Listing::of(vec![unread]).fingerprint(), None);
    }

    fn escaping(entries: Vec<Entry>) -> Option<String> {
        let listing = Listing::of(entries);
        let (link, _) = listing.escaping_link()?;
        Some(link.display().to_string())
    }

    #[test]
    fn links_are_followed_as_the_kernel_would() {
        assert_eq!(
            escaping(vec![link("a/l", "../b"), link("l", "./gone/x")]),
            None
        );
        assert_eq!(
            escaping(vec![link("l", "/usr/bin/python3")]),
            Some("l".into())
        );
        assert_eq!(escaping(vec![link("a/l", "../../b")]), Some("a/l".into()));
        // As text alone, this path stays inside; the kernel follows `d` to the top first.
        let through = vec![link("a/b/d", "../../x"), link("a/b/l", "d/../../etc")];
        assert_eq!(escaping(through), Some("a/b/l".into()));
        assert_eq!(
            escaping(vec![link("l", "m"), link("m", "l")]),
            Some("l".into())
        );
    }

    #[test]
    fn a_difference_names_what_was_altered_and_what_was_added() {
        let then = Listing::of(vec![
            entry("d", EntryKind::Folder),
            file("f", 1),
            file("g", 1),
        ]);
        let mut touched = file("f", 1);
        touched.stamp.changed_nanos += 1;
        let now = Listing::of(vec![entry("d", EntryKind::Folder), touched, file("h", 1)]);
        let difference = Difference::from_listings(&then, &now);
        assert_eq!(difference.altered, [Path::new("g")]);
        assert_eq!(difference.added, [Path::new("h")]);
    }
}
