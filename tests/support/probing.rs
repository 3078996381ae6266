//! Runs probe attempts from a test.

use stayd::act::probe::{Heartbeat, ProbeContext, Prober};
use stayd::act::spawn::spawner::{Environment, ExecContext, Spawner};
use stayd::config::{Endpoint, Expect, Probe, Target};
use stayd::decide::event::Answer;
use std::path::PathBuf;
use std::time::Duration;

/// A timeout that no answer exceeds.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// A timeout that a test can wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// A probe of `target` that asks the protocol's default question.
pub(crate) fn probe(target: Target) -> Probe {
    Probe {
        shown: String::new(),
        target,
        query: None,
        query_shown: None,
        expect: Expect::default(),
        timeout: LONG,
    }
}

/// What a probe needs to run, with the program under test as the helper.
pub(crate) fn context(spawner: &Spawner) -> ProbeContext {
    ProbeContext {
        spawner: spawner.clone(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_stayd")),
        exec_context: ExecContext {
            env: Environment::from([("PATH".into(), "/usr/bin:/bin".into())]),
            cwd: "/".into(),
            ..ExecContext::default()
        },
        heartbeat: Heartbeat::default(),
        is_member: std::rc::Rc::new(|_| false),
        listener_judge: None,
    }
}

/// A prober without a reaper: for every target but `exec:`, `sqlite:` and a host name, which start processes.
pub(crate) fn prober(probe: &Probe) -> Prober {
    Prober::new(probe, context(&Spawner::new()))
}

/// An HTTP probe of `at`.
pub(crate) fn http(at: Endpoint, path: &str) -> Probe {
    probe(Target::Http {
        at,
        host: "127.0.0.1".into(),
        path: path.into(),
        credentials: None,
    })
}

/// Runs an asynchronous test and reaps what its spawner starts. The test must be in a process of its own.
pub(crate) fn with_spawner<T>(test: impl AsyncFnOnce(Spawner) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let spawner = Spawner::new();
    runtime.block_on(spawner.reap_during(test(spawner.clone())))
}

/// The text of an answer of any class.
pub(crate) fn words(answer: &Answer) -> &str {
    match answer {
        Answer::Alive => "",
        Answer::AliveWithNote { note } => note,
        Answer::Degraded { said, .. } => said,
        Answer::Dead { how } => how,
        Answer::NoVerdict { why } => why,
    }
}

/// Fails unless the answer is degraded and its text contains all of `parts`.
#[track_caller]
pub(crate) fn assert_degraded(answer: &Answer, parts: &[&str]) {
    assert!(matches!(answer, Answer::Degraded { .. }), "{answer:?}");
    assert_says(answer, parts);
}

/// Fails unless the answer is dead and its text contains all of `parts`.
#[track_caller]
pub(crate) fn assert_dead(answer: &Answer, parts: &[&str]) {
    assert!(matches!(answer, Answer::Dead { .. }), "{answer:?}");
    assert_says(answer, parts);
}

/// Fails unless the answer is no verdict and its text contains all of `parts`.
#[track_caller]
pub(crate) fn assert_no_verdict(answer: &Answer, parts: &[&str]) {
    assert!(matches!(answer, Answer::NoVerdict { .. }), "{answer:?}");
    assert_says(answer, parts);
}

#[track_caller]
fn assert_says(answer: &Answer, parts: &[&str]) {
    for part in parts {
        assert!(words(answer).contains(part), "no {part:?} in {answer:?}");
    }
}
