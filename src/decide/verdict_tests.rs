//! Rows of rounds and what they lead to, item by item.

use super::*;

const RULES: Watchdog = Watchdog {
    interval: Duration::from_secs(5),
    timeout: Duration::from_secs(3),
    failures: 3,
    busy_grace: Duration::from_secs(20),
    degraded_kills: false,
    first_grace: None,
    mode: Mode::Kill,
    evidence_extra: Duration::ZERO,
    told_by_service: false,
};
const ARMED: Standing = Standing {
    proven: true,
    held: false,
    host_suspected: false,
    stranger: false,
};

fn at(seconds: u64) -> Instant {
    Instant::START.after(Duration::from_secs(seconds))
}

/// A round asked at `seconds` that timed out exactly at its deadline.
fn silence(seconds: u64, sample: ResourceSample) -> ProbeAttempt {
    ProbeAttempt {
        asked_at: at(seconds),
        deadline: at(seconds + 3),
        answer: Answer::Dead {
            how: "no answer within 3 s".into(),
        },
        latency: RULES.timeout,
        sample,
    }
}

fn answered(seconds: u64, answer: Answer) -> ProbeAttempt {
    ProbeAttempt {
        answer,
        latency: Duration::from_millis(1),
        ..silence(seconds, ResourceSample::default())
    }
}

fn idle() -> ResourceSample {
    ResourceSample {
        watched: Duration::from_secs(5),
        host_cpus: 2,
        host_cpu: Duration::from_secs(1),
        host_runnable: 1,
        ..ResourceSample::default()
    }
}

fn busy() -> ResourceSample {
    ResourceSample {
        tree_cpu: Duration::from_millis(2500),
        ..idle()
    }
}

/// Feeds a round as the service would, and says class and judgement.
fn feed(
    row: &mut Row,
    attempt: &ProbeAttempt,
    rules: &Watchdog,
    standing: Standing,
) -> (Class, Judgement) {
    let (class, _) = classify(attempt, row, StoppedIs::Wedged, rules.degraded_kills);
    let now = attempt.asked_at.after(attempt.latency);
    (class, row.judge(now, class, attempt, rules, standing))
}

fn row_of_dead(
    sample: ResourceSample,
    count: u64,
    rules: &Watchdog,
    standing: Standing,
) -> (Row, Vec<Judgement>) {
    let mut row = Row::default();
    let judged = (0..count)
        .map(|n| feed(&mut row, &silence(n * 5, sample), rules, standing).1)
        .collect();
    (row, judged)
}

#[test]
fn item_31_three_silent_rounds_in_a_row_are_a_wedge() {
    let (_, judged) = row_of_dead(idle(), 3, &RULES, ARMED);
    assert_eq!(
        judged,
        [Judgement::Suspect, Judgement::Suspect, Judgement::Wedged]
    );
}

#[test]
fn item_26_one_lost_round_is_no_verdict_on_a_life() {
    let mut row = Row::default();
    for n in 0..20 {
        let (_, dead) = feed(&mut row, &silence(n * 10, idle()), &RULES, ARMED);
        assert_eq!(dead, Judgement::Suspect);
        let (_, fine) = feed(
            &mut row,
            &answered(n * 10 + 5, Answer::Alive),
            &RULES,
            ARMED,
        );
        assert_eq!(fine, Judgement::Fine);
        assert_eq!(row.failures(), 0);
    }
}

#[test]
fn items_18_and_19_any_well_formed_answer_ends_the_row() {
    let said = Answer::Degraded {
        said: "53300: too many clients already".into(),
        starting: false,
    };
    let (mut row, _) = row_of_dead(idle(), 2, &RULES, ARMED);
    let (class, judged) = feed(&mut row, &answered(10, said.clone()), &RULES, ARMED);
    assert_eq!(
        (class, judged, row.failures()),
        (Class::Degraded, Judgement::Fine, 0)
    );

    let strict = Watchdog {
        degraded_kills: true,
        ..RULES
    };
    let (mut row, _) = row_of_dead(idle(), 2, &strict, ARMED);
    let (class, judged) = feed(&mut row, &answered(10, said), &strict, ARMED);
    assert_eq!(
        (class, judged),
        (Class::Dead, Judgement::Wedged),
        "degraded = \"kill\" was asked for"
    );
}

