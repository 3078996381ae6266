//! A claim that cannot be believed, or no longer: what it names is left alone, what runs is not doubled, and what is said
//! about it is true.

use super::adoption::{forge, kill, pid, service};
use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::wait_until;
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Command};

/// A service left by a killed stayd, and its pid.
fn left_behind() -> (Stayd, i32) {
    let mut first = Stayd::start(&service("sleep", ""));
    let left = pid(&first.wait_state("s", "running"));
    first.signal(libc::SIGKILL);
    first.wait();
    (first, left)
}

/// The same, and it has ended since.
fn ended_behind() -> Stayd {
    let (first, left) = left_behind();
    kill(left);
    wait_until("it has gone", SOON, || !is_alive(left));
    first
}

fn claim(daemon: &Stayd) -> PathBuf {
    daemon.state_dir().join("claims/s.json")
}

/// Somebody else's process, which is to be there in the end.
struct Stranger(Child);

impl Stranger {
    fn start(change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000");
        change(&mut command);
        Self(command.spawn().expect("a stranger"))
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

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `spoil` makes the claim unbelievable while its life goes on: no second copy, until somebody ends the first.
#[track_caller]
fn assert_not_doubled(spoil: impl FnOnce(&PathBuf), why: &str) {
    let (first, left) = left_behind();
    spoil(&claim(&first));
    let second = first.again();
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
    let third = second.killed_and_again();
    let found = third.wait_state("s", "running");
    assert_eq!(pid(&found), pid(&next), "{}", third.said());
}

#[test]
fn item_58_a_torn_claim_starts_no_second_copy() {
    let tear = |path: &PathBuf| {
        let whole = fs::read(path).expect("the claim");
        fs::write(path, &whole[..whole.len() / 2]).expect("torn");
    };
    assert_not_doubled(tear, "its end is missing");
}

#[test]
fn item_58_a_claim_that_others_can_read_starts_no_second_copy_and_is_replaced_by_a_closed_one() {
    let open = |path: &PathBuf| {
        fs::set_permissions(path, Permissions::from_mode(0o644)).expect("chmod");
    };
    assert_not_doubled(open, "mode 644 lets other users in");
}

#[test]
fn item_58_a_folder_in_a_claims_place_is_set_aside() {
    let put = |path: &PathBuf| {
        fs::remove_file(path).expect("the claim");
        fs::create_dir(path).expect("a folder");
        fs::write(path.join("somebodys"), "").expect("a file in it");
    };
    assert_not_doubled(put, "not a plain file");
}

#[test]
fn item_58_a_claim_with_ten_thousand_members_starts_no_second_copy() {
    let (first, left) = left_behind();
    forge(&first, |claim| {
        let members = (0..10_000).map(|n| serde_json::json!({ "pid": 100_000 + n, "birth": 1 }));
        claim["members"] = members.collect();
    });
    let second = first.again();
    let blocked = second.wait_state("s", "blocked");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains("too many for a claim"), "{reason}");
    assert!(is_alive(left));
    kill(left);
    second.wait_state("s", "running");
}

#[test]
fn a_claim_of_a_later_stayd_is_understood() {
    let (first, left) = left_behind();
    forge(&first, |claim| {
        claim["wisdom"] = serde_json::json!({ "of": ["a later version"] });
    });
    let second = first.again();
    assert_eq!(pid(&second.wait_state("s", "running")), left);
}

/// The stranger has the claimed number and birth, as of another boot or another namespace.
fn assert_stale(change: impl FnOnce(&mut Value)) {
    let first = ended_behind();
    let mut stranger = Stranger::start(|_| {});
    let (named, start_time) = (stranger.pid(), stranger.start_time());
    forge(&first, |claim| {
        claim["pid"] = named.into();
        claim["birth"] = start_time.into();
        claim["members"] = serde_json::json!([{ "pid": named, "birth": start_time }]);
        change(claim);
    });
    let second = first.again();
    let next = second.wait_state("s", "running");
    assert_eq!(next["life"], 2, "{}", second.said());
    stranger.assert_untouched();
}

#[test]
fn item_50_a_claim_of_another_boot_is_replaced_silently() {
    assert_stale(|claim| claim["boot_id"] = "another".into());
}

#[test]
fn item_59_a_claim_of_another_pid_namespace_names_nobody_here() {
    assert_stale(|claim| claim["pid_ns"] = 1.into());
}

/// A claim that names the very stayd that reads it, with everything right.
#[test]
fn item_60_a_claim_that_names_stayd_itself_ends_nobody() {
    let first = ended_behind();
    let late = |daemon: &Stayd| {
        let stat = stayd::sys::process::stat(daemon.pid()).expect("it lives");
        forge(daemon, |claim| {
            claim["pid"] = stat.process.pid.into();
            claim["birth"] = stat.process.start_time.into();
        });
    };
    let second = first.again_after(late);
    let next = second.wait_state("s", "running");
    assert_eq!(next["life"], 2, "{}", second.said());
}

/// The FIFO is gone, and its inode's number was given to somebody else's file.
#[test]
fn item_60_who_holds_a_file_with_the_number_of_a_lost_claim_file_is_left_alone() {
    let first = ended_behind();
    fs::remove_file(first.state_dir().join("logs/s/life-1.fifo")).expect("the FIFO");
    let path = first.dir().join("somebodys");
    let file = File::create(&path).expect("a file");
    let meta = file.metadata().expect("its inode");
    let mut stranger = Stranger::start(|command| {
        command.stdout(file);
    });
    forge(&first, |claim| {
        claim["claim_fd"]["dev"] = meta.dev().into();
        claim["claim_fd"]["inode"] = meta.ino().into();
    });
    let second = first.again();
    let next = second.wait_state("s", "running");
    assert_eq!(next["life"], 2, "{}", second.said());
    stranger.assert_untouched();
}
