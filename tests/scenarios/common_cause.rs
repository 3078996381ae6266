//! Item 21: when everything fails at once, the host is suspected before the services.

use crate::stage::{MINUTE, SECOND, Stage, idle, policy, watchdog};
use stayd::decide::action::Kind;
use stayd::decide::clock::Instant;
use stayd::decide::event::{Answer, Event, PersistedState, ResourceSample, ServiceId};
use stayd::decide::policy::{Policy, Watchdog};
use stayd::decide::snapshot::Phase;

fn three() -> (Stage, [ServiceId; 3]) {
    three_with(policy())
}

fn three_with(rules: Policy) -> (Stage, [ServiceId; 3]) {
    let mut stage = Stage::new();
    let ids = [rules, rules, rules].map(|rules| stage.add(rules, PersistedState::default()));
    stage.drive(MINUTE * 2);
    (stage, ids)
}

fn silence_all(stage: &mut Stage, ids: &[ServiceId]) -> Instant {
    for id in ids {
        stage[*id].falls_silent();
    }
    stage.now
}

fn all_kills(stage: &Stage, ids: &[ServiceId]) -> Vec<Instant> {
    let mut kills: Vec<Instant> = ids.iter().flat_map(|id| stage.kills(*id)).collect();
    kills.sort();
    kills
}

#[test]
fn item_21_three_at_once_are_killed_one_per_window() {
    let (mut stage, ids) = three();
    let since = silence_all(&mut stage, &ids);
    stage.drive(MINUTE);
    assert_eq!(all_kills(&stage, &ids), [], "a whole window first");
    stage.drive(MINUTE * 9);
    let kills = all_kills(&stage, &ids);
    assert!(kills[0].since(since) >= MINUTE);
    assert!(
        kills.windows(2).all(|two| two[1].since(two[0]) >= MINUTE),
        "{kills:?}"
    );
    assert!(kills.len() >= 6, "{kills:?}");
    for id in ids {
        assert!(stage.kills(id).len() > 1, "each in its turn, and again");
        let spared = stage.said(id, Kind::Suppressed);
        assert!(
            spared.iter().any(|why| why.contains("host is suspected")),
            "{spared:?}"
        );
    }
}

#[test]
fn item_21_recovery_ends_the_suspicion() {
    let (mut stage, ids) = three();
    silence_all(&mut stage, &ids);
    stage.drive(SECOND * 30);
    for id in ids {
        stage[id].answer = Answer::Alive;
    }
    stage.drive(SECOND * 10);
    assert_eq!(all_kills(&stage, &ids), []);
    stage[ids[0]].falls_silent();
    stage.drive(SECOND * 20);
    assert_eq!(stage.kills(ids[0]).len(), 1, "one alone is killed as ever");
    let told = ids.iter().flat_map(|id| stage.said(*id, Kind::CommonCause));
    assert_eq!(told.count(), 2, "its begin and its end");
}

#[test]
fn item_21_a_debugger_is_no_recovery() {
    let (mut stage, ids) = three();
    silence_all(&mut stage, &ids);
    stage.drive(SECOND * 30);
    stage[ids[0]].sample = ResourceSample {
        traced: true,
        ..idle()
    };
    stage.drive(SECOND * 25);
    assert_eq!(
        all_kills(&stage, &ids),
        [],
        "nobody has answered: the host stays suspected"
    );
}

#[test]
fn item_21_what_answers_only_after_a_kill_does_not_clear_the_host() {
    let (mut stage, ids) = three();
    silence_all(&mut stage, &ids);
    while all_kills(&stage, &ids).is_empty() {
        stage.drive(SECOND);
    }
    for id in ids
        .into_iter()
        .filter(|id| !stage.kills(*id).is_empty())
        .collect::<Vec<_>>()
    {
        stage[id].answer = Answer::Alive;
    }
    stage.drive(SECOND * 50);
    assert_eq!(
        all_kills(&stage, &ids).len(),
        1,
        "the next one waits for its window"
    );
}

#[test]
fn item_21_a_sleep_ends_the_suspicion_with_the_rows() {
    let (mut stage, ids) = three();
    silence_all(&mut stage, &ids);
    stage.drive(SECOND * 50);
    stage.happen(Event::Slept(MINUTE * 60));
    stage.drive(SECOND * 50);
    assert_eq!(all_kills(&stage, &ids), [], "the window begins anew");
}

#[test]
fn item_21_with_one_failure_allowed_the_last_of_the_row_is_spared() {
    let rules = Policy {
        watchdog: Some(Watchdog {
            failures: 1,
            ..watchdog()
        }),
        ..policy()
    };
    let (mut stage, ids) = three_with(rules);
    silence_all(&mut stage, &ids);
    stage.drive(SECOND * 20);
    assert!(
        all_kills(&stage, &ids).len() < 3,
        "the third to fall silent accuses the host"
    );
}

#[test]
fn item_21_two_are_not_a_fleet_and_rows_far_apart_have_no_common_cause() {
    let (mut stage, ids) = three();
    silence_all(&mut stage, &ids[..2]);
    stage.drive(SECOND * 20);
    assert_eq!(all_kills(&stage, &ids).len(), 2);

    let (mut stage, ids) = three();
    let held = ids[0];
    stage.hold(held, MINUTE * 60);
    stage[held].falls_silent();
    stage.drive(MINUTE * 10);
    silence_all(&mut stage, &ids[1..]);
    stage.drive(SECOND * 20);
    assert_eq!(
        all_kills(&stage, &ids).len(),
        2,
        "the first one's silence is ten minutes older"
    );
    assert_eq!(stage.phase(held), Phase::Suspect);
}
