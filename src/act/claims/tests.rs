//! Tests of claims that are torn, forged or owned by another user, and of a disk that refuses writes.

use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn state() -> (tempfile::TempDir, StateDir) {
    let dir = tempfile::tempdir().expect("folder");
    let state = StateDir::open(dir.path(), None).expect("state");
    (dir, state)
}

fn claim(life: u32) -> Claim {
    Claim {
        pid: None,
        start_time: None,
        boot_id: "boot".to_owned(),
        pid_ns: 4,
        token: Token::fresh().expect("token"),
        life,
        claim_fd_number: Some(3),
        claim_fd: ClaimFile {
            dev: 1,
            inode: 2,
            created: 3,
        },
        first: None,
        ready: false,
        ending: false,
        ended: None,
        uid: None,
        members: Vec::new(),
        program: "/bin/true".into(),
        command_key: None,
        user: None,
        env_key: None,
        fingerprint: None,
        runtime: None,
        workspace: "/".into(),
        port: Some(5432),
        started_at: None,
    }
}

fn process(pid: i32) -> Process {
    Process {
        pid,
        start_time: 77,
    }
}

fn reason(on_disk: ClaimOnDisk) -> String {
    match on_disk {
        ClaimOnDisk::Unverifiable(reason) => reason,
        ClaimOnDisk::Absent | ClaimOnDisk::Valid(_) => panic!("accepted: {on_disk:?}"),
    }
}

#[test]
fn a_claim_records_the_intent_then_the_process_and_is_removed_on_release() {
    let (_dir, state) = state();
    let claims = Claims::new(&state);
    assert_eq!(claims.read("db"), ClaimOnDisk::Absent);

    claims.record_intent("db", claim(3)).expect("intent");
    let ClaimOnDisk::Valid(intent) = Claims::new(&state).read("db") else {
        panic!("no intent")
    };
    assert_eq!((intent.life, intent.main()), (3, None));
    let mode = fs::metadata(state.claims().join("db.json"))
        .expect("file")
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    claims
        .set_main_process("db", Life(3), process(50), "2026-11-21T10:00:00Z".into())
        .expect("named");
    claims
        .add_members("db", Life(3), &[process(51)])
        .expect("member");
    let ClaimOnDisk::Valid(now) = Claims::new(&state).read("db") else {
        panic!("no claim")
    };
    assert_eq!(now.main(), Some(process(50)));
    assert_eq!(now.members, vec![process(51).into()]);
    assert_eq!(claims.services().expect("list"), ["db"]);

    claims.release("db", Life(3)).expect("release");
    assert_eq!(claims.read("db"), ClaimOnDisk::Absent);
    assert_eq!(fs::read_dir(state.claims()).expect("dir").count(), 0);
}

#[test]
fn a_late_call_about_an_older_instance_changes_nothing() {
    let (_dir, state) = state();
    let claims = Claims::new(&state);
    claims.record_intent("db", claim(4)).expect("intent");
    claims
        .set_main_process("db", Life(3), process(50), String::new())
        .expect("ignored");
    claims.release("db", Life(3)).expect("ignored");
    let ClaimOnDisk::Valid(now) = claims.read("db") else {
        panic!("released")
    };
    assert_eq!(now.main(), None);
}

#[test]
fn the_number_of_members_is_bounded() {
    let (_dir, state) = state();
    let claims = Claims::new(&state);
    claims.record_intent("db", claim(1)).expect("intent");
    let last = 1_000 + i32::try_from(MEMBERS_MAX).expect("small");
    for pid in 1_000..=last {
        claims
            .add_members("db", Life(1), &[process(pid)])
            .expect("member");
    }
    let members = claims.get("db").expect("claim").members;
    assert_eq!(members.len(), MEMBERS_MAX);
    assert_eq!(members.last(), Some(&process(last).into()));
    assert!(matches!(claims.read("db"), ClaimOnDisk::Valid(_)));
}

