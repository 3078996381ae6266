//! A claim that is damaged, forged or stale: the process that it names is left alone, and no second copy starts beside
//! a running one.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::service::{forge, kill, pid, service};
use super::support::wait_until;
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Command};

/// A killed stayd whose service runs on, and the service's pid.
fn left_behind() -> (Stayd, i32) {
    let mut first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.kill();
    (first, left)
}

/// The same, after the service has ended as well.
fn ended_behind() -> Stayd {
    let (first, left) = left_behind();
    kill(left);
    wait_until("it has ended", SOON, || !is_alive(left));
    first
}

fn claim(daemon: &Stayd) -> PathBuf {
    daemon.state_dir().join("claims/s.json")
}

/// A foreign process.
struct ForeignProcess(Child);

impl ForeignProcess {
    fn start(change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000");
        change(&mut command);
        Self(command.spawn().expect("a foreign process"))
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid")
    }

    fn start_time(&self) -> u64 {
        let stat = stayd::sys::process::stat(self.pid()).expect("it lives");
        stat.process.start_time
    }

    #[track_caller]
    fn assert_untouched(&mut self) {
        assert!(self.0.try_wait().expect("wait").is_none());
    }
}

impl Drop for ForeignProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `spoil` damages the claim while its instance runs: stayd starts no second copy until the first has ended.
#[track_caller]
fn assert_not_doubled(spoil: impl FnOnce(&PathBuf), why: &str) {
    let (first, left) = left_behind();
    spoil(&claim(&first));
    let second = first.restart();
    let blocked = second.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(
        reason.contains(why) && reason.contains(&format!("`kill {left}`")),
        "{reason}"
    );
    assert!(is_alive(left), "it is left alone");
    kill(left);
    let next = second.wait_state("s", "running");
    assert_ne!(pid(&next), left);
    let third = second.kill_and_restart();
    let found = third.wait_state("s", "running");
    assert_eq!(pid(&found), pid(&next), "{}", third.output());
}

#[test]
fn a_torn_claim_starts_no_second_copy() {
    let tear = |path: &PathBuf| {
        let whole = fs::read(path).expect("the claim");
        fs::write(path, &whole[..whole.len() / 2]).expect("torn");
    };
    assert_not_doubled(tear, "its end is missing");
}

#[test]
fn a_claim_that_others_can_read_starts_no_second_copy_and_is_replaced() {
    let open = |path: &PathBuf| {
        fs::set_permissions(path, Permissions::from_mode(0o644)).expect("chmod");
    };
    assert_not_doubled(open, "mode 644 gives other users access");
}

#[test]
fn a_folder_in_the_place_of_a_claim_is_set_aside() {
    let put = |path: &PathBuf| {
        fs::remove_file(path).expect("the claim");
        fs::create_dir(path).expect("a folder");
        fs::write(path.join("foreign"), "").expect("a file in it");
    };
    assert_not_doubled(put, "not a plain file");
}

#[test]
fn a_claim_with_too_many_members_starts_no_second_copy() {
    let (first, left) = left_behind();
    forge(&first, |claim| {
        let members = (0..10_000).map(|n| serde_json::json!({ "pid": 100_000 + n, "birth": 1 }));
        claim["members"] = members.collect();
    });
    let second = first.restart();
    let blocked = second.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains("too many for a claim"), "{reason}");
    assert!(is_alive(left));
    kill(left);
    second.wait_state("s", "running");
}

#[test]
fn a_claim_with_unknown_keys_of_a_later_version_is_adopted() {
    let (first, left) = left_behind();
    forge(&first, |claim| {
        claim["wisdom"] = serde_json::json!({ "of": ["a later version"] });
    });
    let second = first.restart();
    assert_eq!(pid(&second.wait_state("s", "running")), left);
}

/// A foreign process has the pid and the start time of the claim, which is of another boot or another namespace.
fn assert_stale(change: impl FnOnce(&mut Value)) {
    let first = ended_behind();
    let mut foreign = ForeignProcess::start(|_| {});
    let (named, start_time) = (foreign.pid(), foreign.start_time());
    forge(&first, |claim| {
        claim["pid"] = named.into();
        claim["birth"] = start_time.into();
        claim["members"] = serde_json::json!([{ "pid": named, "birth": start_time }]);
        change(claim);
    });
    let second = first.restart();
    let next = second.wait_state("s", "running");
    assert_eq!(next["life"], 2, "{}", second.output());
    foreign.assert_untouched();
}

#[test]
fn a_claim_of_another_boot_is_replaced() {
    assert_stale(|claim| claim["boot_id"] = "another".into());
}

#[test]
fn a_claim_of_another_pid_namespace_is_replaced() {
    assert_stale(|claim| claim["pid_ns"] = 1.into());
}

/// The claim names the pid and the start time of the stayd that reads it.
#[test]
fn a_claim_that_names_stayd_itself_is_replaced() {
    let first = ended_behind();
    let forge_claim = |daemon: &Stayd| {
        let stat = stayd::sys::process::stat(daemon.pid()).expect("it lives");
        forge(daemon, |claim| {
            claim["pid"] = stat.process.pid.into();
            claim["birth"] = stat.process.start_time.into();
        });
    };
    let second = first.restart_after(forge_claim);
    let next = second.wait_state("s", "running");
    assert_eq!(next["life"], 2, "{}", second.output());
}

/// The FIFO was deleted, and a foreign file has its inode number.
#[test]
fn a_process_that_holds_a_file_with_the_inode_number_of_a_lost_claim_file_is_left_alone() {
    let first = ended_behind();
    fs::remove_file(first.state_dir().join("logs/s/life-1.fifo")).expect("the FIFO");
    let path = first.dir().join("foreign");
    let file = File::create(&path).expect("a file");
    let meta = file.metadata().expect("its inode");
    let mut foreign = ForeignProcess::start(|command| {
        command.stdout(file);
    });
    forge(&first, |claim| {
        claim["claim_fd"]["dev"] = meta.dev().into();
        claim["claim_fd"]["inode"] = meta.ino().into();
    });
    let second = first.restart();
    let next = second.wait_state("s", "running");
    assert_eq!(next["life"], 2, "{}", second.output());
    foreign.assert_untouched();
}
