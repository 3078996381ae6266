//! Sequences of probe attempts and the verdicts that they lead to.

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
};
const ARMED: KillConditions = KillConditions {
    proven: true,
    held: false,
    host_suspected: false,
    foreign: false,
};

fn at(seconds: u64) -> Instant {
    Instant::START.after(Duration::from_secs(seconds))
}

/// An attempt asked at `seconds` that timed out exactly at its deadline.
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

/// Classifies and judges an attempt as the service does.
fn feed(
    failures: &mut ConsecutiveFailures,
    attempt: &ProbeAttempt,
    rules: &Watchdog,
    conditions: KillConditions,
) -> (Class, Verdict) {
    let (class, _) = classify(attempt, failures, StoppedIs::Wedged, rules.degraded_kills);
    let now = attempt.asked_at.after(attempt.latency);
    (
        class,
        failures.judge(now, class, attempt, rules, conditions),
    )
}

fn dead_attempts(
    sample: ResourceSample,
    count: u64,
    rules: &Watchdog,
    conditions: KillConditions,
) -> (ConsecutiveFailures, Vec<Verdict>) {
    let mut failures = ConsecutiveFailures::default();
    let judged = (0..count)
        .map(|n| feed(&mut failures, &silence(n * 5, sample), rules, conditions).1)
        .collect();
    (failures, judged)
}

#[test]
fn three_consecutive_silent_attempts_are_a_wedge() {
    let (_, judged) = dead_attempts(idle(), 3, &RULES, ARMED);
    assert_eq!(
        judged,
        [Verdict::Suspect, Verdict::Suspect, Verdict::Wedged]
    );
}

#[test]
fn one_lost_attempt_among_answers_never_kills() {
    let mut failures = ConsecutiveFailures::default();
    for n in 0..20 {
        let (_, dead) = feed(&mut failures, &silence(n * 10, idle()), &RULES, ARMED);
        assert_eq!(dead, Verdict::Suspect);
        let (_, fine) = feed(
            &mut failures,
            &answered(n * 10 + 5, Answer::Alive),
            &RULES,
            ARMED,
        );
        assert_eq!(fine, Verdict::Fine);
        assert_eq!(failures.count(), 0);
    }
}

#[test]
fn any_well_formed_answer_resets_the_failure_count() {
    let said = Answer::Degraded {
        said: "53300: too many clients already".into(),
        starting: false,
    };
    let (mut failures, _) = dead_attempts(idle(), 2, &RULES, ARMED);
    let (class, judged) = feed(&mut failures, &answered(10, said.clone()), &RULES, ARMED);
    assert_eq!(
        (class, judged, failures.count()),
        (Class::Degraded, Verdict::Fine, 0)
    );

    let strict = Watchdog {
        degraded_kills: true,
        ..RULES
    };
    let (mut failures, _) = dead_attempts(idle(), 2, &strict, ARMED);
    let (class, judged) = feed(&mut failures, &answered(10, said), &strict, ARMED);
    assert_eq!(
        (class, judged),
        (Class::Dead, Verdict::Wedged),
        "degraded = \"kill\" is configured"
    );
}

#[test]
fn an_answer_with_a_note_is_alive_and_the_note_is_its_reason() {
    let note = "a fresh login is answered".to_owned();
    let attempt = answered(10, Answer::AliveWithNote { note: note.clone() });
    let (mut failures, _) = dead_attempts(idle(), 2, &RULES, ARMED);
    assert_eq!(
        classify(&attempt, &failures, StoppedIs::Wedged, true),
        (Class::Alive, note)
    );
    assert_eq!(
        feed(&mut failures, &attempt, &RULES, ARMED).1,
        Verdict::Fine
    );
    assert_eq!(failures.count(), 0);
}

#[test]
fn an_attempt_that_could_not_ask_changes_nothing() {
    let (mut failures, _) = dead_attempts(idle(), 2, &RULES, ARMED);
    let unable = Answer::NoVerdict {
        why: "cannot open a socket: EMFILE".into(),
    };
    for n in 10..50 {
        let (class, judged) = feed(&mut failures, &answered(n, unable.clone()), &RULES, ARMED);
        assert_eq!(
            (class, judged, failures.count()),
            (Class::NoVerdict, Verdict::Suspect, 2)
        );
    }
    assert_eq!(
        feed(&mut failures, &silence(60, idle()), &RULES, ARMED).1,
        Verdict::Wedged
    );
}

