//! What a process goes on with although the configuration has changed it.

/// Something that a process was given at its start and keeps until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangedSetting {
    /// Its program and arguments.
    Command,
    /// The user it runs as.
    User,
    /// The variables of its environment.
    Environment,
    /// Its working folder.
    Folder,
}

impl ChangedSetting {
    /// For a sentence: "the former …".
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::User => "user",
            Self::Environment => "environment",
            Self::Folder => "working folder",
        }
    }
}