#[test]
fn a_claim_that_is_torn_at_any_byte_is_unverifiable() {
    let (_dir, state) = state();
    let claims = Claims::new(&state);
    claims.record_intent("db", claim(1)).expect("intent");
    let path = state.claims().join("db.json");
    let whole = fs::read(&path).expect("claim");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("tear");
        reason(claims.read("db"));
    }
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    fs::write(&path, flipped).expect("flip");
    assert!(reason(claims.read("db")).contains("checksum"));
    fs::write(&path, vec![b' '; 100_000]).expect("flood");
    assert!(reason(claims.read("db")).contains("too many"));
}

#[test]
fn a_claim_that_other_users_could_have_written_is_unverifiable() {
    let (dir, state) = state();
    let claims = Claims::new(&state);
    claims.record_intent("db", claim(1)).expect("intent");
    let path = state.claims().join("db.json");

    fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("chmod");
    assert!(reason(claims.read("db")).contains("gives other users access"));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("chmod");

    if crate::sys::identity::euid() == 0 {
        std::os::unix::fs::chown(&path, Some(65_534), None).expect("chown");
        assert!(reason(claims.read("db")).contains("belongs to user 65534"));
    }

    let elsewhere = dir.path().join("elsewhere");
    fs::rename(&path, &elsewhere).expect("move");
    std::os::unix::fs::symlink(&elsewhere, &path).expect("link");
    assert!(reason(claims.read("db")).contains("cannot open"));

    fs::remove_file(&path).expect("unlink");
    crate::sys::pipe::make(&path).expect("fifo");
    assert!(reason(claims.read("db")).contains("not a plain file"));
}

#[test]
fn a_claim_that_names_init_is_unverifiable() {
    let (_dir, state) = state();
    let claims = Claims::new(&state);
    for pid in [1, 0, -1, i32::MIN] {
        let named = RecordedProcess { pid, start_time: 0 };
        let as_main = Claim {
            pid: Some(pid),
            start_time: Some(0),
            ..claim(1)
        };
        let as_first = Claim {
            first: Some(named),
            ..claim(1)
        };
        let as_member = Claim {
            members: vec![named],
            ..claim(1)
        };
        for forged in [as_main, as_first, as_member] {
            claims.record_intent("db", forged).expect("write");
            assert!(reason(claims.read("db")).contains("must never signal"));
        }
    }
}

#[test]
fn a_claim_that_cannot_be_written_is_kept_in_memory_and_written_later() {
    let (_dir, state) = state();
    let claims = Claims::new(&state);
    claims.record_intent("db", claim(1)).expect("intent");
    let aside = state.root().join("aside");
    fs::rename(state.claims(), &aside).expect("take the folder away");

    let error = claims
        .set_main_process("db", Life(1), process(50), String::new())
        .expect_err("refused");
    assert!(error.to_string().contains("keeps it in memory"), "{error}");
    assert_eq!(claims.unsaved(), ["db"]);
    assert!(!claims.retry_unsaved());
    let error = claims.record_intent("web", claim(1)).expect_err("refused");
    assert!(error.to_string().contains("keeps it in memory"), "{error}");

    fs::rename(&aside, state.claims()).expect("bring it back");
    assert!(claims.retry_unsaved());
    let ClaimOnDisk::Valid(now) = claims.read("db") else {
        panic!("lost")
    };
    assert_eq!(now.main(), Some(process(50)));
}

#[test]
fn a_shorter_claim_overwrites_a_longer_one_completely() {
    let (_dir, state) = state();
    let claims = Claims::new(&state);
    for life in 1..=5 {
        let mut next = claim(life);
        next.program = "x"
            .repeat(1000 / usize::try_from(life).expect("small"))
            .into();
        claims.record_intent("db", next.clone()).expect("intent");
        assert_eq!(claims.read("db"), ClaimOnDisk::Valid(Box::new(next)));
    }
}
