//! The table of codes: what each finding means, and where that is documented. A code never changes its meaning.

mod plist;
mod unit;

pub(super) use plist::*;
pub(super) use unit::*;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The file does not do what it says.
    Error,
    /// It works, but perhaps not as intended.
    Warning,
    /// It may be as intended, or sources disagree.
    Note,
}

impl Level {
    /// The word for it in the output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its name in the output.
    pub name: &'static str,
    /// How serious it is.
    pub level: Level,
    /// What it means, one or more sentences.
    pub meaning: &'static str,
    /// The source of the fact: a manual page, or what was observed.
    pub source: &'static str,
}

/// Defines codes as statics, and a list of all of them in their order.
macro_rules! define_codes {
    ($all:ident $($id:ident $level:ident $name:literal $source:literal $meaning:literal)*) => {
        $(
            #[doc = $meaning]
            pub(in crate::lint) static $id: Code = Code {
                name: $name,
                level: Level::$level,
                meaning: $meaning,
                source: $source,
            };
        )*
        /// All of them.
        pub(in crate::lint) static $all: &[&Code] = &[$(&$id),*];
    };
}
use define_codes;

mod file {
    use super::{Code, Level};

    define_codes! { ALL_FILE
        FILE_UNKNOWN Error "file-unknown" "launchd.plist(5), systemd.unit(5)"
            "The file is neither a property list nor a unit."
        FILE_EMPTY Error "file-empty" "launchd.plist(5), systemd.unit(5)"
            "The file is empty, so there is neither a job nor a unit."
        FILE_TOO_LARGE Error "file-too-large" "systemd.syntax(7)"
            "The file is larger than 1 MiB. No job or unit is, and systemd refuses longer lines."
        FILE_NOT_TEXT Error "file-not-text" "systemd.syntax(7)"
            "The file is not UTF-8. systemd ignores such a line; launchd refuses such a file."
        FILE_TEMPLATE Note "file-template" "-"
            "The file has placeholders of a template language. Values with placeholders are not checked."
        FILE_SAMPLE_PATH Note "file-sample-path" "-"
            "A path such as /path/to/… looks like one from an example."
    }
}
pub(super) use file::{
    FILE_EMPTY, FILE_NOT_TEXT, FILE_SAMPLE_PATH, FILE_TEMPLATE, FILE_TOO_LARGE, FILE_UNKNOWN,
};

/// All codes, in the order of the reference.
pub fn codes() -> impl Iterator<Item = &'static Code> {
    let all = [file::ALL_FILE, ALL_PLIST, ALL_UNIT];
    all.into_iter().flatten().copied()
}
