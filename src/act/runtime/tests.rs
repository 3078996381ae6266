//! The cache on a real file system: what goes in comes out, and what goes wrong leaves what was there.

use super::cache::{Cache, Made};
use super::copy::Progress;
use super::difference::Difference;
use super::listing::Fingerprint;
use super::trouble::Trouble;
use super::walk;
use proptest::prelude::*;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A source and an instance's state.
pub(super) struct Place {
    pub(super) dir: TempDir,
    pub(super) cache: Cache,
}

impl Place {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("source/bin")).expect("a source");
        fs::create_dir(dir.path().join("state")).expect("a state folder");
        let cache = Cache::of(&dir.path().join("state"));
        let place = Self { dir, cache };
        place.write("bin/server", "#!/bin/sh\nexit 7\n");
        place.chmod("bin/server", 0o755);
        place.write("data", "one");
        place
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

    pub(super) fn make(&self) -> Result<Made, Trouble> {
        self.make_as(false)
    }

    fn make_as(&self, anew: bool) -> Result<Made, Trouble> {
        let held = self.cache.hold().expect("held");
        held.materialize("s", &self.source(), anew, &Progress::default())
    }

    fn made(&self) -> PathBuf {
        self.cache.path(&self.make().expect("made").fingerprint)
    }

    fn check(&self, fingerprint: &Fingerprint) -> Difference {
        let held = self.cache.hold().expect("held");
        held.check(fingerprint).expect("checked")
    }

    /// Names in the cache that are no runtime, no list and nothing of ours.
    fn litter(&self) -> Vec<String> {
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

/// Everything that a copy must keep, as lines.
fn shape(root: &Path) -> Vec<String> {
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
fn a_copy_is_its_source_bit_for_bit_on_fresh_inodes() {
    let place = Place::new();
    symlink("bin/server", place.source().join("run")).expect("a link");
    place.write("secret", "x");
    place.chmod("secret", 0o640);
    let made = place.made();
    assert_eq!(shape(&made), shape(&place.source()));
    let inode = |root: &Path| fs::metadata(root.join("data")).expect("a file").ino();
    assert_ne!(inode(&made), inode(&place.source()));
    assert_eq!(place.litter(), [""; 0]);
    assert_eq!(place.cache.all().expect("read").len(), 1);
}

#[test]
fn an_unchanged_source_is_neither_read_nor_copied() {
    let place = Place::new();
    let first = place.make().expect("made");
    assert_eq!(first.copied.map(|(files, _)| files), Some(2));
    let again = place.make().expect("made");
    assert_eq!(
        (again.fingerprint, again.copied),
        (first.fingerprint.clone(), None)
    );
    // the same bytes on another inode are read, and not copied
    fs::rename(place.source().join("data"), place.source().join("old")).expect("moved");
    fs::copy(place.source().join("old"), place.source().join("data")).expect("copied");
    fs::remove_file(place.source().join("old")).expect("removed");
    let moved = place.make().expect("made");
    assert_eq!((moved.fingerprint, moved.copied), (first.fingerprint, None));
}

#[test]
fn item_62_a_changed_source_is_another_runtime_and_the_old_one_stays() {
    let place = Place::new();
    let old = place.made();
    let before = shape(&old);
    place.write("data", "two");
    let new = place.made();
    assert_ne!(new, old);
    assert_eq!(fs::read_to_string(new.join("data")).expect("read"), "two");
    assert_eq!(shape(&old), before);
    // and back again is no copy
    place.write("data", "one");
    assert_eq!(place.made(), old);
    let record = place.cache.record("s");
    assert_eq!(record.used.len(), 2);
    assert_eq!(place.cache.path(&record.used[0]), old);
}

#[test]
fn a_change_of_the_same_length_and_time_is_seen() {
    let place = Place::new();
    let old = place.made();
    let file = place.source().join("data");
    let modified = fs::metadata(&file)
        .expect("there")
        .modified()
        .expect("a time");
    place.write("data", "two");
    let opened = fs::File::options().write(true).open(&file).expect("opened");
    opened.set_modified(modified).expect("set back");
    assert_ne!(place.made(), old);
}

#[test]
fn what_no_runtime_may_hold_is_refused_by_name() {
    let place = Place::new();
    let old = place.make().expect("made").fingerprint;
    let refused = |what: &str| match place.make() {
        Err(Trouble::Refused(why)) if why.contains(what) => {}
        other => panic!("{what}: {other:?}"),
    };
    symlink("/usr/bin/python3", place.source().join("python")).expect("a link");
    refused("python");
    fs::remove_file(place.source().join("python")).expect("removed");
    symlink("../../x", place.source().join("bin/x")).expect("a link");
    refused("bin/x");
    fs::remove_file(place.source().join("bin/x")).expect("removed");
    let fifo = place.source().join("queue");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    refused("queue");
    assert_eq!(place.check(&old), Difference::default());
    assert_eq!(place.litter(), [""; 0]);
}

#[test]
fn rights_that_only_an_owner_can_give_are_not_copied() {
    let place = Place::new();
    place.chmod("bin/server", 0o4755);
    let mode = fs::metadata(place.made().join("bin/server"))
        .expect("a file")
        .mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn a_source_that_is_gone_or_empty_is_gone() {
    let place = Place::new();
    let old = place.make().expect("made").fingerprint;
    fs::rename(place.source(), place.dir.path().join("away")).expect("moved");
    assert!(matches!(place.make(), Err(Trouble::Gone(_))));
    fs::create_dir(place.source()).expect("what a mount leaves");
    assert!(matches!(place.make(), Err(Trouble::Gone(_))));
    assert_eq!(place.check(&old), Difference::default());
}

#[test]
fn item_64_a_copy_that_was_changed_is_found_and_made_anew_and_what_was_added_is_told_apart() {
    let place = Place::new();
    let made = place.make().expect("made").fingerprint;
    let path = place.cache.path(&made);
    fs::write(path.join("cache.pyc"), "by the service").expect("written");
    let added = place.check(&made);
    assert_eq!(
        (added.altered.len(), &added.added[..]),
        (0, &[PathBuf::from("cache.pyc")][..])
    );
    // of the same length
    fs::write(path.join("data"), "bad").expect("written");
    assert_eq!(place.check(&made).altered, [Path::new("data")]);
    let mapped = fs::File::open(path.join("data")).expect("in use");
    let again = place.make_as(true).expect("made");
    assert_eq!(again.fingerprint, made);
    assert_eq!(place.check(&made), Difference::default());
    assert_eq!(
        mapped.metadata().expect("there").nlink(),
        1,
        "nothing in use is overwritten or removed"
    );
    fs::remove_file(path.join("bin/server")).expect("removed");
    assert_eq!(place.check(&made).altered, [Path::new("bin/server")]);
}

#[test]
fn a_touched_copy_is_read_once_and_then_known_again() {
    let place = Place::new();
    let made = place.make().expect("made").fingerprint;
    let file = place.cache.path(&made).join("data");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("set");
    assert_eq!(place.check(&made).altered, [Path::new("data")]);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("set back");
    assert_eq!(place.check(&made), Difference::default());
    let manifest = place.cache.manifest(&made).expect("a list");
    let stamp = manifest
        .in_order()
        .at(Path::new("data"))
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
fn item_63_two_copiers_at_once_end_in_one_runtime_and_leavings_are_swept() {
    let place = Place::new();
    fs::create_dir_all(place.dir.path().join("state/runtime/.new-1-0/bin")).expect("leavings");
    let of_both: Vec<PathBuf> = std::thread::scope(|scope| {
        let copiers: Vec<_> = (0..4).map(|_| scope.spawn(|| place.made())).collect();
        copiers
            .into_iter()
            .map(|one| one.join().expect("made"))
            .collect()
    });
    assert!(of_both.iter().all(|path| *path == of_both[0]));
    assert_eq!(place.cache.all().expect("read").len(), 1);
    assert_eq!(place.litter(), [""; 0]);
}

#[test]
fn a_torn_list_is_no_list_and_the_runtime_is_made_anew() {
    let place = Place::new();
    let made = place.make().expect("made").fingerprint;
    let list = place.dir.path().join(format!("state/runtime/{made}.list"));
    let text = fs::read_to_string(&list).expect("read");
    fs::write(&list, &text[..text.len() / 2]).expect("torn");
    assert_eq!(place.cache.manifest(&made), None);
    assert!(matches!(
        place.cache.hold().expect("held").check(&made),
        Err(Trouble::Gone(_))
    ));
    assert!(place.make().expect("made").copied.is_some());
    assert_eq!(place.check(&made), Difference::default());
}

#[test]
fn a_sparse_file_fills_no_disk() {
    const HOLE_BYTES: u64 = 64 << 20;
    let place = Place::new();
    for (name, end) in [("ends-with-a-hole", &b""[..]), ("ends-with-data", b"end")] {
        let mut file = fs::File::create(place.source().join(name)).expect("a file");
        file.write_all(b"begin").expect("written");
        file.seek(SeekFrom::Start(HOLE_BYTES)).expect("a hole");
        file.write_all(end).expect("written");
        file.set_len(HOLE_BYTES + end.len() as u64)
            .expect("its length");
    }
    let copy = place.made();
    for name in ["ends-with-a-hole", "ends-with-data"] {
        let (from, to) = (place.source().join(name), copy.join(name));
        assert!(fs::read(from).expect("read") == fs::read(&to).expect("read"));
        let on_disk = fs::metadata(to).expect("there").blocks() * 512;
        assert!(on_disk < HOLE_BYTES / 8, "{name}: {on_disk} bytes");
    }
}

#[test]
fn a_source_around_the_copies_is_refused_by_that_name() {
    let place = Place::new();
    let held = place.cache.hold().expect("held");
    let around = place.dir.path();
    let made = held.materialize("s", around, false, &Progress::default());
    let refused = made.expect_err("it would copy its copies").to_string();
    assert!(refused.contains("the copies are kept in it"), "{refused}");
}

#[test]
fn a_terminal_is_told_nothing_by_a_name() {
    let place = Place::new();
    let pipe = place.source().join("a\x1b[2Jb\n");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    let refused = place.make().expect_err("a pipe is refused").to_string();
    assert!(refused.contains("a\\x1b[2Jb\\x0a"), "{refused}");
    assert!(!refused.contains(char::is_control), "{refused}");
}

/// One thing of a random tree: its names, and what it is.
type Thing = (Vec<Vec<u8>>, u8, Vec<u8>, u32);

fn plant(root: &Path, things: &[Thing]) {
    for (names, kind, bytes, mode) in things {
        let names: Vec<OsString> = names.iter().cloned().map(OsString::from_vec).collect();
        let place = root.join(names.iter().collect::<PathBuf>());
        let Some(parent) = place.parent() else {
            continue;
        };
        // A name may be a file's already: then this thing is left out.
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
    fn random_trees_come_out_as_they_went_in(
        things in prop::collection::vec(
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
        let place = Place::new();
        plant(&place.source(), &things);
        // A link to its own name is a circle, which is refused, and rightly.
        match place.make() {
            Ok(made) => {
                let copy = place.cache.path(&made.fingerprint);
                prop_assert_eq!(shape(&copy), shape(&place.source()));
                prop_assert_eq!(place.check(&made.fingerprint), Difference::default());
            }
            Err(Trouble::Refused(why)) => prop_assert!(why.contains("leads out"), "{}", why),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
