//! When the watchdog must not kill a running service: sleep, lateness, debuggers, holds.

use crate::simulation::{MINUTE, SECOND, Simulation, busy, idle, policy, silence, watchdog};
use stayd::decide::action::{Persist, RecordKind, ServiceAction};
use stayd::decide::clock::Duration;
use stayd::decide::event::{Answer, Event, PersistedState, Request, ResourceSample, UnknownUse};
use stayd::decide::policy::{Mode, Policy, StoppedIs, Watchdog};
use stayd::decide::snapshot::{Class, Phase};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_sleep_resets_the_failure_count_and_grants_one_period() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation.advance(SECOND * 13);
    assert_eq!(simulation.snapshot(db).probes[0].failures, 2);
    simulation.deliver(Event::Slept(HOUR * 8));
    assert_eq!(simulation.snapshot(db).probes[0].failures, 0);
    assert_eq!(
        simulation.records(db, RecordKind::Suppressed).len(),
        1,
        "recorded once, with the reason"
    );
    simulation.advance(SECOND * 10);
    assert_eq!(
        simulation.kills(db),
        [],
        "one whole period is granted for the wake-up"
    );
    simulation[db].answer = Answer::Alive;
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.kills(db).len()),
        (Phase::Running, 0)
    );
}

#[test]
fn a_service_that_stays_silent_after_a_sleep_is_killed() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation.advance(SECOND * 12);
    simulation.deliver(Event::Slept(HOUR));
    simulation.advance(SECOND * 30);
    assert_eq!(simulation.kills(db).len(), 1);
}

#[test]
fn the_note_of_an_answer_is_the_reason_while_it_lasts() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation.advance(SECOND * 12);
    let note = "the kept connection is silent".to_owned();
    simulation[db].answer = Answer::AliveWithNote { note };
    simulation.advance(MINUTE);
    let noted = simulation.snapshot(db);
    assert_eq!(noted.reason, "answering; the kept connection is silent");
    assert_eq!(
        (noted.probes[0].class, noted.probes[0].failures),
        (Some(Class::Alive), 0)
    );
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 10);
    assert_eq!(simulation.snapshot(db).reason, "answering again");
    assert_eq!(simulation.kills(db), []);
}

#[test]
fn a_stalled_stayd_counts_no_dead_attempt() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    let asked = |simulation: &Simulation| {
        simulation
            .times_of(db, |action| matches!(action, ServiceAction::Probe { .. }))
            .len()
    };
    for _ in 0..50 {
        let before = asked(&simulation);
        while asked(&simulation) == before {
            simulation.advance(SECOND / 10);
        }
        // The attempt is under way when everything stands still for longer than its timeout.
        simulation.stall(SECOND * 4);
    }
    assert_eq!(simulation.kills(db), []);
}

#[test]
fn dark_wakes_all_night_never_kill() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    for _minute in 0..480 {
        simulation.advance(SECOND * 2);
        simulation.deliver(Event::Slept(SECOND * 58));
    }
    assert_eq!(simulation.kills(db), []);
}

#[test]
fn an_attempt_under_way_when_the_sleep_began_is_void() {
    let (mut simulation, db) = Simulation::with_ready_service(Policy {
        watchdog: Some(Watchdog {
            failures: 1,
            ..watchdog()
        }),
        ..policy()
    });
    simulation[db].stop_answering();
    simulation.advance(SECOND * 5);
    simulation.deliver(Event::Slept(HOUR));
    simulation.advance(SECOND * 3);
    assert_eq!(simulation.snapshot(db).probes[0].class, Some(Class::Void));
    assert_eq!(simulation.kills(db), []);
}

#[test]
fn the_same_events_at_the_same_times_give_the_same_actions() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation.advance(MINUTE);
    simulation.hold(db, MINUTE);
    simulation.deliver(Event::Slept(HOUR));
    simulation.advance(MINUTE * 5);
    simulation.deliver(Event::Shutdown);
    simulation.advance(MINUTE);
    assert!(!simulation.kills(db).is_empty());
    assert_eq!(
        simulation.replayed(),
        simulation.log,
        "no clock is read besides the one that is passed in"
    );
}

#[test]
fn a_sleep_reported_twice_or_with_lateness_is_recorded_once() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation.advance(SECOND * 12);
    simulation.deliver(Event::Late("the host is loaded".into()));
    simulation.deliver(Event::Slept(HOUR));
    simulation.deliver(Event::Slept(SECOND));
    simulation.deliver(Event::Late("the host is loaded".into()));
    simulation.advance(SECOND * 10);
    assert_eq!(simulation.kills(db), []);
    let suppressed = simulation.records(db, RecordKind::Suppressed);
    let slept = suppressed
        .iter()
        .filter(|sentence| sentence.starts_with("the machine slept"));
    assert_eq!(slept.count(), 1, "{suppressed:?}");
}

