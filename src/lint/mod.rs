//! Checks launchd plists, systemd units and app bundles, of stayd or of any other program, and reports what is wrong with them.
//!
//! [`mod@read`] is the only part that touches files. [`check`] is pure: it gets the bytes of the files with their owners and modes,
//! and returns findings. `docs/reference/lint.md` is generated from [`codes()`].

mod bundle;
mod codes;
mod command;
mod daemons;
mod finding;
mod known;
mod plist;
mod programs;
mod read;
mod script;
mod source;
mod text;
mod unit;

pub use codes::{Code, Level, codes};
pub use finding::Finding;
pub use read::{ReadError, read};
pub use source::{Bundle, File, Source};

/// Checks a file or an app bundle. The findings are ordered by file and line.
#[must_use]
pub fn check(source: &Source) -> Vec<Finding> {
    match source {
        Source::Plist(file) => plist::check(file, None),
        Source::Unit {
            file,
            drop_ins,
            siblings,
        } => unit::check(file, drop_ins, siblings),
        Source::Bundle(bundle) => bundle::check(bundle),
        Source::Unknown(file) => finding::unknown(file),
    }
}

#[cfg(test)]
mod tests;
