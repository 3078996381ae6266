//! The house rules: tests of the source text for rules that the compiler cannot check. Each rule is also run on bad code, to
//! show that it finds something.

#![allow(clippy::unwrap_used)]

mod calls;
mod cycles;
mod documents;
mod layers;
mod purity;
mod shape;
mod source;

/// Fails if there are findings, and prints one per line.
#[track_caller]
fn assert_clean(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