#[test]
fn an_attempt_read_late_is_no_verdict() {
    let mut failures = ConsecutiveFailures::default();
    let late = ProbeAttempt {
        latency: RULES.timeout + LATENESS_MAX + Duration::from_nanos(1),
        ..silence(0, idle())
    };
    for _ in 0..10 {
        assert_eq!(
            feed(&mut failures, &late, &RULES, ARMED),
            (Class::NoVerdict, Verdict::Fine)
        );
    }
    let just = ProbeAttempt {
        latency: RULES.timeout + LATENESS_MAX,
        ..silence(0, idle())
    };
    assert_eq!(feed(&mut failures, &just, &RULES, ARMED).0, Class::Dead);
}

#[test]
fn silence_from_before_a_sleep_is_void() {
    let (mut failures, _) = dead_attempts(idle(), 2, &RULES, ARMED);
    failures.void_before(at(20));
    assert_eq!(failures.count(), 0, "the failures are void");
    assert_eq!(
        feed(&mut failures, &silence(19, idle()), &RULES, ARMED),
        (Class::Void, Verdict::Fine)
    );
    assert_eq!(
        feed(&mut failures, &silence(20, idle()), &RULES, ARMED),
        (Class::Dead, Verdict::Suspect)
    );
}

#[test]
fn one_dead_attempt_per_dark_wake_never_adds_up_to_a_kill() {
    let mut failures = ConsecutiveFailures::default();
    for minute in 0..480 {
        let asked = minute * 60;
        assert_ne!(
            feed(&mut failures, &silence(asked, idle()), &RULES, ARMED).1,
            Verdict::Wedged
        );
        failures.void_before(at(asked + 10));
    }
}

#[test]
fn a_stopped_main_process_is_dead_or_void_as_configured() {
    let stopped = ResourceSample {
        stopped: true,
        ..ResourceSample::default()
    };
    let kept_alive = ProbeAttempt {
        sample: stopped,
        ..answered(0, Answer::Alive)
    };
    let failures = ConsecutiveFailures::default();
    assert_eq!(
        classify(&kept_alive, &failures, StoppedIs::Wedged, false).0,
        Class::Dead,
        "whatever a kept connection says"
    );
    assert_eq!(
        classify(&kept_alive, &failures, StoppedIs::Held, false).0,
        Class::Void
    );
}

#[test]
fn a_traced_or_frozen_process_makes_the_attempt_void_and_resets_the_count() {
    for traced in [true, false] {
        let sample = ResourceSample {
            traced,
            frozen: !traced,
            ..idle()
        };
        let (mut failures, _) = dead_attempts(idle(), 2, &RULES, ARMED);
        assert_eq!(
            feed(&mut failures, &silence(10, sample), &RULES, ARMED),
            (Class::Void, Verdict::Fine)
        );
        assert_eq!(failures.count(), 0);
    }
}

#[test]
fn no_dead_attempt_of_any_kind_counts_while_a_debugger_or_the_freezer_holds_the_process() {
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
        let (class, _) = classify(
            &attempt,
            &ConsecutiveFailures::default(),
            StoppedIs::Wedged,
            true,
        );
        assert_eq!(class, Class::Void, "{attempt:?}");
    }
}

#[test]
fn a_busy_tree_gets_the_busy_grace_and_no_more() {
    let (mut failures, judged) = dead_attempts(busy(), 3, &RULES, ARMED);
    assert_eq!(judged[2], Verdict::Suppressed(SuppressionReason::Busy));
    // Due at 13 s; the grace ends at 33 s.
    for asked in [15, 20, 25] {
        assert_eq!(
            feed(&mut failures, &silence(asked, busy()), &RULES, ARMED).1,
            Verdict::Suspect,
            "reported once"
        );
    }
    assert_eq!(
        feed(&mut failures, &silence(30, busy()), &RULES, ARMED).1,
        Verdict::Wedged,
        "a live-lock ends too"
    );
}

