//! Generates the manual pages and the references of the command line, of stayd.toml and of the linter from the library's definitions, and
//! compares them with the files in docs.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod command_line;
pub(crate) mod config_file;
pub(crate) mod lint;
mod roff;

use std::fs;
use std::path::Path;

/// If this variable is set, the tests write the generated files instead of comparing them.
const UPDATE: &str = "STAYD_UPDATE";

/// Fails unless the file at `path` in the repository contains `generated`. `update` is the cargo command that runs this test.
#[track_caller]
pub(crate) fn assert_up_to_date(path: &str, generated: &str, update: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os(UPDATE).is_some() {
        return fs::write(file, generated).expect("written");
    }
    let current = fs::read_to_string(&file).unwrap_or_default();
    let mut lines = current.lines().zip(generated.lines());
    let first_difference = lines.find(|(old, new)| old != new);
    assert!(
        current == generated,
        "{path} is out of date, first at {first_difference:?}; run {UPDATE}=1 cargo {update}"
    );
}
