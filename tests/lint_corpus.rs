//! The linter on real plists and units, with a verdict on each. They lie beside the repository and are no part of it; without
//! them the test says so and ends.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use stayd::lint::{Level, check, read};
use std::fs;
use std::path::Path;

/// How many of the wrong files have an error or a warning, of 100, at least.
const WRONG_FOUND_MIN: usize = 95;
/// How many of the right files have a warning, of 100, at most.
const RIGHT_WARNED_MAX: usize = 10;

#[derive(Default, Debug)]
struct Counts {
    wrong: usize,
    wrong_found: usize,
    right: usize,
    right_warned: usize,
}

#[test]
fn wrong_files_are_found_and_right_ones_are_left_alone() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let Ok(index) = fs::read_to_string(corpus.join("index.tsv")) else {
        println!("skipped: there is no corpus beside the repository");
        return;
    };
    let mut counts = Counts::default();
    let mut mistakes = Vec::new();
    for row in index.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        let (name, verdict) = (cells[0], cells[6]);
        let findings = check(&read(&corpus.join(name)).unwrap());
        let has = |level| findings.iter().any(|finding| finding.code.level == level);
        let (error, warning) = (has(Level::Error), has(Level::Warning));
        match verdict {
            "wrong" => {
                counts.wrong += 1;
                counts.wrong_found += usize::from(error || warning);
            }
            "right" => {
                counts.right += 1;
                counts.right_warned += usize::from(warning);
                if error {
                    mistakes.push(format!("{name}: {findings:?}"));
                }
            }
            _ => {}
        }
    }
    println!("{counts:?}");
    assert!(mistakes.is_empty(), "errors on right files: {mistakes:#?}");
    assert!(counts.wrong > 10 && counts.right > 10, "{counts:?}");
    assert!(
        counts.wrong_found * 100 >= counts.wrong * WRONG_FOUND_MIN,
        "{counts:?}"
    );
    assert!(
        counts.right_warned * 100 < counts.right * RIGHT_WARNED_MAX,
        "{counts:?}"
    );
}
