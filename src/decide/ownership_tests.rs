//! Each proof of ownership on its own, and every case in which a process is not ours.

use super::*;

const MAIN: Process = Process {
    pid: 100,
    start_time: 50,
};
const OTHER: Process = Process {
    pid: 200,
    start_time: 60,
};
const OURSELVES: i32 = 10;

const CLAIM: Claim<'_> = Claim {
    main: MAIN,
    claimed: Process::NONE,
    session: MAIN.pid,
    first_start_time: MAIN.start_time,
    uid: 1000,
    members: &[],
    sole_instance: false,
    we_are_first: false,
    ourselves: OURSELVES,
};

/// A process without any evidence that it is ours.
const UNRELATED: ObservedProcess = ObservedProcess {
    process: OTHER,
    below_member: false,
    session: 7,
    session_leader: None,
    in_cgroup: false,
    holds_claim: false,
    in_other_cgroup: false,
    carries_token: false,
    uid: 1000,
    our_child: false,
    descends_from_us: false,
    spawned: false,
};

/// A process with every kind of evidence.
const ALL_EVIDENCE: ObservedProcess = ObservedProcess {
    below_member: true,
    session: MAIN.pid,
    in_cgroup: true,
    holds_claim: true,
    carries_token: true,
    our_child: true,
    descends_from_us: true,
    ..UNRELATED
};

#[test]
fn each_proof_is_enough_alone() {
    let sole = Claim {
        sole_instance: true,
        ..CLAIM
    };
    let with_member = Claim {
        members: &[OTHER],
        ..CLAIM
    };
    let cases = [
        (
            CLAIM,
            ObservedProcess {
                process: MAIN,
                ..UNRELATED
            },
            Proof::Child,
        ),
        (
            CLAIM,
            ObservedProcess {
                below_member: true,
                ..UNRELATED
            },
            Proof::Parentage,
        ),
        (with_member, UNRELATED, Proof::Member),
        (
            CLAIM,
            ObservedProcess {
                in_cgroup: true,
                ..UNRELATED
            },
            Proof::Cgroup,
        ),
        (
            CLAIM,
            ObservedProcess {
                session: MAIN.pid,
                ..UNRELATED
            },
            Proof::Session,
        ),
        (
            CLAIM,
            ObservedProcess {
                holds_claim: true,
                ..UNRELATED
            },
            Proof::ClaimFd,
        ),
        (
            CLAIM,
            ObservedProcess {
                carries_token: true,
                ..UNRELATED
            },
            Proof::Token,
        ),
        (
            sole,
            ObservedProcess {
                our_child: true,
                ..UNRELATED
            },
            Proof::OrphanOfSoleInstance,
        ),
    ];
    for (claim, seen, proof) in cases {
        assert_eq!(prove(&claim, &seen), Some(proof));
    }
}

#[test]
fn a_process_without_evidence_is_not_ours() {
    assert_eq!(prove(&CLAIM, &UNRELATED), None);
}

#[test]
fn init_process_groups_and_stayd_itself_are_never_members() {
    let claim = Claim {
        sole_instance: true,
        ..CLAIM
    };
    for pid in [-100, -1, 0, 1, OURSELVES] {
        let process = Process {
            pid,
            start_time: 60,
        };
        let with_member = Claim {
            members: &[process],
            main: process,
            ..claim
        };
        assert_eq!(
            prove(
                &with_member,
                &ObservedProcess {
                    process,
                    ..ALL_EVIDENCE
                }
            ),
            None,
            "{pid}"
        );
    }
}

#[test]
fn a_process_spawned_as_something_else_is_never_a_member() {
    let claim = Claim {
        sole_instance: true,
        members: &[OTHER],
        ..CLAIM
    };
    let seen = ObservedProcess {
        spawned: true,
        ..ALL_EVIDENCE
    };
    assert_eq!(prove(&claim, &seen), None);
    let itself = ObservedProcess {
        process: MAIN,
        ..seen
    };
    assert_eq!(prove(&claim, &itself), Some(Proof::Child));
}

#[test]
fn a_reused_pid_is_not_a_member() {
    let later = Process {
        start_time: MAIN.start_time + 9,
        ..MAIN
    };
    assert_eq!(
        prove(
            &CLAIM,
            &ObservedProcess {
                process: later,
                ..UNRELATED
            }
        ),
        None
    );
    let with_member = Claim {
        members: &[OTHER],
        ..CLAIM
    };
    let later = Process {
        start_time: OTHER.start_time + 1,
        ..OTHER
    };
    assert_eq!(
        prove(
            &with_member,
            &ObservedProcess {
                process: later,
                ..UNRELATED
            }
        ),
        None
    );
}

#[test]
fn a_process_older_than_the_instance_is_never_a_member() {
    let claim = Claim {
        sole_instance: true,
        ..CLAIM
    };
    let older = Process {
        pid: 200,
        start_time: MAIN.start_time - 1,
    };
    assert_eq!(
        prove(
            &claim,
            &ObservedProcess {
                process: older,
                ..ALL_EVIDENCE
            }
        ),
        None
    );
    let as_old = Process {
        pid: 200,
        start_time: MAIN.start_time,
    };
    let seen = ObservedProcess {
        process: as_old,
        ..ALL_EVIDENCE
    };
    assert_eq!(
        prove(&claim, &seen),
        Some(Proof::Parentage),
        "start times have a resolution of one tick"
    );
}

