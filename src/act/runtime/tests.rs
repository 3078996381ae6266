//! Tests of the cache on a real file system: copies equal their source, and failures leave existing runtimes unchanged.

use super::cache::{Cache, Materialized};
use super::copy::Progress;
use super::error::SourceError;
use super::listing::{Difference, Fingerprint};
use super::source::Source;
use super::walk;
use proptest::prelude::*;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A source folder and a state folder.
pub(super) struct Fixture {
    pub(super) dir: TempDir,
    pub(super) cache: Cache,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("source/bin")).expect("a source");
        fs::create_dir(dir.path().join("state")).expect("a state folder");
        let cache = Cache::of(&dir.path().join("state"));
        let fixture = Self { dir, cache };
        fixture.write("bin/server", "#!/bin/sh\nexit 7\n");
        fixture.chmod("bin/server", 0o755);
        fixture.write("data", "one");
        fixture
    }

    pub(super) fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.source().join(name), text).expect("written");
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.source().join(name), Permissions::from_mode(mode)).expect("set");
    }

    pub(super) fn make(&self) -> Result<Materialized, SourceError> {
        self.make_as(false)
    }

    fn make_as(&self, anew: bool) -> Result<Materialized, SourceError> {
        let locked = self.cache.lock().expect("locked");
        let source = Source::read_as_caller(&self.source());
        locked.materialize("s", &source, anew, &Progress::default())
    }

    fn made(&self) -> PathBuf {
        self.cache.path(&self.make().expect("made").fingerprint)
    }

    fn verify(&self, fingerprint: &Fingerprint) -> Difference {
        let locked = self.cache.lock().expect("locked");
        locked.verify(fingerprint).expect("verified")
    }

    /// Names of unfinished copies and files in the cache.
    fn unfinished(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path().join("state/runtime"))
            .expect("the cache")
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        names.retain(|name| name.starts_with(".new-") || name.ends_with(".new"));
        names
    }
}

/// Everything that a copy must preserve, as lines.
fn describe(root: &Path) -> Vec<String> {
    let folder = walk::open_folder(root).expect("a folder");
    let listing = walk::walk(&folder, root).expect("walked");
    let line = |path: &PathBuf| {
        let place = root.join(path);
        let meta = fs::symlink_metadata(&place).expect("there");
        let (mode, modified) = (meta.mode(), (meta.mtime(), meta.mtime_nsec()));
        if meta.is_symlink() {
            format!("{path:?} -> {:?}", fs::read_link(&place).expect("a link"))
        } else if meta.is_dir() {
            format!("{path:?} {mode:o}")
        } else {
            format!(
                "{path:?} {mode:o} {modified:?} {:?}",
                fs::read(&place).expect("read")
            )
        }
    };
    listing
        .entries
        .iter()
        .map(|entry| line(&entry.path))
        .collect()
}

#[test]
fn a_copy_equals_its_source_on_new_inodes() {
    let fixture = Fixture::new();
    symlink("bin/server", fixture.source().join("run")).expect("a link");
    fixture.write("secret", "x");
    fixture.chmod("secret", 0o640);
    let made = fixture.made();
    assert_eq!(describe(&made), describe(&fixture.source()));
    let inode = |root: &Path| fs::metadata(root.join("data")).expect("a file").ino();
    assert_ne!(inode(&made), inode(&fixture.source()));
    assert_eq!(fixture.unfinished(), [""; 0]);
    assert_eq!(fixture.cache.all().expect("read").len(), 1);
}

#[test]
fn an_unchanged_source_is_neither_read_nor_copied() {
    let fixture = Fixture::new();
    let first = fixture.make().expect("made");
    assert_eq!(first.copied.map(|(files, _)| files), Some(2));
    let again = fixture.make().expect("made");
    assert_eq!(
        (again.fingerprint, again.copied),
        (first.fingerprint.clone(), None)
    );
    // The same bytes on another inode are read, but not copied.
    fs::rename(fixture.source().join("data"), fixture.source().join("old")).expect("moved");
    fs::copy(fixture.source().join("old"), fixture.source().join("data")).expect("copied");
    fs::remove_file(fixture.source().join("old")).expect("removed");
    let moved = fixture.make().expect("made");
    assert_eq!((moved.fingerprint, moved.copied), (first.fingerprint, None));
}

#[test]
fn a_changed_source_gives_another_runtime_and_the_old_one_stays() {
    let fixture = Fixture::new();
    let old = fixture.made();
    let before = describe(&old);
    fixture.write("data", "two");
    let new = fixture.made();
    assert_ne!(new, old);
    assert_eq!(fs::read_to_string(new.join("data")).expect("read"), "two");
    assert_eq!(describe(&old), before);
    // The old content is not copied again.
    fixture.write("data", "one");
    assert_eq!(fixture.made(), old);
    let record = fixture.cache.record("s");
    assert_eq!(record.used.len(), 2);
    assert_eq!(fixture.cache.path(&record.used[0]), old);
}

