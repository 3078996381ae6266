//! A process against a claim: what proves it, what does not, and what becomes of it.

use super::{
    Fate, Keeper, Observation, Record, Standing, Surroundings, Visible, fate, keeper, weigh,
};
use crate::decide::event::{Life, Process};
use crate::decide::ownership::{Proof, Sighting};

const MAIN: Process = Process {
    pid: 100,
    start_time: 50,
};
const ALL: Visible = Visible {
    descriptors: true,
    environment: true,
};

const fn left_behind() -> Record<'static> {
    Record {
        life: Life(3),
        main: Some(MAIN),
        first: Some(MAIN),
        uid: 1000,
        members: &[],
        present: true,
        runs: false,
        ourselves: 7,
    }
}

const fn unmarked(proc: Process) -> Sighting {
    Sighting {
        proc,
        below_member: false,
        session: proc.pid,
        session_leader: Some(proc),
        in_cgroup: false,
        holds_claim: false,
        carries_token: false,
        uid: 1000,
        our_child: false,
        spawned: false,
    }
}

const fn alone() -> Surroundings {
    Surroundings {
        forgotten: false,
        stayd_runs: false,
        is_main: true,
        main_lives: true,
        replaces: false,
        holds_its_port: false,
        service_runs: false,
        attached: false,
        attaches: false,
    }
}

#[test]
fn item_52_what_shows_a_mark_of_the_claimed_life_is_adopted() {
    let mut seen = unmarked(MAIN);
    seen.holds_claim = true;
    let weighed = weigh(&left_behind(), &seen, ALL);
    assert_eq!(weighed.standing, Standing::Ours(Proof::ClaimFd));
    assert!(
        weighed
            .marks
            .contains(&(Proof::ClaimFd, Observation::Shown))
    );
    assert!(
        weighed
            .marks
            .contains(&(Proof::Token, Observation::Missing))
    );
    assert_eq!(fate(weighed.standing, &alone()), Fate::Adopt);
    let replaces = Surroundings {
        replaces: true,
        ..alone()
    };
    assert_eq!(fate(weighed.standing, &replaces), Fate::Replace);
}

#[test]
fn item_60_a_number_and_a_birth_written_by_hand_prove_nothing() {
    let weighed = weigh(&left_behind(), &unmarked(MAIN), ALL);
    assert!(weighed.marks.contains(&(Proof::Child, Observation::Shown)));
    assert_eq!(weighed.standing, Standing::Unproven);
    assert_eq!(fate(weighed.standing, &alone()), Fate::Block);
}

#[test]
fn what_a_running_stayd_has_started_needs_no_mark() {
    let record = Record {
        runs: true,
        ..left_behind()
    };
    let weighed = weigh(&record, &unmarked(MAIN), ALL);
    assert_eq!(weighed.standing, Standing::Ours(Proof::Child));
    let runs = Surroundings {
        stayd_runs: true,
        ..alone()
    };
    assert_eq!(fate(weighed.standing, &runs), Fate::Kept);
}

#[test]
fn item_51_a_number_given_anew_is_nobodys() {
    let later = Process {
        start_time: 51,
        ..MAIN
    };
    let weighed = weigh(&left_behind(), &unmarked(later), ALL);
    assert_eq!(weighed.standing, Standing::NumberReused);
    assert_eq!(fate(weighed.standing, &alone()), Fate::Nothing);
}

#[test]
fn item_59_a_claim_of_elsewhere_names_nobody() {
    let record = Record {
        present: false,
        ..left_behind()
    };
    let mut seen = unmarked(MAIN);
    seen.holds_claim = true;
    let weighed = weigh(&record, &seen, ALL);
    assert_eq!(weighed.standing, Standing::OfElsewhere);
    assert!(weighed.marks.is_empty());
    assert_eq!(fate(weighed.standing, &alone()), Fate::Nothing);
}

