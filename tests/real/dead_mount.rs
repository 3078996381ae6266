//! A service whose env_file lies on a disk that never answers.

use crate::support::daemon::Stayd;
use crate::support::{SOON, TempDir, program, wait_until};
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A client that is not answered within this time would have waited for the dead mount.
const PROMPTLY: Duration = Duration::from_secs(3);

/// A program's place is looked at every ten seconds, from the third on.
const LOOKED_AT_TWICE: Duration = Duration::from_secs(14);

/// A FUSE file system whose server answers nothing: whoever touches it waits until it is dropped.
pub(super) struct DeadMount {
    folder: PathBuf,
    _server: File,
}

impl DeadMount {
    fn at(folder: &Path) -> Self {
        fs::create_dir(folder).expect("a folder");
        Self::over(folder)
    }

    /// Hides what is in `folder`.
    pub(super) fn over(folder: &Path) -> Self {
        let server = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .expect("/dev/fuse");
        let fd = server.as_raw_fd();
        let mut mount = Command::new("mount");
        mount
            .args(["-i", "-t", "fuse", "-o"])
            .arg(format!("fd={fd},rootmode=40000,user_id=0,group_id=0"))
            .arg("dead")
            .arg(folder);
        // SAFETY: fcntl(2) is async-signal-safe, and about the child's own descriptor.
        #[expect(unsafe_code, reason = "mount(8) needs the server's descriptor")]
        unsafe {
            mount.pre_exec(move || {
                let kept = libc::fcntl(fd, libc::F_SETFD, 0);
                if kept == 0 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            });
        }
        assert!(mount.status().expect("mount(8)").success());
        Self {
            folder: folder.to_owned(),
            _server: server,
        }
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.folder).status());
    }
}

/// Law 7: nothing that can hang runs in this process.
#[test]
fn item_85_an_env_file_on_a_dead_mount_blocks_its_service_and_nobody_else() {
    let mounts = TempDir::new();
    let dead = DeadMount::at(&mounts.join("dead"));
    let env_file = dead.folder.join("env");
    let stayd = Stayd::start(&format!(
        "name = 'x'\n[service.sick]\ncommand = ['sh', '-c', 'echo A is $A; exec sleep 1000']\nenv_file = '{}'\n\
         [service.well]\ncommand = ['sleep', '1000']\n",
        env_file.display()
    ));
    wait_until("the other service runs", SOON, || {
        stayd.service("well")["state"] == "running"
    });
    wait_until("the sick one is blocked", SOON, || {
        let asked = Instant::now();
        let sick = stayd.service("sick");
        assert!(asked.elapsed() < PROMPTLY, "the loop hung with the file");
        sick["state"] == "blocked"
            && sick["reason"].as_str().is_some_and(|reason| {
                reason.contains(&env_file.display().to_string()) && reason.contains("no answer")
            })
    });
    drop(dead);
    fs::write(&env_file, "A=1\n").expect("what was below the mount");
    wait_until("it starts by itself when the file is there", SOON, || {
        stayd.service("sick")["state"] == "running"
    });
    wait_until("it has what is in the file", SOON, || {
        stayd.client(&["logs", "sick"]).out.contains("A is 1\n")
    });
}

#[test]
fn a_program_whose_place_is_on_a_dead_mount_keeps_no_status_waiting() {
    let place = TempDir::new();
    let current = place.join("current");
    fs::create_dir(place.join("v1")).expect("a folder");
    std::os::unix::fs::symlink("v1", &current).expect("a link");
    fs::copy(program("sleep"), place.join("v1/serve")).expect("a program");
    let stayd = Stayd::start(&format!(
        "name = 'x'\n[service.s]\ncommand = ['{}/serve', '1000']\n",
        current.display()
    ));
    let running = stayd.wait_state("s", "running");
    let _dead = DeadMount::at(&place.join("dead"));
    fs::remove_file(&current).expect("removed");
    std::os::unix::fs::symlink("dead", &current).expect("a link");
    let began = Instant::now();
    wait_until("it is looked at, and again", SOON, || {
        let asked = Instant::now();
        let seen = stayd.service("s");
        assert!(asked.elapsed() < PROMPTLY, "the status waits for the disk");
        assert_eq!(
            (&seen["pid"], &seen["runtime"]),
            (&running["pid"], &serde_json::Value::Null)
        );
        began.elapsed() > LOOKED_AT_TWICE
    });
}
