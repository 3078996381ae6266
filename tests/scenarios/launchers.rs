//! Programs that daemonize, and servers that end and leave something behind.

use crate::stage::{MINUTE, SECOND, Stage, policy};
use stayd::decide::action::Kind;
use stayd::decide::event::{Exit, Life, PersistedState, Process, ServiceEvent, Survivors};
use stayd::decide::policy::Policy;
use stayd::decide::snapshot::Phase;

const HEIR: Process = Process {
    pid: 900,
    start_time: 9,
};

/// One process of the tree lives on.
fn one_left(listens: bool) -> Survivors {
    Survivors {
        count: 1,
        successor: Some(HEIR),
        successor_listens: Some(listens),
        ..Survivors::default()
    }
}

#[test]
fn item_46_a_program_that_daemonizes_is_kept_and_named() {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].ends = Some((SECOND / 2, Exit::Code(0), one_left(true)));
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(MINUTE * 10);
    assert_eq!(
        (stage.spawns(db).len(), stage.shown(db).main),
        (1, Some(HEIR)),
        "no respawn storm"
    );
    assert_eq!(stage.phase(db), Phase::Running);
    assert!(stage.said(db, Kind::Daemonized)[0].contains("pid 900"));
    stage[db].ends = None;
    stage.ends(db, Life(1), Exit::Unknown, Survivors::default());
    stage.drive(SECOND * 40);
    assert_eq!(
        stage.spawns(db).len(),
        2,
        "when the heir ends, a new life begins"
    );
}

#[test]
fn item_46_what_a_server_leaves_that_has_served_is_no_heir() {
    let unasked = || Policy {
        watchdog: None,
        ..policy()
    };
    for (policy, after, respawns) in [
        (unasked(), SECOND / 2, false), // who it has started may listen a little later
        (unasked(), SECOND * 4, true),
        (policy(), SECOND / 2, true), // it has answered
    ] {
        let mut stage = Stage::new();
        let db = stage.enlist(policy);
        stage[db].ends = Some((after, Exit::Code(0), one_left(false)));
        stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
        stage.drive(after + SECOND);
        assert_eq!(stage.spawns(db).len() > 1, respawns);
        assert_eq!(stage.kills(db).is_empty(), !respawns);
    }
}

#[test]
fn item_46_a_launcher_that_failed_has_no_heir() {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(SECOND);
    stage[db].alive = None;
    stage.tell(
        db,
        ServiceEvent::Exited(Life(1), Exit::Code(1), one_left(true)),
    );
    stage.drive(SECOND);
    assert_eq!(
        stage.kills(db).len(),
        1,
        "what is left of it is ended before the next life"
    );
    assert!(stage.spawns(db)[1] > stage.kills(db)[0]);
}
