//! Each proof, and every refusal.

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
    session: MAIN.pid,
    born: MAIN.start_time,
    uid: 1000,
    members: &[],
    sole_life: false,
    we_are_first: false,
    ourselves: OURSELVES,
};

/// Somebody's process, with nothing that speaks for it.
const STRANGER: Sighting = Sighting {
    proc: OTHER,
    below_member: false,
    session: 7,
    session_leader: None,
    in_cgroup: false,
    holds_claim: false,
    carries_token: false,
    uid: 1000,
    our_child: false,
    spawned: false,
};

/// Everything that could speak for a process does.
const SUSPICIOUS: Sighting = Sighting {
    below_member: true,
    session: MAIN.pid,
    in_cgroup: true,
    holds_claim: true,
    carries_token: true,
    our_child: true,
    ..STRANGER
};

#[test]
fn each_proof_is_enough() {
    let sole = Claim {
        sole_life: true,
        ..CLAIM
    };
    let knows = Claim {
        members: &[OTHER],
        ..CLAIM
    };
    let cases = [
        (
            CLAIM,
            Sighting {
                proc: MAIN,
                ..STRANGER
            },
            Proof::Child,
        ),
        (
            CLAIM,
            Sighting {
                below_member: true,
                ..STRANGER
            },
            Proof::Parentage,
        ),
        (knows, STRANGER, Proof::Member),
        (
            CLAIM,
            Sighting {
                in_cgroup: true,
                ..STRANGER
            },
            Proof::Cgroup,
        ),
        (
            CLAIM,
            Sighting {
                session: MAIN.pid,
                ..STRANGER
            },
            Proof::Session,
        ),
        (
            CLAIM,
            Sighting {
                holds_claim: true,
                ..STRANGER
            },
            Proof::ClaimFd,
        ),
        (
            CLAIM,
            Sighting {
                carries_token: true,
                ..STRANGER
            },
            Proof::Token,
        ),
        (
            sole,
            Sighting {
                our_child: true,
                ..STRANGER
            },
            Proof::OrphanOfSoleLife,
        ),
    ];
    for (claim, seen, proof) in cases {
        assert_eq!(prove(&claim, &seen), Some(proof));
    }
}

#[test]
fn a_stranger_is_refused() {
    assert_eq!(prove(&CLAIM, &STRANGER), None);
}

#[test]
fn init_groups_and_ourselves_are_refused_whatever_speaks_for_them() {
    let claim = Claim {
        sole_life: true,
        ..CLAIM
    };
    for pid in [-100, -1, 0, 1, OURSELVES] {
        let proc = Process {
            pid,
            start_time: 60,
        };
        let knows = Claim {
            members: &[proc],
            main: proc,
            ..claim
        };
        assert_eq!(
            prove(&knows, &Sighting { proc, ..SUSPICIOUS }),
            None,
            "{pid}"
        );
    }
}

#[test]
fn what_was_spawned_as_something_else_is_refused_whatever_speaks_for_it() {
    let claim = Claim {
        sole_life: true,
        members: &[OTHER],
        ..CLAIM
    };
    let seen = Sighting {
        spawned: true,
        ..SUSPICIOUS
    };
    assert_eq!(prove(&claim, &seen), None);
    let itself = Sighting { proc: MAIN, ..seen };
    assert_eq!(prove(&claim, &itself), Some(Proof::Child));
}

#[test]
fn item_51_a_recycled_number_is_refused() {
    let later = Process {
        start_time: MAIN.start_time + 9,
        ..MAIN
    };
    assert_eq!(
        prove(
            &CLAIM,
            &Sighting {
                proc: later,
                ..STRANGER
            }
        ),
        None
    );
    let knows = Claim {
        members: &[OTHER],
        ..CLAIM
    };
    let later = Process {
        start_time: OTHER.start_time + 1,
        ..OTHER
    };
    assert_eq!(
        prove(
            &knows,
            &Sighting {
                proc: later,
                ..STRANGER
            }
        ),
        None
    );
}

#[test]
fn what_is_older_than_the_life_is_refused_whatever_speaks_for_it() {
    let claim = Claim {
        sole_life: true,
        ..CLAIM
    };
    let older = Process {
        pid: 200,
        start_time: MAIN.start_time - 1,
    };
    assert_eq!(
        prove(
            &claim,
            &Sighting {
                proc: older,
                ..SUSPICIOUS
            }
        ),
        None
    );
    let as_old = Process {
        pid: 200,
        start_time: MAIN.start_time,
    };
    let seen = Sighting {
        proc: as_old,
        ..SUSPICIOUS
    };
    assert_eq!(
        prove(&claim, &seen),
        Some(Proof::Parentage),
        "ticks are coarse"
    );
}

#[test]
fn a_session_whose_number_was_given_anew_is_refused() {
    let seen = |leader| Sighting {
        session: MAIN.pid,
        session_leader: leader,
        ..STRANGER
    };
    let anew = Process {
        pid: MAIN.pid,
        start_time: MAIN.start_time + 5,
    };
    assert_eq!(prove(&CLAIM, &seen(Some(anew))), None);
    assert_eq!(prove(&CLAIM, &seen(Some(MAIN))), Some(Proof::Session));
    assert_eq!(
        prove(&CLAIM, &seen(None)),
        Some(Proof::Session),
        "the leader is reaped"
    );
}

#[test]
fn an_inherited_life_keeps_the_session_of_its_first_process() {
    let claim = Claim {
        main: Process {
            pid: 150,
            start_time: 70,
        },
        ..CLAIM
    };
    let seen = Sighting {
        session: MAIN.pid,
        session_leader: Some(MAIN),
        ..STRANGER
    };
    assert_eq!(prove(&claim, &seen), Some(Proof::Session));
}

#[test]
fn no_session_is_no_proof() {
    for session in [0, 1] {
        let claim = Claim { session, ..CLAIM };
        assert_eq!(
            prove(
                &claim,
                &Sighting {
                    session,
                    ..STRANGER
                }
            ),
            None
        );
    }
}

#[test]
fn item_60_a_token_of_another_user_is_refused() {
    let seen = Sighting {
        carries_token: true,
        uid: 1001,
        ..STRANGER
    };
    assert_eq!(prove(&CLAIM, &seen), None);
}

#[test]
fn an_orphan_is_refused_unless_nobody_else_can_have_left_it() {
    let seen = Sighting {
        our_child: true,
        ..STRANGER
    };
    let sole = Claim {
        sole_life: true,
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
        "pid 1"
    );
    assert_eq!(
        prove(
            &sole,
            &Sighting {
                our_child: false,
                spawned: false,
                ..seen
            }
        ),
        None
    );
}