#[test]
fn an_idle_tree_gets_no_grace() {
    let (mut failures, _) = dead_attempts(busy(), 3, &RULES, ARMED);
    assert_eq!(
        feed(&mut failures, &silence(15, idle()), &RULES, ARMED).1,
        Verdict::Wedged
    );
}

#[test]
fn throttling_by_its_own_quota_counts_as_busy() {
    let throttled = ResourceSample {
        throttled: true,
        ..idle()
    };
    let (_, judged) = dead_attempts(throttled, 3, &RULES, ARMED);
    assert_eq!(judged[2], Verdict::Suppressed(SuppressionReason::Busy));
}

#[test]
fn overload_by_others_suppresses_the_kill_up_to_the_ceiling() {
    let overloaded = ResourceSample {
        host_cpu: Duration::from_secs(10),
        host_runnable: 12,
        ..idle()
    };
    let (mut failures, judged) = dead_attempts(overloaded, 3, &RULES, ARMED);
    assert_eq!(
        judged[2],
        Verdict::Suppressed(SuppressionReason::Overloaded)
    );
    assert_eq!(
        feed(&mut failures, &silence(105, overloaded), &RULES, ARMED).1,
        Verdict::Suspect
    );
    assert_eq!(
        feed(&mut failures, &silence(110, overloaded), &RULES, ARMED).1,
        Verdict::Wedged,
        "13 s + 5 × 20 s"
    );
}

#[test]
fn threads_that_waited_for_a_processor_show_an_overload_that_is_over_when_it_is_looked_for() {
    let was_overloaded = ResourceSample {
        host_cpu: Duration::from_secs(10),
        host_stalled: Duration::from_millis(4500),
        ..idle()
    };
    assert!(is_overloaded(&was_overloaded));
    let was_busy = ResourceSample {
        host_stalled: Duration::from_millis(4000),
        ..was_overloaded
    };
    assert!(!is_overloaded(&was_busy));
}

#[test]
fn a_smaller_share_of_a_core_counts_as_work_while_every_processor_is_in_use() {
    let starved = ResourceSample {
        tree_cpu: Duration::from_millis(700),
        host_cpu: Duration::from_secs(10),
        ..idle()
    };
    assert!(is_working(&starved));
    let starved_by_the_hypervisor = ResourceSample {
        host_cpu: Duration::from_secs(5),
        host_stalled: Duration::from_millis(3500),
        ..starved
    };
    assert!(is_working(&starved_by_the_hypervisor));
    let slow = ResourceSample {
        host_cpu: Duration::from_secs(5),
        ..starved
    };
    assert!(!is_working(&slow), "it could have used more");
    let wedged = ResourceSample {
        tree_cpu: Duration::from_millis(100),
        ..starved
    };
    assert!(!is_working(&wedged));
}

#[test]
fn a_tree_that_causes_the_overload_itself_is_not_excused_by_it() {
    let own = ResourceSample {
        host_cpu: Duration::from_secs(10),
        tree_cpu: Duration::from_secs(5),
        host_runnable: 12,
        ..idle()
    };
    assert!(!is_overloaded(&own) && is_busy(&own));
}

#[test]
fn an_unproven_probe_a_hold_and_shadow_mode_never_kill() {
    for (conditions, rules, reason) in [
        (
            KillConditions {
                proven: false,
                held: false,
                host_suspected: false,
                foreign: false,
            },
            RULES,
            SuppressionReason::NeverAnswered,
        ),
        (
            KillConditions {
                proven: true,
                held: true,
                host_suspected: false,
                foreign: false,
            },
            RULES,
            SuppressionReason::Held,
        ),
        (
            ARMED,
            Watchdog {
                mode: Mode::Shadow,
                ..RULES
            },
            SuppressionReason::Shadow,
        ),
    ] {
        let (_, judged) = dead_attempts(idle(), 30, &rules, conditions);
        assert_eq!(judged[2], Verdict::Suppressed(reason));
        assert!(!judged.contains(&Verdict::Wedged), "{reason:?}");
    }
}

