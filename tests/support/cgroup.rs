//! Cgroups of a test's own, in whichever version the machine mounts. Making one needs root.

use super::{TempDir, require_root};
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A cgroup below the root of its hierarchy; its processes are killed and it is removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// In the version 2 hierarchy. Where none is mounted, this mounts one for this process alone: its children do not
    /// see it.
    pub(crate) fn unified(name: &str) -> Self {
        static PRIVATE: OnceLock<File> = OnceLock::new();
        require_root();
        Self::mounted_unified(name).unwrap_or_else(|| {
            let root = PRIVATE.get_or_init(private_mount);
            let root = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd()));
            Self::at(&root, name)
        })
    }

    /// A cgroup whose processes get `micros` of CPU time in each 20 ms.
    pub(crate) fn with_cpu_quota(name: &str, micros: u64) -> Self {
        require_root();
        if let Some(group) = Self::of_controller("cpu", name) {
            group.set("cpu.cfs_period_us", "20000");
            group.set("cpu.cfs_quota_us", &micros.to_string());
            return group;
        }
        let group = Self::unified_with("cpu", name);
        group.set("cpu.max", &format!("{micros} 20000"));
        group
    }

    /// A cgroup whose processes may use so many bytes of memory, and no swap in version 2.
    pub(crate) fn with_memory_limit(name: &str, bytes: u64) -> Self {
        require_root();
        if let Some(group) = Self::of_controller("memory", name) {
            group.set("memory.limit_in_bytes", &bytes.to_string());
            return group;
        }
        let group = Self::unified_with("memory", name);
        group.set("memory.max", &bytes.to_string());
        if group.0.join("memory.swap.max").exists() {
            group.set("memory.swap.max", "0");
        }
        group
    }

    /// In the mounted version 2 hierarchy; none where none is mounted.
    fn mounted_unified(name: &str) -> Option<Self> {
        let root = mount_point(|kind, _| kind == "cgroup2")?;
        Some(Self::at(&root, name))
    }

    /// In the version 1 hierarchy of `controller`; none where none is mounted.
    fn of_controller(controller: &str, name: &str) -> Option<Self> {
        let has = |options: &str| options.split(',').any(|option| option == controller);
        let root = mount_point(|kind, options| kind == "cgroup" && has(options))?;
        Some(Self::at(&root, name))
    }

    /// In the mounted version 2 hierarchy, with this controller enabled.
    fn unified_with(controller: &str, name: &str) -> Self {
        let root = mount_point(|kind, _| kind == "cgroup2")
            .unwrap_or_else(|| panic!("this test needs the cgroup controller {controller:?}"));
        fs::write(
            root.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
        .unwrap_or_else(|error| {
            panic!("this test needs the cgroup controller {controller:?}: {error}")
        });
        Self::at(&root, name)
    }

    fn at(root: &Path, name: &str) -> Self {
        let dir = root.join(format!("stayd-test-{name}-{}", std::process::id()));
        fs::create_dir(&dir)
            .unwrap_or_else(|error| panic!("cannot make the cgroup {}: {error}", dir.display()));
        Self(dir)
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes one of its files.
    pub(crate) fn set(&self, file: &str, value: &str) {
        fs::write(self.0.join(file), value).unwrap_or_else(|error| panic!("{file}: {error}"));
    }

    /// Moves a process into it.
    pub(crate) fn add_process(&self, pid: i32) {
        self.set("cgroup.procs", &pid.to_string());
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

/// A cgroup that can be frozen.
#[derive(Debug)]
pub(crate) struct Freezer {
    group: Cgroup,
    file: &'static str,
    words: [&'static str; 2],
}

impl Freezer {
    /// One, of version 2 where the machine mounts both versions.
    pub(crate) fn new(name: &str) -> Self {
        let mut all = Self::of_each_version(name);
        all.swap_remove(0)
    }

    /// One of each version that the machine mounts, at least one.
    pub(crate) fn of_each_version(name: &str) -> Vec<Self> {
        require_root();
        let version_2 = Cgroup::mounted_unified(name).map(|group| Self {
            group,
            file: "cgroup.freeze",
            words: ["1", "0"],
        });
        let version_1 = Cgroup::of_controller("freezer", name).map(|group| Self {
            group,
            file: "freezer.state",
            words: ["FROZEN", "THAWED"],
        });
        let all: Vec<Self> = version_2.into_iter().chain(version_1).collect();
        assert!(
            !all.is_empty(),
            "this test needs a mounted cgroup hierarchy"
        );
        all
    }

    /// Moves a process into it.
    pub(crate) fn add_process(&self, pid: i32) {
        self.group.add_process(pid);
    }

    /// Freezes its processes.
    pub(crate) fn freeze(&self) {
        self.group.set(self.file, self.words[0]);
    }

    /// Lets its processes run again.
    pub(crate) fn thaw(&self) {
        self.group.set(self.file, self.words[1]);
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // a frozen process does not die of SIGKILL in version 1
        self.thaw();
    }
}

fn mount_point(fits: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect(); // source, point, kind, options
        fits(words.get(2)?, words.get(3)?).then(|| PathBuf::from(words[1]))
    })
}

/// A version 2 hierarchy that is attached nowhere; the kernel unmounts it with its last descriptor.
fn private_mount() -> File {
    let place = TempDir::new();
    let run = |command: &mut Command| {
        let status = command.arg(place.path()).status();
        assert!(status.is_ok_and(|end| end.success()), "{command:?}");
    };
    run(Command::new("mount").args(["-t", "cgroup2", "none"]));
    let root = File::open(place.path());
    run(Command::new("umount").arg("--lazy"));
    root.expect("the root of the hierarchy")
}