#[test]
fn a_change_with_the_same_length_and_time_is_noticed() {
    let fixture = Fixture::new();
    let old = fixture.made();
    let file = fixture.source().join("data");
    let modified = fs::metadata(&file)
        .expect("there")
        .modified()
        .expect("a time");
    fixture.write("data", "two");
    let opened = fs::File::options().write(true).open(&file).expect("opened");
    opened.set_modified(modified).expect("set back");
    assert_ne!(fixture.made(), old);
}

#[test]
fn a_source_with_escaping_links_or_pipes_is_refused_and_they_are_named() {
    let fixture = Fixture::new();
    let old = fixture.make().expect("made").fingerprint;
    let refused = |what: &str| match fixture.make() {
        Err(SourceError::NotCopyable(why)) if why.contains(what) => {}
        other => panic!("{what}: {other:?}"),
    };
    symlink("/usr/bin/python3", fixture.source().join("python")).expect("a link");
    refused("python");
    fs::remove_file(fixture.source().join("python")).expect("removed");
    symlink("../../x", fixture.source().join("bin/x")).expect("a link");
    refused("bin/x");
    fs::remove_file(fixture.source().join("bin/x")).expect("removed");
    let fifo = fixture.source().join("queue");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    refused("queue");
    assert_eq!(fixture.verify(&old), Difference::default());
    assert_eq!(fixture.unfinished(), [""; 0]);
}

#[test]
fn the_setuid_bit_is_not_copied() {
    let fixture = Fixture::new();
    fixture.chmod("bin/server", 0o4755);
    let mode = fs::metadata(fixture.made().join("bin/server"))
        .expect("a file")
        .mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn a_missing_or_empty_source_is_unavailable() {
    let fixture = Fixture::new();
    let old = fixture.make().expect("made").fingerprint;
    fs::rename(fixture.source(), fixture.dir.path().join("away")).expect("moved");
    assert!(matches!(fixture.make(), Err(SourceError::Unavailable(_))));
    fs::create_dir(fixture.source()).expect("what a mount leaves");
    assert!(matches!(fixture.make(), Err(SourceError::Unavailable(_))));
    assert_eq!(fixture.verify(&old), Difference::default());
}

#[test]
fn an_altered_copy_is_found_and_copied_again_and_added_files_are_told_apart() {
    let fixture = Fixture::new();
    let made = fixture.make().expect("made").fingerprint;
    let path = fixture.cache.path(&made);
    fs::write(path.join("cache.pyc"), "by the service").expect("written");
    let added = fixture.verify(&made);
    assert_eq!(
        (added.altered.len(), &added.added[..]),
        (0, &[PathBuf::from("cache.pyc")][..])
    );
    // With the same length.
    fs::write(path.join("data"), "bad").expect("written");
    assert_eq!(fixture.verify(&made).altered, [Path::new("data")]);
    let mapped = fs::File::open(path.join("data")).expect("in use");
    let again = fixture.make_as(true).expect("made");
    assert_eq!(again.fingerprint, made);
    assert_eq!(fixture.verify(&made), Difference::default());
    assert_eq!(
        mapped.metadata().expect("there").nlink(),
        1,
        "nothing in use is overwritten or removed"
    );
    fs::remove_file(path.join("bin/server")).expect("removed");
    assert_eq!(fixture.verify(&made).altered, [Path::new("bin/server")]);
}

#[test]
fn a_copy_with_new_metadata_is_read_once_and_its_manifest_updated() {
    let fixture = Fixture::new();
    let made = fixture.make().expect("made").fingerprint;
    let file = fixture.cache.path(&made).join("data");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("set");
    assert_eq!(fixture.verify(&made).altered, [Path::new("data")]);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("set back");
    assert_eq!(fixture.verify(&made), Difference::default());
    let manifest = fixture.cache.manifest(&made).expect("a list");
    let stamp = manifest
        .sorted_lookup()
        .find(Path::new("data"))
        .expect("listed")
        .stamp;
    assert_eq!(
        stamp,
        walk::stamp(fs::File::open(&file).expect("a file"), 0)
            .expect("a stamp")
            .0
    );
}

#[test]
fn concurrent_copies_end_in_one_runtime_and_abandoned_copies_are_removed() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.dir.path().join("state/runtime/.new-1-0/bin"))
        .expect("an abandoned copy");
    let paths: Vec<PathBuf> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| fixture.made())).collect();
        threads
            .into_iter()
            .map(|one| one.join().expect("made"))
            .collect()
    });
    assert!(paths.iter().all(|path| *path == paths[0]));
    assert_eq!(fixture.cache.all().expect("read").len(), 1);
    assert_eq!(fixture.unfinished(), [""; 0]);
}

