//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A file as a whole: it cannot be read, or it may not be.
    File(Arc<PathBuf>),
    /// A line of a file that has no columns worth naming.
    Line {
        /// The file.
        file: Arc<PathBuf>,
        /// From 1.
        line: usize,
    },
    /// A point in a file.
    Point {
        /// The file.
        file: Arc<PathBuf>,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// An option of the command line, `--probe`.
    Option(&'static str),
    /// The environment or the system: no place that could be pointed at.
    Surroundings,
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(out, "{}", file.display()),
            Self::Line { file, line } => write!(out, "{}:{line}", file.display()),
            Self::Point { file, line, column } => {
                write!(out, "{}:{line}:{column}", file.display())
            }
            Self::Option(name) => out.write_str(name),
            Self::Surroundings => Ok(()),
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The configuration is refused.
    Error,
    /// It works, but perhaps not as meant.
    Warning,
}

/// One thing to tell: `PLACE: cannot …: cause; cure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// Where.
    pub location: Location,
    /// The sentence; never holds a secret.
    pub message: String,
}

impl Finding {
    /// Refuses the configuration.
    #[must_use]
    pub fn error(location: &Location, message: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            location: location.clone(),
            message: message.into(),
        }
    }

    /// Only tells.
    #[must_use]
    pub fn warning(location: &Location, message: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            location: location.clone(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.location {
            Location::Surroundings => out.write_str(&self.message),
            Location::File(_)
            | Location::Line { .. }
            | Location::Point { .. }
            | Location::Option(_) => {
                write!(out, "{}: {}", self.location, self.message)
            }
        }
    }
}

impl std::error::Error for Finding {}
