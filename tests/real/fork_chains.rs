//! An instance that leaves a chain of processes, each of which forks the next and exits at once: no listing of processes
//! shows the living one.

use super::support::daemon::{SOON, Stayd};
use super::support::{test_service, wait_until};
use std::fs;
use std::time::Duration;

/// Instances of each kind.
const INSTANCES: usize = 150;
const LONG: Duration = Duration::from_secs(60);

/// The end of a chain lives for some milliseconds: if it were missed, the next instance would run beside it.
fn config(length: usize, others: &str) -> String {
    format!(
        "[service.s]\ncommand = ['{}', 'detect-copies', 'DIR/starts', 'fork-chain', '{length}', 'sleep-ms', '20']\n\
         backoff = {{ min = '0ms', max = '1ms' }}\ngive_up = {{ exits = 1000, within = '1s' }}\n\
         startup = {{ within = '1s' }}\n{others}",
        test_service().display()
    )
}

fn assert_never_two_copies(config: &str) {
    let daemon = Stayd::start(config);
    let file = daemon.dir().join("starts");
    let lines = || fs::read_to_string(&file).unwrap_or_default();
    let count = |line: &str| lines().lines().filter(|each| *each == line).count();
    wait_until("many instances have run", LONG, || {
        count("started") >= INSTANCES
    });
    assert_eq!(count("second copy"), 0, "of {}", count("started"));
    drop(daemon);
}

#[test]
fn a_chain_of_short_lived_processes_is_killed_before_the_next_instance_starts() {
    for length in [3, 8, 40] {
        assert_never_two_copies(&config(length, ""));
    }
}

#[test]
fn a_chain_beside_other_services_is_killed_before_the_next_instance_starts() {
    let others = "[service.quiet]\ncommand = ['sleep', '1000000']\n[service.quieter]\ncommand = ['sleep', '1000000']\n";
    for length in [3, 8, 40] {
        assert_never_two_copies(&config(length, others));
    }
}

#[test]
fn the_process_at_the_end_of_a_chain_is_killed_with_its_instance() {
    let daemon = Stayd::start(&config(300, "").replace("'sleep-ms', '20'", "'sleep'"));
    let file = daemon.dir().join("starts");
    let starts = || fs::read_to_string(&file).unwrap_or_default();
    daemon.wait_state("s", "running");
    for nth in 1..20 {
        wait_until("another instance", SOON, || starts().lines().count() >= nth);
        // Without waiting: each process of the chain but the last ends at once, and an instance that ends at once has failed.
        let answer = daemon.client(&["restart", "s", "--no-wait"]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
    }
    assert!(!starts().contains("second copy"), "{}", starts());
}
