//! Asking probes from a test.

use stayd::act::probe::{Heartbeat, ProbeContext, Prober};
use stayd::act::spawn::spawner::{Environment, ExecContext, Spawner};
use stayd::config::{Endpoint, Expect, Probe, Target};
use stayd::decide::event::Answer;
use std::path::PathBuf;
use std::time::Duration;

/// Long enough for any answer that comes at all.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Short enough to be waited for.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// A probe of `target` with its protocol's own question.
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

/// What a probe needs, with this project's program for helpers.
pub(crate) fn context(spawner: &Spawner) -> ProbeContext {
    ProbeContext {
        spawner: spawner.clone(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_stayd")),
        exec_context: ExecContext {
            env: Environment::from([("PATH".into(), "/usr/bin:/bin".into())]),
            cwd: "/".into(),
            user: None,
        },
        heartbeat: Heartbeat::default(),
    }
}

/// A prober that needs no reaper: for everything but `exec:`, `sqlite:` and names to be resolved.
pub(crate) fn prober(probe: &Probe) -> Prober {
    Prober::new(probe, context(&Spawner::new()))
}

/// HTTP on `at`.
pub(crate) fn http(at: Endpoint, path: &str) -> Probe {
    probe(Target::Http {
        at,
        host: "127.0.0.1".into(),
        path: path.into(),
        credentials: None,
    })
}

/// Runs an asynchronous test that is in a process of its own, reaping what its nursery starts.
pub(crate) fn with_nursery<T>(test: impl AsyncFnOnce(Spawner) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let spawner = Spawner::new();
    runtime.block_on(spawner.attend(test(spawner.clone())))
}

/// What an answer says, whatever its class.
pub(crate) fn words(answer: &Answer) -> &str {
    match answer {
        Answer::Alive => "",
        Answer::Degraded { said, .. } => said,
        Answer::Dead { how } => how,
        Answer::NoVerdict { why } => why,
    }
}

/// Fails unless the answer is degraded and says all of `parts`.
#[track_caller]
pub(crate) fn assert_degraded(answer: &Answer, parts: &[&str]) {
    assert!(matches!(answer, Answer::Degraded { .. }), "{answer:?}");
    assert_says(answer, parts);
}

/// Fails unless the answer is dead and says all of `parts`.
#[track_caller]
pub(crate) fn assert_dead(answer: &Answer, parts: &[&str]) {
    assert!(matches!(answer, Answer::Dead { .. }), "{answer:?}");
    assert_says(answer, parts);
}

/// Fails unless there is no verdict and it says all of `parts`.
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
