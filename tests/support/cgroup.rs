//! Cgroups of a test's own, where the machine lets us make them.

use super::TempDir;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A cgroup below the root of its hierarchy; killed and removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// In the version 2 hierarchy; none for a user who may not make one.
    pub(crate) fn unified(name: &str) -> Option<Self> {
        Self::at(&mount_point(|kind, _| kind == "cgroup2")?, name)
    }

    /// The same, and where nobody has mounted that hierarchy it is mounted for this process alone: its children do not
    /// see it.
    pub(crate) fn unified_or_private(name: &str) -> Option<Self> {
        static PRIVATE: OnceLock<Option<File>> = OnceLock::new();
        Self::unified(name).or_else(|| {
            let root = PRIVATE.get_or_init(private_mount).as_ref()?;
            Self::at(
                &PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd())),
                name,
            )
        })
    }

    /// In the version 1 hierarchy of `controller`.
    pub(crate) fn of_controller(controller: &str, name: &str) -> Option<Self> {
        let has = |options: &str| options.split(',').any(|option| option == controller);
        Self::at(
            &mount_point(|kind, options| kind == "cgroup" && has(options))?,
            name,
        )
    }

    fn at(root: &Path, name: &str) -> Option<Self> {
        let dir = root.join(format!("stayd-test-{name}-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        Some(Self(dir))
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes one of its files.
    pub(crate) fn set(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..200 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// A cgroup that can be frozen, in whichever version the machine has.
#[derive(Debug)]
pub(crate) struct Freezer {
    group: Cgroup,
    file: &'static str,
    words: [&'static str; 2],
}

impl Freezer {
    /// None for a user who may not make one.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let (group, file, words) = match Cgroup::unified(name) {
            Some(group) => (group, "cgroup.freeze", ["1", "0"]),
            None => (
                Cgroup::of_controller("freezer", name)?,
                "freezer.state",
                ["FROZEN", "THAWED"],
            ),
        };
        Some(Self { group, file, words })
    }

    /// Takes `pid` in, and freezes it.
    pub(crate) fn freeze(&self, pid: i32) {
        self.group.set("cgroup.procs", &pid.to_string());
        self.group.set(self.file, self.words[0]);
    }

    /// Lets go on what is in it.
    pub(crate) fn thaw(&self) {
        self.group.set(self.file, self.words[1]);
    }
}

fn mount_point(fits: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect(); // source, point, kind, options
        fits(words.get(2)?, words.get(3)?).then(|| PathBuf::from(words[1]))
    })
}

/// A mount that has no place any more, and so ends with the last descriptor of it.
fn private_mount() -> Option<File> {
    let place = TempDir::new();
    let run = |command: &mut Command| {
        command
            .arg(place.path())
            .status()
            .is_ok_and(|end| end.success())
    };
    if !run(Command::new("mount").args(["-t", "cgroup2", "none"])) {
        return None;
    }
    let root = File::open(place.path());
    assert!(
        run(Command::new("umount").arg("--lazy")),
        "the mount stays behind"
    );
    root.ok()
}
