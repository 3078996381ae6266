//! Findings: errors and warnings about a configuration, each with its location and what to do.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The place in the configuration that a finding refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A whole file, for example one that cannot be read.
    File(Arc<PathBuf>),
    /// A line of a file for which no column is given.
    Line {
        /// The file.
        file: Arc<PathBuf>,
        /// From 1.
        line: usize,
    },
    /// A line and column of a file.
    Point {
        /// The file.
        file: Arc<PathBuf>,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// An option of the command line, such as `--probe`.
    Option(&'static str),
    /// The environment or the system: there is no place to name.
    Environment,
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
            Self::Environment => Ok(()),
        }
    }
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// stayd rejects the configuration.
    Error,
    /// The configuration works, but perhaps not as intended.
    Warning,
}

/// An error or warning. It is shown as `LOCATION: cannot …: cause; what to do`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its severity.
    pub level: Level,
    /// The place that it refers to.
    pub location: Location,
    /// The message; it never contains a secret.
    pub message: String,
}

impl Finding {
    /// An error at `location`.
    #[must_use]
    pub fn error(location: &Location, message: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            location: location.clone(),
            message: message.into(),
        }
    }

    /// A warning at `location`.
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
            Location::Environment => out.write_str(&self.message),
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

/// The most errors that are shown.
const ERRORS_MAX: usize = 20;
/// The most warnings that are kept.
const WARNINGS_MAX: usize = 100;

/// Collects findings while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    /// The number of errors beyond `ERRORS_MAX`.
    dropped: usize,
}

impl Findings {
    pub(super) fn error(&mut self, location: &Location, message: impl Into<String>) {
        self.push(Finding::error(location, message));
    }

    pub(super) fn warning(&mut self, location: &Location, message: impl Into<String>) {
        self.push(Finding::warning(location, message));
    }

    fn push(&mut self, finding: Finding) {
        let (list, most) = match finding.level {
            Level::Error => (&mut self.errors, ERRORS_MAX),
            Level::Warning => (&mut self.warnings, WARNINGS_MAX),
        };
        if list.len() < most {
            list.push(finding);
        } else if finding.level == Level::Error {
            self.dropped += 1;
        }
    }

    /// The warnings if there is no error, otherwise the errors; both sorted by location.
    pub(super) fn into_result(mut self) -> Result<Vec<Finding>, Vec<Finding>> {
        self.errors
            .sort_by(|one, other| one.location.cmp(&other.location));
        self.warnings
            .sort_by(|one, other| one.location.cmp(&other.location));
        if self.dropped > 0 {
            let message = format!("{} more errors are not shown", self.dropped);
            self.errors
                .push(Finding::error(&Location::Environment, message));
        }
        if self.errors.is_empty() {
            Ok(self.warnings)
        } else {
            Err(self.errors)
        }
    }
}