#[test]
fn a_runtime_with_an_incomplete_manifest_is_copied_again() {
    let fixture = Fixture::new();
    let made = fixture.make().expect("made").fingerprint;
    let list = fixture
        .dir
        .path()
        .join(format!("state/runtime/{made}.list"));
    let text = fs::read_to_string(&list).expect("read");
    fs::write(&list, &text[..text.len() / 2]).expect("torn");
    assert_eq!(fixture.cache.manifest(&made), None);
    assert!(matches!(
        fixture.cache.lock().expect("locked").verify(&made),
        Err(SourceError::Unavailable(_))
    ));
    assert!(fixture.make().expect("made").copied.is_some());
    assert_eq!(fixture.verify(&made), Difference::default());
}

#[test]
fn the_copy_of_a_sparse_file_is_sparse() {
    const HOLE_BYTES: u64 = 64 << 20;
    let fixture = Fixture::new();
    for (name, end) in [("ends-with-a-hole", &b""[..]), ("ends-with-data", b"end")] {
        let mut file = fs::File::create(fixture.source().join(name)).expect("a file");
        file.write_all(b"begin").expect("written");
        file.seek(SeekFrom::Start(HOLE_BYTES)).expect("a hole");
        file.write_all(end).expect("written");
        file.set_len(HOLE_BYTES + end.len() as u64)
            .expect("its length");
    }
    let copy = fixture.made();
    for name in ["ends-with-a-hole", "ends-with-data"] {
        let (from, to) = (fixture.source().join(name), copy.join(name));
        assert!(fs::read(from).expect("read") == fs::read(&to).expect("read"));
        let on_disk = fs::metadata(to).expect("there").blocks() * 512;
        assert!(on_disk < HOLE_BYTES / 8, "{name}: {on_disk} bytes");
    }
}

#[test]
fn a_source_that_contains_the_cache_is_refused() {
    let fixture = Fixture::new();
    let locked = fixture.cache.lock().expect("locked");
    let around = Source::read_as_caller(fixture.dir.path());
    let made = locked.materialize("s", &around, false, &Progress::default());
    let refused = made.expect_err("it would copy its copies").to_string();
    assert!(refused.contains("the copies are kept in it"), "{refused}");
}

#[test]
fn control_characters_in_names_are_escaped_in_messages() {
    let fixture = Fixture::new();
    let pipe = fixture.source().join("a\x1b[2Jb\n");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    let refused = fixture.make().expect_err("a pipe is refused").to_string();
    assert!(refused.contains("a\\x1b[2Jb\\n"), "{refused}");
    assert!(!refused.contains(char::is_control), "{refused}");
}

/// An entry of a random tree: the names of its path, its kind, its bytes and its mode.
type RandomEntry = (Vec<Vec<u8>>, u8, Vec<u8>, u32);

fn create(root: &Path, entries: &[RandomEntry]) {
    for (names, kind, bytes, mode) in entries {
        let names: Vec<OsString> = names.iter().cloned().map(OsString::from_vec).collect();
        let place = root.join(names.iter().collect::<PathBuf>());
        let Some(parent) = place.parent() else {
            continue;
        };
        // Skip an entry whose path exists already, or leads through a file.
        if fs::create_dir_all(parent).is_err() || place.symlink_metadata().is_ok() {
            continue;
        }
        match kind % 3 {
            0 => fs::create_dir(&place).expect("a folder"),
            1 => symlink(OsString::from_vec(names[0].clone().into_vec()), &place).expect("a link"),
            _ => {
                fs::write(&place, bytes).expect("a file");
                fs::set_permissions(&place, Permissions::from_mode(0o400 | mode)).expect("set");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn copies_of_random_trees_equal_their_sources(
        entries in prop::collection::vec(
            (
                prop::collection::vec(
                    prop::collection::vec((1_u8..=255).prop_filter("no slash", |b| *b != b'/'), 1..12)
                        .prop_filter("no dots", |name| name != b"." && name != b".."),
                    1..5,
                ),
                any::<u8>(),
                prop::collection::vec(any::<u8>(), 0..600),
                0_u32..0o1000,
            ),
            1..24,
        )
    ) {
        let fixture = Fixture::new();
        create(&fixture.source(), &entries);
        // A random link may point to itself. Such a circle is refused.
        match fixture.make() {
            Ok(made) => {
                let copy = fixture.cache.path(&made.fingerprint);
                prop_assert_eq!(describe(&copy), describe(&fixture.source()));
                prop_assert_eq!(fixture.verify(&made.fingerprint), Difference::default());
            }
            Err(SourceError::NotCopyable(why)) => prop_assert!(why.contains("leads out"), "{}", why),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
