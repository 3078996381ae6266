//! The house rules: what the compiler does not hold, a test does. Each rule is tried on bad code of its own first.

#![allow(clippy::unwrap_used)]

mod calls;
mod documents;
mod purity;
mod rooms;
mod shape;
mod source;

/// Fails with every finding on a line of its own.
#[track_caller]
fn assert_clean(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
