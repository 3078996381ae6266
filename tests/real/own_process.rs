//! The harness function `alone` runs the test's body exactly once in another process, or fails the test.

use crate::support::alone;
use crate::support::own_process::run_test_alone;
use std::fs;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};

/// A file that the body writes. Test and body run in different processes and share nothing but its name.
fn evidence(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("own-process-{name}"))
}

fn helper_with_its_own_closure(file: &Path) {
    alone(|| fs::write(file, parent_id().to_string()).expect("the evidence"));
}

/// The closure's type names the helper, which is no test.
#[test]
fn a_body_in_a_helper_function_runs_in_a_child_process() {
    let file = evidence("helper");
    let _ = fs::remove_file(&file);
    helper_with_its_own_closure(&file);
    let parent = fs::read_to_string(&file).expect("the body has run");
    // this line runs in the first process, and before it in the child
    let first_process = [std::process::id(), parent_id()].map(|pid| pid.to_string());
    assert!(first_process.contains(&parent), "{parent}");
}

#[test]
fn a_name_that_matches_no_test_is_a_failure() {
    let problem = run_test_alone("own_process::no_such_test").expect_err("no test has run");
    assert!(problem.contains("ran to its end 0 times"), "{problem}");
}

#[test]
fn a_test_that_runs_no_body_is_a_failure() {
    let name = "own_process::a_name_that_matches_no_test_is_a_failure";
    let problem = run_test_alone(name).expect_err("no body has run");
    assert!(problem.contains("ran to its end 0 times"), "{problem}");
    assert!(problem.contains("1 passed"), "{problem}");
}
