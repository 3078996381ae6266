//! A real systemd, first process of namespaces of its own, for as long as a test needs it. Root and Linux only.
//!
//! It boots in about half a second. /etc and /var are overlays, /run and /tmp its own, and its control groups lie below
//! one of its own; the network and the rest of the file system are the host's. Nothing the test does in it remains.

use super::wait::wait_for;
use libc::SIGKILL;
use stayd::sys::process::{self, Handle};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a boot may take on a busy machine; half a second is usual.
const BOOT_MAX: Duration = Duration::from_secs(60);

/// Runs first in the new mount, pid, uts and ipc namespaces: FOLDER CGROUP.
///
/// The control group comes before its namespace, so that two boxes do not meet at the root of one.
const ENTER: &str = r#"
set -e
mount --make-rprivate /
mkdir -p "$1/groups"
mount -t cgroup2 cgroup2 "$1/groups"
mkdir -p "$1/groups/$2"
echo 0 >"$1/groups/$2/cgroup.procs"
umount "$1/groups"
exec unshare --cgroup /bin/bash -c "$BOOT" boot "$1"
"#;

/// Runs then, in the control group namespace as well: FOLDER.
const BOOT: &str = r#"
set -e
mkdir -p "$1/layers"
mount -t tmpfs tmpfs "$1/layers"
for top in etc var; do
  mkdir "$1/layers/$top" "$1/layers/$top.work"
  mount -t overlay overlay -o "lowerdir=/$top,upperdir=$1/layers/$top,workdir=$1/layers/$top.work" "/$top"
done
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/lock
mount -t tmpfs -o mode=1777 tmpfs /tmp
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup

# What belongs to the machine as a whole (kernel, disks, devices, network) or to other packages stays off.
cd /etc/systemd/system
rm -f ./*.wants/*
for unit in sysctl modules-load binfmt remount-fs update-utmp journal-flush tmpfiles-setup tmpfiles-setup-dev \
  random-seed logind networkd resolved timesyncd udevd udev-trigger machine-id-commit; do
  ln -sf /dev/null "systemd-$unit.service"
done
for unit in systemd-tmpfiles-clean.timer getty.target console-getty.service cron.service postgresql.service \
  mariadb.service redis-server.service nginx.service docker.service containerd.service docker.socket; do
  ln -sf /dev/null "$unit"
done
mkdir -p /etc/systemd/journald.conf.d user@.service.d
printf '[Journal]\nStorage=volatile\n' >/etc/systemd/journald.conf.d/volatile.conf
# Without logind nobody else tells a user's manager where its runtime folder is.
printf '[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%%i\n' >user@.service.d/runtime.conf
export container=stayd-test
exec /lib/systemd/systemd --system --unit=multi-user.target
"#;

/// Runs on the host when the box has gone: FOLDER CGROUP. Its control groups are empty then.
const SWEEP: &str = r#"
mount --make-rprivate / && mount -t cgroup2 cgroup2 "$1/groups" || exit 0
find "$1/groups/$2" -depth -type d -exec rmdir {} + 2>/dev/null
"#;

/// The guard: the box goes down when it is dropped, on panic too, and with the test program if that is killed.
#[derive(Debug)]
pub(crate) struct SystemdBox {
    folder: PathBuf,
    group: String,
    outer: Child,
    /// systemd's pid, as the host sees it.
    first: i32,
}

impl SystemdBox {
    /// Boots one. None, said on stdout, where there is no root or no systemd; in CI that fails the test.
    pub(crate) fn up() -> Option<Self> {
        let root = nix::unistd::geteuid().is_root();
        let here = root && Path::new("/lib/systemd/systemd").exists();
        assert!(
            here || std::env::var_os("CI").is_none(),
            "needs root and systemd"
        );
        if !here {
            println!("skipped: needs root and systemd");
            return None;
        }
        Some(Self::boot())
    }

    fn boot() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let group = format!("stayd-box-{}-{number}", std::process::id());
        // not below /tmp or /run, which the box covers with its own
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&group);
        fs::create_dir_all(&folder).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let outer = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--pid",
                "--uts",
                "--ipc",
            ])
            .args([
                "--fork",
                "--mount-proc",
                "--kill-child",
                "/bin/bash",
                "-c",
                ENTER,
                "enter",
            ])
            .args([folder.as_os_str(), group.as_ref()])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("BOOT", BOOT)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut starting = Self {
            folder,
            group,
            outer,
            first: 0,
        };
        starting.wait_for_boot();
        starting
    }

    fn wait_for_boot(&mut self) {
        let outer = self.outer.id();
        let children = format!("/proc/{outer}/task/{outer}/children");
        self.first = wait_for("the first process of the box", BOOT_MAX, || {
            fs::read_to_string(&children).ok()?.trim().parse().ok()
        });
        let log = self.folder.join("log");
        wait_for("the box is up", BOOT_MAX, || {
            let ended = self.outer.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "it ended: {}",
                fs::read_to_string(&log).unwrap()
            );
            let state = self.exec(&["systemctl", "is-system-running"]);
            let state = String::from_utf8_lossy(&state.stdout);
            matches!(state.trim(), "running" | "degraded").then_some(())
        });
    }

    /// A command inside, ready to be changed and run.
    pub(crate) fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.first))
            .args(["--mount", "--pid", "--cgroup", "--uts", "--ipc", "--"])
            .args(argv)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command inside to its end.
    pub(crate) fn exec(&self, argv: &[&str]) -> Output {
        self.command(argv).output().unwrap()
    }

    /// The same; fails the test, with what the command said, unless it exits 0. Returns its stdout without the last
    /// newline.
    #[track_caller]
    pub(crate) fn done(&self, argv: &[&str]) -> String {
        let output = self.exec(argv);
        let said = String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{argv:?}: {}\n{said}\n{complaint}",
            output.status
        );
        said
    }

    /// One property of a unit.
    #[track_caller]
    pub(crate) fn property(&self, unit: &str, property: &str) -> String {
        self.done(&["systemctl", "show", "--value", "--property", property, unit])
    }

    /// Where the host finds a path of the box.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.first))
    }

    /// Writes a unit file and has systemd read it.
    #[track_caller]
    pub(crate) fn add_unit(&self, name: &str, text: &str) {
        fs::write(self.path(&format!("/etc/systemd/system/{name}")), text).unwrap();
        self.done(&["systemctl", "daemon-reload"]);
    }
}

impl Drop for SystemdBox {
    fn drop(&mut self) {
        // The end of a pid namespace's first process is complete when every other in it has ended.
        let first = process::stat(self.first).and_then(|stat| Handle::open(stat.process));
        let ended = first.and_then(|first| first.signal(SIGKILL));
        if ended.is_err() {
            let _ = self.outer.kill();
        }
        let _ = self.outer.wait();
        let _ = Command::new("unshare")
            .args(["--mount", "/bin/bash", "-c", SWEEP, "sweep"])
            .args([self.folder.as_os_str(), self.group.as_ref()])
            .stderr(Stdio::null())
            .status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