#[test]
fn items_22_and_23_not_being_able_to_ask_changes_nothing() {
    let (mut row, _) = row_of_dead(idle(), 2, &RULES, ARMED);
    let unable = Answer::NoVerdict {
        why: "cannot open a socket: EMFILE".into(),
    };
    for n in 10..50 {
        let (class, judged) = feed(&mut row, &answered(n, unable.clone()), &RULES, ARMED);
        assert_eq!(
            (class, judged, row.failures()),
            (Class::NoVerdict, Judgement::Suspect, 2)
        );
    }
    assert_eq!(
        feed(&mut row, &silence(60, idle()), &RULES, ARMED).1,
        Judgement::Wedged
    );
}

#[test]
fn item_2_a_late_observer_gives_no_verdict() {
    let mut row = Row::default();
    let late = ProbeAttempt {
        latency: RULES.timeout + LATENESS_MAX + Duration::from_nanos(1),
        ..silence(0, idle())
    };
    for _ in 0..10 {
        assert_eq!(
            feed(&mut row, &late, &RULES, ARMED),
            (Class::NoVerdict, Judgement::Fine)
        );
    }
    let just = ProbeAttempt {
        latency: RULES.timeout + LATENESS_MAX,
        ..silence(0, idle())
    };
    assert_eq!(feed(&mut row, &just, &RULES, ARMED).0, Class::Dead);
}

#[test]
fn items_1_and_4_silence_from_before_a_sleep_is_void() {
    let (mut row, _) = row_of_dead(idle(), 2, &RULES, ARMED);
    row.distrust_before(at(20));
    assert_eq!(row.failures(), 0, "the row is void");
    assert_eq!(
        feed(&mut row, &silence(19, idle()), &RULES, ARMED),
        (Class::Void, Judgement::Fine)
    );
    assert_eq!(
        feed(&mut row, &silence(20, idle()), &RULES, ARMED),
        (Class::Dead, Judgement::Suspect)
    );
}

#[test]
fn item_3_dark_wakes_never_add_up() {
    let mut row = Row::default();
    for minute in 0..480 {
        let asked = minute * 60;
        assert_ne!(
            feed(&mut row, &silence(asked, idle()), &RULES, ARMED).1,
            Judgement::Wedged
        );
        row.distrust_before(at(asked + 10));
    }
}

#[test]
fn item_8_a_stopped_main_process_is_dead_or_void_as_configured() {
    let stopped = ResourceSample {
        stopped: true,
        ..ResourceSample::default()
    };
    let kept_alive = ProbeAttempt {
        sample: stopped,
        ..answered(0, Answer::Alive)
    };
    let row = Row::default();
    assert_eq!(
        classify(&kept_alive, &row, StoppedIs::Wedged, false).0,
        Class::Dead,
        "whatever a kept connection says"
    );
    assert_eq!(
        classify(&kept_alive, &row, StoppedIs::Held, false).0,
        Class::Void
    );
}

#[test]
fn items_9_and_11_traced_and_frozen_are_void_and_break_the_row() {
    for traced in [true, false] {
        let sample = ResourceSample {
            traced,
            frozen: !traced,
            ..idle()
        };
        let (mut row, _) = row_of_dead(idle(), 2, &RULES, ARMED);
        assert_eq!(
            feed(&mut row, &silence(10, sample), &RULES, ARMED),
            (Class::Void, Judgement::Fine)
        );
        assert_eq!(row.failures(), 0);
    }
}

#[test]
fn items_9_and_11_no_dead_round_of_any_kind_counts_while_others_hold_it() {
    for (traced, stopped) in [(true, true), (true, false), (false, true), (false, false)] {
        let sample = ResourceSample {
            traced,
            frozen: !traced,
            stopped,
            ..ResourceSample::default()
        };
        let (said, starting) = ("502".into(), false);
        let attempt = ProbeAttempt {
            sample,
            ..answered(0, Answer::Degraded { said, starting })
        };
        let (class, _) = classify(&attempt, &Row::default(), StoppedIs::Wedged, true);
        assert_eq!(class, Class::Void, "{attempt:?}");
    }
}

