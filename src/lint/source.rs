//! What is checked: files with their bytes, owners and modes.

use std::path::PathBuf;

/// The endings of unit files (systemd.unit(5)).
pub(super) const UNIT_ENDINGS: [&str; 11] = [
    "service",
    "socket",
    "timer",
    "path",
    "target",
    "mount",
    "automount",
    "swap",
    "slice",
    "scope",
    "device",
];

/// A file as it was read.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Its path, as the user typed it.
    pub path: PathBuf,
    /// Its bytes, up to the limit of [`mod@super::read`].
    pub bytes: Vec<u8>,
    /// Whether it has more bytes than the limit.
    pub too_large: bool,
    /// Its owner, if it was read from a disk.
    pub owner: Option<u32>,
    /// The owner of its folder.
    pub folder_owner: Option<u32>,
    /// Its permission bits.
    pub mode: Option<u32>,
}

/// An app bundle.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its folder.
    pub root: PathBuf,
    /// The plists in `Contents/Library/LaunchAgents` and `Contents/Library/LaunchDaemons`.
    pub jobs: Vec<File>,
    /// Whether a path is a file that can be executed; none if it does not exist.
    pub is_program: fn(&std::path::Path) -> Option<bool>,
}

/// What to check.
#[derive(Clone, Debug)]
pub enum Source {
    /// A property list, in XML or binary form.
    Plist(File),
    /// A systemd unit.
    Unit {
        /// The unit file.
        file: File,
        /// Its drop-ins, in the order in which systemd reads them.
        drop_ins: Vec<File>,
        /// The names of the units beside it that may activate it: the same stem with `.socket`, `.timer` or `.path`.
        siblings: Vec<String>,
    },
    /// An app bundle.
    Bundle(Bundle),
    /// A file that is neither.
    Unknown(File),
}
