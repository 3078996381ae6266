//! A chain of processes each of which starts the next and dies at once: there is never a list that shows it.

use super::support::daemon::{SOON, Stayd};
use super::support::{victim, wait_until};
use std::fs;
use std::time::Duration;

/// Lives of each kind.
const LIVES: usize = 150;
const LONG: Duration = Duration::from_secs(60);

/// What is left of a chain at its end lives for some milliseconds, by which the next life would run beside it.
fn config(hops: usize, others: &str) -> String {
    format!(
        "[service.s]\ncommand = ['{}', 'only', 'DIR/lives', 'hop', '{hops}', 'linger', '20']\n\
         backoff = {{ min = '0ms', max = '1ms' }}\ngive_up = {{ exits = 1000, within = '1s' }}\n\
         startup = {{ within = '1s' }}\n{others}",
        victim().display()
    )
}

fn never_two_copies(config: &str) {
    let daemon = Stayd::start(config);
    let file = daemon.dir().join("lives");
    let lines = || fs::read_to_string(&file).unwrap_or_default();
    let count = |line: &str| lines().lines().filter(|each| *each == line).count();
    wait_until("many lives", LONG, || count("a life") >= LIVES);
    assert_eq!(count("second copy"), 0, "of {}", count("a life"));
    drop(daemon);
}

#[test]
fn item_40_a_chain_of_short_lived_processes_is_not_taken_for_gone() {
    for hops in [3, 8, 40] {
        never_two_copies(&config(hops, ""));
    }
}

#[test]
fn item_40_nor_beside_other_services() {
    let others = "[service.quiet]\ncommand = ['sleep', '1000000']\n[service.quieter]\ncommand = ['sleep', '1000000']\n";
    for hops in [3, 8, 40] {
        never_two_copies(&config(hops, others));
    }
}

#[test]
fn item_40_what_a_chain_ends_in_is_ended_with_its_life() {
    let daemon = Stayd::start(&config(300, "").replace("'linger', '20'", "'sleep'"));
    let file = daemon.dir().join("lives");
    let lives = || fs::read_to_string(&file).unwrap_or_default();
    daemon.wait_state("s", "running");
    for nth in 1..20 {
        wait_until("another life", SOON, || lives().lines().count() >= nth);
        let answer = daemon.client(&["restart", "s"]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
    }
    assert!(!lives().contains("second copy"), "{}", lives());
}