#[test]
fn a_token_of_another_user_proves_nothing_and_what_is_hidden_is_said_to_be() {
    let mut seen = unmarked(Process {
        pid: 101,
        start_time: 60,
    });
    seen.carries_token = true;
    seen.uid = 1001;
    let hidden = Visible {
        descriptors: false,
        environment: true,
    };
    let weighed = weigh(&left_behind(), &seen, hidden);
    assert_eq!(weighed.standing, Standing::NotIts);
    assert!(
        weighed
            .marks
            .contains(&(Proof::ClaimFd, Observation::Hidden))
    );
    assert!(weighed.marks.contains(&(Proof::Token, Observation::Shown)));
}

#[test]
fn item_54_a_stranger_on_the_port_is_a_conflict_and_beside_a_running_service_an_outsider() {
    let holder = Surroundings {
        is_main: false,
        holds_its_port: true,
        ..alone()
    };
    for standing in [
        Standing::Unproven,
        Standing::NumberReused,
        Standing::OfElsewhere,
        Standing::NotIts,
    ] {
        assert_eq!(fate(standing, &holder), Fate::Conflict);
    }
    let beside = Surroundings {
        stayd_runs: true,
        service_runs: true,
        ..holder
    };
    assert_eq!(fate(Standing::NotIts, &beside), Fate::Outsider);
}

#[test]
fn item_53_a_stranger_that_is_attached_to_or_would_be_is_no_conflict() {
    let holder = Surroundings {
        is_main: false,
        holds_its_port: true,
        attaches: true,
        ..alone()
    };
    assert_eq!(fate(Standing::NotIts, &holder), Fate::Attach);
    let watched = Surroundings {
        stayd_runs: true,
        attached: true,
        ..holder
    };
    assert_eq!(fate(Standing::NotIts, &watched), Fate::Attached);
    let beside = Surroundings {
        attached: false,
        service_runs: true,
        ..watched
    };
    assert_eq!(fate(Standing::NotIts, &beside), Fate::Outsider);
}

#[test]
fn what_is_left_without_its_main_process_is_ended() {
    let orphan = Surroundings {
        is_main: false,
        main_lives: false,
        ..alone()
    };
    assert_eq!(fate(Standing::Ours(Proof::Member), &orphan), Fate::End);
    let with_main = Surroundings {
        main_lives: true,
        ..orphan
    };
    assert_eq!(fate(Standing::Ours(Proof::Member), &with_main), Fate::Adopt);
}

#[test]
fn the_keeper_is_the_innermost_that_is_known() {
    let user = "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service";
    let unit = |name: &str| Keeper::Unit(name.to_owned());
    assert_eq!(
        keeper(Some(user), &["systemd", "systemd"]),
        unit("web.service")
    );
    let login = "/user.slice/user-1000.slice/session-4.scope";
    let parents = ["bash", "sshd", "systemd"];
    let session = Keeper::Login("session-4.scope".to_owned());
    assert_eq!(keeper(Some(login), &parents), session);
    let shim = Keeper::Container("containerd-shim".to_owned());
    assert_eq!(
        keeper(Some("/"), &["sh", "containerd-shim", "systemd"]),
        shim
    );
    assert_eq!(keeper(None, &["zsh", "launchd"]), Keeper::Launchd);
    assert_eq!(
        keeper(Some("/init.scope"), &["tini"]),
        Keeper::First("tini".to_owned())
    );
    assert_eq!(keeper(Some("/"), &["bash", "tini"]), Keeper::Nobody);
}

#[test]
fn what_is_of_a_service_that_nobody_configures_is_forgotten_whether_or_not_a_stayd_runs() {
    for stayd_runs in [false, true] {
        let around = Surroundings {
            forgotten: true,
            stayd_runs,
            ..alone()
        };
        for standing in [Standing::Ours(Proof::Token), Standing::Unproven] {
            assert_eq!(fate(standing, &around), Fate::Forgotten);
        }
        assert_eq!(fate(Standing::NotIts, &around), Fate::Nothing);
    }
}