#[test]
fn a_session_whose_id_was_reused_is_no_proof() {
    let seen = |leader| ObservedProcess {
        session: MAIN.pid,
        session_leader: leader,
        ..UNRELATED
    };
    let reused = Process {
        pid: MAIN.pid,
        start_time: MAIN.start_time + 5,
    };
    assert_eq!(prove(&CLAIM, &seen(Some(reused))), None);
    assert_eq!(prove(&CLAIM, &seen(Some(MAIN))), Some(Proof::Session));
    assert_eq!(
        prove(&CLAIM, &seen(None)),
        Some(Proof::Session),
        "the leader is reaped"
    );
}

#[test]
fn a_successor_keeps_the_session_of_the_first_process() {
    let claim = Claim {
        main: Process {
            pid: 150,
            start_time: 70,
        },
        ..CLAIM
    };
    let seen = ObservedProcess {
        session: MAIN.pid,
        session_leader: Some(MAIN),
        ..UNRELATED
    };
    assert_eq!(prove(&claim, &seen), Some(Proof::Session));
}

#[test]
fn session_ids_0_and_1_are_no_proof() {
    for session in [0, 1] {
        let claim = Claim { session, ..CLAIM };
        assert_eq!(
            prove(
                &claim,
                &ObservedProcess {
                    session,
                    ..UNRELATED
                }
            ),
            None
        );
    }
}

#[test]
fn a_token_carried_by_another_user_is_proof_only_below_stayd() {
    let foreign = ObservedProcess {
        carries_token: true,
        uid: 1001,
        ..UNRELATED
    };
    assert_eq!(prove(&CLAIM, &foreign), None);
    let below = ObservedProcess {
        descends_from_us: true,
        ..foreign
    };
    assert_eq!(prove(&CLAIM, &below), Some(Proof::Token));
    let without_token = ObservedProcess {
        carries_token: false,
        ..below
    };
    assert_eq!(prove(&CLAIM, &without_token), None, "descent alone");
    let older = ObservedProcess {
        process: Process {
            start_time: CLAIM.first_start_time - 1,
            ..below.process
        },
        ..below
    };
    assert_eq!(prove(&CLAIM, &older), None, "older than the instance");
}

#[test]
fn an_inherited_claim_file_is_no_proof_for_a_process_of_another_user() {
    let foreign = ObservedProcess {
        holds_claim: true,
        uid: 1001,
        ..UNRELATED
    };
    assert_eq!(prove(&CLAIM, &foreign), None);
    let below = ObservedProcess {
        descends_from_us: true,
        ..foreign
    };
    assert_eq!(
        prove(&CLAIM, &below),
        None,
        "another service of stayd may have left it"
    );
    let with_token = ObservedProcess {
        carries_token: true,
        ..below
    };
    assert_eq!(prove(&CLAIM, &with_token), Some(Proof::Token));
    let known = Claim {
        members: &[OTHER],
        ..CLAIM
    };
    assert_eq!(prove(&known, &foreign), Some(Proof::Member));
}

#[test]
fn a_claimed_main_process_of_another_user_needs_one_piece_of_evidence() {
    let claim = Claim {
        main: Process::NONE,
        claimed: OTHER,
        ..CLAIM
    };
    let dropped = ObservedProcess {
        uid: 1001,
        ..UNRELATED
    };
    assert_eq!(prove(&claim, &dropped), None, "its number alone");
    let holder = ObservedProcess {
        holds_claim: true,
        in_other_cgroup: true,
        ..dropped
    };
    assert_eq!(prove(&claim, &holder), Some(Proof::ClaimFd));
    let carrier = ObservedProcess {
        carries_token: true,
        ..dropped
    };
    assert_eq!(prove(&claim, &carrier), Some(Proof::Token));
    let later = ObservedProcess {
        process: Process {
            start_time: OTHER.start_time + 1,
            ..OTHER
        },
        ..holder
    };
    assert_eq!(prove(&claim, &later), None, "a reused pid");
}

#[test]
fn an_inherited_claim_file_in_another_cgroup_is_proof_only_below_stayd() {
    let elsewhere = ObservedProcess {
        holds_claim: true,
        in_other_cgroup: true,
        ..UNRELATED
    };
    assert_eq!(prove(&CLAIM, &elsewhere), None);
    let below = ObservedProcess {
        descends_from_us: true,
        ..elsewhere
    };
    assert_eq!(prove(&CLAIM, &below), Some(Proof::ClaimFd));
}

#[test]
fn an_orphan_is_a_member_only_if_no_other_tree_can_have_left_it() {
    let seen = ObservedProcess {
        our_child: true,
        ..UNRELATED
    };
    let sole = Claim {
        sole_instance: true,
        ..CLAIM
    };
    assert_eq!(prove(&CLAIM, &seen), None, "others have run");
    assert_eq!(
        prove(
            &Claim {
                we_are_first: true,
                ..sole
            },
            &seen
        ),
        None,
        "stayd is pid 1"
    );
    assert_eq!(
        prove(
            &sole,
            &ObservedProcess {
                our_child: false,
                descends_from_us: false,
                spawned: false,
                ..seen
            }
        ),
        None
    );
}