#[test]
fn the_use_in_words_names_cpu_io_the_quota_and_what_is_not_known() {
    assert_eq!(use_in_words(&idle()), "using no CPU");
    assert_eq!(use_in_words(&busy()), "using 50 % of a core");
    let unmeasured = ResourceSample {
        unknown_use: Some(UnknownUse::ShortWindow),
        ..ResourceSample::default()
    };
    assert_eq!(
        use_in_words(&unmeasured),
        "its use of CPU and I/O is not measured yet"
    );
    let copying = ResourceSample {
        tree_io_bytes: 40 * 1024 * 1024,
        unknown_use: Some(UnknownUse::Io),
        ..idle()
    };
    assert_eq!(
        use_in_words(&copying),
        "using no CPU, reading and writing 8.0 MiB/s, its I/O cannot be read"
    );
    let throttled = ResourceSample {
        throttled: true,
        ..idle()
    };
    assert_eq!(
        use_in_words(&throttled),
        "using no CPU, throttled by its own CPU quota"
    );
}

#[test]
fn overload_does_not_excuse_a_stopped_process() {
    let stopped = ResourceSample {
        stopped: true,
        host_cpu: Duration::from_secs(10),
        host_runnable: 12,
        ..idle()
    };
    let (_, judged) = dead_attempts(stopped, 3, &RULES, ARMED);
    assert_eq!(judged[2], Verdict::Wedged);
}

#[test]
fn use_that_cannot_be_read_buys_the_busy_grace_and_is_named() {
    let unknown = ResourceSample {
        unknown_use: Some(UnknownUse::Io),
        ..ResourceSample::default()
    };
    assert!(is_busy(&unknown));
    assert!(
        !is_working(&unknown),
        "it does not extend the startup budget"
    );
    assert_eq!(use_in_words(&unknown), "its I/O cannot be read");
    let (_, judged) = dead_attempts(unknown, 3, &RULES, ARMED);
    assert_eq!(judged[2], Verdict::Suppressed(SuppressionReason::Busy));
    let stopped = ResourceSample {
        stopped: true,
        ..unknown
    };
    assert!(!is_busy(&stopped), "a stopped process does no work");
}

#[test]
fn a_state_that_cannot_be_read_gives_no_verdict() {
    let unreadable = ResourceSample {
        state_unknown: true,
        ..idle()
    };
    let (failures, judged) = dead_attempts(unreadable, 6, &RULES, ARMED);
    assert_eq!(failures.count(), 0);
    assert!(
        judged.iter().all(|verdict| *verdict == Verdict::Fine),
        "{judged:?}"
    );
}

#[test]
fn a_degraded_answer_that_kills_has_the_excuses_of_silence() {
    let asked = |sample| ProbeAttempt {
        answer: Answer::Degraded {
            said: "HTTP 503".into(),
            starting: false,
        },
        ..silence(0, sample)
    };
    let judge = |sample| {
        let failures = ConsecutiveFailures::default();
        classify(&asked(sample), &failures, StoppedIs::Wedged, true).0
    };
    assert_eq!(judge(idle()), Class::Dead);
    for (sample, class) in [
        (
            ResourceSample {
                traced: true,
                ..idle()
            },
            Class::Void,
        ),
        (
            ResourceSample {
                state_unknown: true,
                ..idle()
            },
            Class::NoVerdict,
        ),
    ] {
        assert_eq!(judge(sample), class, "{sample:?}");
    }
    let mut failures = ConsecutiveFailures::default();
    failures.no_verdict_before(
        asked(idle()).asked_at.after(Duration::from_secs(1)),
        "host".into(),
    );
    let late = classify(&asked(idle()), &failures, StoppedIs::Wedged, true).0;
    assert_eq!(late, Class::NoVerdict);
}

#[test]
fn a_window_of_less_than_a_millisecond_is_not_taken_for_work() {
    let idle = ResourceSample {
        watched: Duration::from_micros(900),
        ..ResourceSample::default()
    };
    assert!(!is_busy(&idle));
}
