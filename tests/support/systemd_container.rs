//! Boots a real systemd as pid 1 of a container, for one test. Needs root and Linux.
//!
//! It boots in about half a second. /etc and /var are overlays, /run and /tmp are its own, and its cgroups are below one
//! of its own; it shares the network and the rest of the file system with the host. Nothing that a test does in it
//! remains.

use super::wait::wait_for;
use super::{require_root, tool};
use libc::SIGKILL;
use stayd::sys::process::{self, Handle};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Deadline for a boot on a busy machine; half a second is usual.
const BOOT_MAX: Duration = Duration::from_secs(60);

/// Runs first in the new mount, pid, uts and ipc namespaces: FOLDER CGROUP PROGRAMS.
///
/// It makes the cgroup before the cgroup namespace, so that two containers do not share the root of one.
const ENTER: &str = r#"
set -e
mount --make-rprivate /
mkdir -p "$1/groups"
mount -t cgroup2 cgroup2 "$1/groups"
mkdir -p "$1/groups/$2"
echo 0 >"$1/groups/$2/cgroup.procs"
umount "$1/groups"
exec unshare --cgroup /bin/bash -c "$BOOT" boot "$1" "$3"
"#;

/// Runs next, in the cgroup namespace as well: FOLDER PROGRAMS.
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
# The programs under test stay visible, also in a checkout below /tmp.
mkdir /run/programs
mount --bind "$2" /run/programs
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$2"
mount --move /run/programs "$2"
rmdir /run/programs
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup

# Units for the machine as a whole (kernel, disks, devices, network) or of other packages stay off.
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
# Without logind the user's manager has no runtime folder in its environment.
printf '[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%%i\n' >user@.service.d/runtime.conf
export container=stayd-test
exec /lib/systemd/systemd --system --unit=multi-user.target
"#;

/// Runs on the host when the container has ended: FOLDER CGROUP. Its cgroups are empty then.
const SWEEP: &str = r#"
mount --make-rprivate / && mount -t cgroup2 cgroup2 "$1/groups" || exit 0
find "$1/groups/$2" -depth -type d -exec rmdir {} + 2>/dev/null
"#;

/// The container. It ends when this is dropped, on panic too, and with the test program if that is killed.
#[derive(Debug)]
pub(crate) struct SystemdContainer {
    folder: PathBuf,
    group: String,
    outer: Child,
    /// systemd's pid in the host's pid namespace.
    first: i32,
}

impl SystemdContainer {
    /// Boots one. Fails the test without root or systemd.
    pub(crate) fn boot() -> Self {
        require_root();
        assert!(
            Path::new("/lib/systemd/systemd").exists(),
            "this test needs systemd: run tests/support/setup.sh"
        );
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let group = format!("stayd-systemd-{}-{number}", std::process::id());
        // not below /tmp or /run, over which the container mounts its own
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&group);
        fs::create_dir_all(&folder).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let programs = Path::new(env!("CARGO_BIN_EXE_stayd"));
        let programs = programs.parent().expect("its folder");
        let outer = tool("setpriv")
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
            .args([folder.as_os_str(), group.as_ref(), programs.as_os_str()])
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
        self.first = wait_for("pid 1 of the container", BOOT_MAX, || {
            fs::read_to_string(&children).ok()?.trim().parse().ok()
        });
        let log = self.folder.join("log");
        wait_for("the boot is complete", BOOT_MAX, || {
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

    /// A command that runs in the container.
    pub(crate) fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.first))
            .args(["--mount", "--pid", "--cgroup", "--uts", "--ipc", "--"])
            .args(argv)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command in the container to its end.
    pub(crate) fn exec(&self, argv: &[&str]) -> Output {
        self.command(argv).output().unwrap()
    }

    /// Adds a user with the home folder /var/NAME; its systemd does not run yet. Returns the uid.
    #[track_caller]
    pub(crate) fn add_user(&self, name: &str) -> String {
        let home = format!("/var/{name}");
        self.done(&["useradd", "--create-home", "--home-dir", &home, name]);
        self.done(&["id", "-u", name])
    }

    /// Runs a command, which variables may precede, to its end as the user `name` in that home folder and with no other
    /// variables, as su does.
    pub(crate) fn exec_as(&self, name: &str, words: &[&str]) -> Output {
        let [user, group, home] =
            ["--reuid=", "--regid=", "HOME=/var/"].map(|key| format!("{key}{name}"));
        let folder = format!("/var/{name}");
        let argv = [
            "setpriv",
            &user,
            &group,
            "--init-groups",
            "env",
            "-i",
            "-C",
            &folder,
            &home,
            "PATH=/usr/bin:/bin",
        ];
        self.exec(&[&argv[..], words].concat())
    }

    /// Runs a command in the container to its end. Fails the test with the command's output unless it exits 0; returns its stdout
    /// without the last newline.
    #[track_caller]
    pub(crate) fn done(&self, argv: &[&str]) -> String {
        stdout_of(argv, &self.exec(argv))
    }

    /// Runs a command as [`Self::exec_as`] does, with the result of [`Self::done`].
    #[track_caller]
    pub(crate) fn done_as(&self, name: &str, words: &[&str]) -> String {
        stdout_of(words, &self.exec_as(name, words))
    }

    /// One property of a unit.
    #[track_caller]
    pub(crate) fn property(&self, unit: &str, property: &str) -> String {
        self.done(&["systemctl", "show", "--value", "--property", property, unit])
    }

    /// The host's path of a path in the container.
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

#[track_caller]
fn stdout_of(argv: &[&str], output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stdout = stdout.trim_end().to_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{argv:?}: {}\n{stdout}\n{stderr}",
        output.status
    );
    stdout
}

impl Drop for SystemdContainer {
    fn drop(&mut self) {
        // the end of pid 1 is complete when every other process in its namespace has ended
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