#[test]
fn lateness_alone_neither_adds_nor_resets_failures() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation.advance(SECOND * 11);
    let before = simulation.snapshot(db).probes[0].failures;
    simulation.stall(SECOND);
    simulation.advance(SECOND * 3);
    let after = &simulation.snapshot(db).probes[0];
    assert_eq!(after.class, Some(Class::NoVerdict));
    assert_eq!(
        after.failures, before,
        "the failures from before the pause still count"
    );
    simulation.advance(SECOND * 15);
    assert_eq!(simulation.kills(db).len(), 1, "a wedge is still found");
}

#[test]
fn an_attempt_that_was_sent_late_is_no_verdict() {
    let (mut simulation, db) = Simulation::with_ready_service(Policy {
        watchdog: Some(Watchdog {
            failures: 1,
            ..watchdog()
        }),
        ..policy()
    });
    simulation[db].sent_late_by = SECOND * 2;
    simulation[db].stop_answering();
    simulation.advance(MINUTE);
    assert_eq!(
        simulation.snapshot(db).probes[0].class,
        Some(Class::NoVerdict)
    );
    assert_eq!(simulation.kills(db), []);
}

#[test]
fn a_process_held_by_sigstop_has_one_period_after_cont() {
    let rules = Policy {
        stopped_is: StoppedIs::Held,
        watchdog: Some(Watchdog {
            failures: 1,
            ..watchdog()
        }),
        ..policy()
    };
    let (mut simulation, db) = Simulation::with_ready_service(rules);
    simulation[db].stop_answering();
    simulation[db].sample = ResourceSample {
        stopped: true,
        ..idle()
    };
    simulation.advance(MINUTE * 10);
    assert_eq!(simulation.kills(db), []);
    // Continued in the middle of an attempt: the sample at its end does not show that the process was stopped.
    simulation[db].sample = idle();
    simulation.advance(SECOND * 5);
    assert_eq!(simulation.kills(db), [], "one period after CONT is granted");
    simulation.advance(SECOND * 20);
    assert_eq!(simulation.kills(db).len(), 1);
}

#[test]
fn a_breakpoint_or_a_frozen_cgroup_may_last_for_hours() {
    for sample in [
        ResourceSample {
            traced: true,
            ..idle()
        },
        ResourceSample {
            frozen: true,
            ..idle()
        },
    ] {
        let (mut simulation, db) = Simulation::with_ready_service(policy());
        simulation[db].stop_answering();
        simulation[db].sample = sample;
        simulation.advance(HOUR * 3);
        assert_eq!(simulation.kills(db), []);
        let records = simulation.records(db, RecordKind::Suppressed);
        assert!(
            records.len() == 1 && records[0].contains("void"),
            "recorded once: {records:?}"
        );
        assert!(
            simulation.snapshot(db).reason.starts_with("not judged"),
            "and shown meanwhile"
        );
    }
}

#[test]
fn a_hold_during_evidence_cancels_the_kill_and_resets_the_count() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation[db].evidence_takes = SECOND / 5;
    while simulation.phase(db) != Phase::Wedged {
        simulation.advance(SECOND / 10);
    }
    simulation.hold(db, SECOND);
    assert_eq!(
        simulation.phase(db),
        Phase::Running,
        "the kill is cancelled"
    );
    simulation.advance(SECOND * 12);
    assert_eq!(
        simulation.kills(db),
        [],
        "no attempt from before the evidence counts"
    );
    assert_eq!(simulation.records(db, RecordKind::Suppressed).len(), 1);
}

#[test]
fn a_hold_does_not_use_up_the_busy_grace() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation[db].sample = busy();
    simulation.hold(db, MINUTE * 30);
    simulation.advance(MINUTE * 30 + SECOND * 10);
    assert_eq!(
        simulation.kills(db),
        [],
        "the migration still works: its grace begins when the hold ends"
    );
    simulation.advance(SECOND * 30);
    assert_eq!(simulation.kills(db).len(), 1);
}

#[test]
fn a_hold_ends_by_itself_and_its_begin_and_end_are_recorded() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation.hold(db, MINUTE * 10);
    simulation[db].stop_answering();
    simulation.advance(MINUTE * 10 - SECOND);
    assert_eq!(simulation.kills(db), []);
    assert_eq!(
        simulation.records(db, RecordKind::Suppressed),
        ["not killed: held (backup)"]
    );
    assert_eq!(
        simulation.snapshot(db).hold.map(|(_, why)| why).as_deref(),
        Some("backup")
    );
    simulation.advance(SECOND * 10);
    assert_eq!(simulation.kills(db).len(), 1);
    assert_eq!(
        simulation.records(db, RecordKind::Requested).len(),
        2,
        "begin and end"
    );
    assert!(simulation.persisted(db).contains(&Persist::Hold(None)));
    assert_eq!(simulation.snapshot(db).hold, None);
}