#[test]
fn item_14_busy_buys_the_grace_and_no_more() {
    let (mut row, judged) = row_of_dead(busy(), 3, &RULES, ARMED);
    assert_eq!(judged[2], Judgement::Suppressed(Spare::Busy));
    // Due at 13 s; the grace ends at 33 s.
    for asked in [15, 20, 25] {
        assert_eq!(
            feed(&mut row, &silence(asked, busy()), &RULES, ARMED).1,
            Judgement::Suspect,
            "told once"
        );
    }
    assert_eq!(
        feed(&mut row, &silence(30, busy()), &RULES, ARMED).1,
        Judgement::Wedged,
        "item 34: a live-lock ends too"
    );
}

#[test]
fn item_14_without_progress_there_is_no_grace() {
    let (mut row, _) = row_of_dead(busy(), 3, &RULES, ARMED);
    assert_eq!(
        feed(&mut row, &silence(15, idle()), &RULES, ARMED).1,
        Judgement::Wedged
    );
}

#[test]
fn item_13_its_own_quota_excuses_it() {
    let throttled = ResourceSample {
        throttled: true,
        ..idle()
    };
    let (_, judged) = row_of_dead(throttled, 3, &RULES, ARMED);
    assert_eq!(judged[2], Judgement::Suppressed(Spare::Busy));
}

#[test]
fn item_12_overload_by_others_holds_the_kill_up_to_the_ceiling() {
    let overloaded = ResourceSample {
        host_cpu: Duration::from_secs(10),
        host_runnable: 12,
        ..idle()
    };
    let (mut row, judged) = row_of_dead(overloaded, 3, &RULES, ARMED);
    assert_eq!(judged[2], Judgement::Suppressed(Spare::Overloaded));
    assert_eq!(
        feed(&mut row, &silence(105, overloaded), &RULES, ARMED).1,
        Judgement::Suspect
    );
    assert_eq!(
        feed(&mut row, &silence(110, overloaded), &RULES, ARMED).1,
        Judgement::Wedged,
        "13 s + 5 × 20 s"
    );
}

#[test]
fn item_12_a_tree_that_makes_the_overload_itself_is_not_excused_by_it() {
    let own = ResourceSample {
        host_cpu: Duration::from_secs(10),
        tree_cpu: Duration::from_secs(5),
        host_runnable: 12,
        ..idle()
    };
    assert!(!is_overloaded(&own) && is_busy(&own));
}

#[test]
fn an_unproven_probe_or_a_hold_or_the_shadow_kill_nobody() {
    for (standing, rules, spare) in [
        (
            Standing {
                proven: false,
                held: false,
                host_suspected: false,
                stranger: false,
            },
            RULES,
            Spare::Unproven,
        ),
        (
            Standing {
                proven: true,
                held: true,
                host_suspected: false,
                stranger: false,
            },
            RULES,
            Spare::Held,
        ),
        (
            ARMED,
            Watchdog {
                mode: Mode::Shadow,
                ..RULES
            },
            Spare::Shadow,
        ),
    ] {
        let (_, judged) = row_of_dead(idle(), 30, &rules, standing);
        assert_eq!(judged[2], Judgement::Suppressed(spare));
        assert!(!judged.contains(&Judgement::Wedged), "{spare:?}");
    }
}

#[test]
fn the_sight_in_words() {
    assert_eq!(cpu_in_words(&idle()), "using no CPU");
    assert_eq!(cpu_in_words(&busy()), "using 50 % of a core");
    assert_eq!(cpu_in_words(&ResourceSample::default()), "CPU use unknown");
    let throttled = ResourceSample {
        throttled: true,
        ..idle()
    };
    assert_eq!(
        cpu_in_words(&throttled),
        "using no CPU, throttled by its own CPU quota"
    );
}

#[test]
fn item_12_overload_does_not_excuse_a_stopped_process() {
    let stopped = ResourceSample {
        stopped: true,
        host_cpu: Duration::from_secs(10),
        host_runnable: 12,
        ..idle()
    };
    let (_, judged) = row_of_dead(stopped, 3, &RULES, ARMED);
    assert_eq!(judged[2], Judgement::Wedged);
}
