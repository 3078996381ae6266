//! A main process that only looks after its worker, as every `sh -c` does: who holds the worker holds the service.

use super::adoption::wait_for_child;
use super::faults::{Mine, clinic, strace};
use super::support::daemon::is_alive;
use super::support::{Freezer, free_port, http_get, victim};

/// The main process sleeps; its child, in a session of its own, answers.
fn with_worker() -> (Mine, i32) {
    let port = free_port();
    let config = clinic("s", port, "", "").replace("\"clinic\"", "\"setsid\", \"clinic\"");
    let mine = Mine::of(port, &config, |_| {});
    let worker = wait_for_child(mine.subject);
    (mine, worker)
}

#[test]
fn item_9_a_debugger_on_a_worker_is_one_on_the_service() {
    let (mine, worker) = with_worker();
    http_get(mine.port, "/wedge").expect("the wedge");
    let mut tracer = strace(worker);
    mine.wait_probe_class("void");
    mine.outlives_the_canary();
    assert!(is_alive(worker));
    tracer.kill().expect("released");
    tracer.wait().expect("strace");
    mine.wait_killed();
}

#[test]
fn item_11_a_frozen_worker_is_a_frozen_service() {
    let Some(freezer) = Freezer::new("workers") else {
        return; // only who may make cgroups can see this
    };
    let (mine, worker) = with_worker();
    freezer.freeze(worker);
    mine.wait_probe_class("void");
    mine.outlives_the_canary();
    assert!(is_alive(worker));
    freezer.thaw();
    mine.wait_probe_class("alive");
}

/// A program that is always traced by its own would be excused for ever.
#[test]
fn item_9_a_tracer_of_the_services_own_excuses_nothing() {
    let port = free_port();
    let victim = format!("\"{}\"", victim().display());
    let traced = format!("\"strace\", \"-f\", \"-o\", \"/dev/null\", {victim}");
    let mine = Mine::of(
        port,
        &clinic("s", port, "", "").replace(&victim, &traced),
        |_| {},
    );
    http_get(mine.port, "/wedge").expect("the wedge");
    mine.wait_killed();
}