#[test]
fn a_hold_between_verdict_and_kill_cancels_the_kill_even_after_release_and_hold() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation[db].evidence_takes = SECOND;
    let wedge = |simulation: &mut Simulation| {
        while simulation.phase(db) != Phase::Wedged {
            simulation.advance(SECOND / 10);
        }
    };
    wedge(&mut simulation);
    simulation.hold(db, HOUR);
    simulation.request(db, Request::Release);
    simulation.hold(db, HOUR);
    simulation.advance(MINUTE);
    assert_eq!(
        simulation.kills(db),
        [],
        "the evidence of the first verdict leads to no kill"
    );
    simulation.request(db, Request::Release);
    wedge(&mut simulation);
    simulation.advance(SECOND);
    assert_eq!(simulation.kills(db).len(), 1);
}

#[test]
fn a_failing_readiness_probe_never_kills() {
    let rules = Policy {
        ready_probe: true,
        ..policy()
    };
    let (mut simulation, db) = Simulation::with_ready_service(rules);
    simulation[db].readiness = silence();
    simulation.advance(HOUR);
    assert_eq!(simulation.kills(db), []);
    let readiness = &simulation.snapshot(db).probes[1];
    assert_eq!(readiness.class, Some(Class::Dead));
    assert_eq!(simulation.phase(db), Phase::Running);
}

#[test]
fn a_probe_that_never_had_an_answer_never_kills_and_the_reason_asks_whether_it_is_right() {
    let mut simulation = Simulation::new();
    let db = simulation.add_unconfigured(policy());
    simulation[db].stop_answering();
    simulation.deliver_to(
        db,
        stayd::decide::event::ServiceEvent::Configured(PersistedState::default()),
    );
    simulation.advance(HOUR);
    assert_eq!(
        (simulation.phase(db), simulation.kills(db).len()),
        (Phase::Unproven, 0)
    );
    assert!(
        simulation
            .snapshot(db)
            .reason
            .contains("check whether the probe is right")
    );
}

#[test]
fn shadow_mode_records_once_what_it_would_have_done() {
    let rules = Policy {
        watchdog: Some(Watchdog {
            mode: Mode::Shadow,
            ..watchdog()
        }),
        ..policy()
    };
    let (mut simulation, db) = Simulation::with_ready_service(rules);
    simulation[db].stop_answering();
    simulation.advance(HOUR);
    simulation.deliver_to(
        db,
        stayd::decide::event::ServiceEvent::Notified(
            simulation.snapshot(db).life,
            stayd::decide::event::ServiceMessage::Trigger,
        ),
    );
    simulation.advance(SECOND);
    assert_eq!(
        simulation.kills(db),
        [],
        "not even when the service itself requests it"
    );
    assert_eq!(
        simulation.records(db, RecordKind::Suppressed).len(),
        2,
        "one for the failures, one for the trigger"
    );
}

#[test]
fn a_state_that_cannot_be_read_never_kills_and_use_that_cannot_be_read_only_for_the_busy_grace() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation[db].sample = ResourceSample {
        state_unknown: true,
        ..idle()
    };
    simulation.advance(MINUTE * 10);
    assert_eq!(simulation.kills(db), []);
    simulation[db].sample = ResourceSample {
        unknown_use: Some(UnknownUse::Io),
        ..idle()
    };
    let since = simulation.now;
    simulation.advance(MINUTE);
    let kills = simulation.kills(db);
    let waited = kills.first().map(|kill| kill.since(since));
    assert!(
        waited.is_some_and(|waited| waited >= watchdog().busy_grace),
        "{waited:?}"
    );
}

#[test]
fn attempts_that_leave_the_service_hardly_any_of_a_short_timeout_kill_nothing() {
    let short = Duration::from_millis(200);
    let rules = Policy {
        watchdog: Some(Watchdog {
            interval: SECOND,
            timeout: short,
            ..watchdog()
        }),
        ..policy()
    };
    let (mut simulation, db) = Simulation::with_ready_service(rules);
    simulation[db].sent_late_by = short - Duration::from_millis(1);
    simulation[db].stop_answering();
    simulation.advance(MINUTE);
    assert_eq!(simulation.kills(db), []);
    simulation[db].sent_late_by = Duration::ZERO;
    simulation.advance(SECOND * 10);
    assert_eq!(simulation.kills(db).len(), 1, "asked in time, it is dead");
}
