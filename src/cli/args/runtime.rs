//! `stayd runtime …` as clap reads it.

use clap::Subcommand;

/// `runtime …`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum RuntimeVerb {
    /// List the runtimes: whose they are, how large, and which processes use them.
    #[command(after_help = "Examples:\n  stayd runtime ls\n  stayd runtime ls --json")]
    Ls,
    /// Read every byte of them; 1 when something is not what was copied.
    #[command(after_help = "Examples:\n  stayd runtime verify\n  stayd runtime verify web")]
    Verify {
        /// Only those of this one.
        service: Option<String>,
    },
    /// Remove those that nobody needs, and tell why the others stay.
    Gc,
    /// Copy a service's source with the rights of the caller, for one that stayd may not read.
    #[command(after_help = "Example:\n  stayd runtime import web\n  stayd restart web")]
    Import {
        /// Which service.
        service: String,
    },
    /// Go back to the last good runtime before the present one, and restart the service.
    #[command(after_help = "Example:\n  stayd runtime rollback web")]
    Rollback {
        /// Which service.
        service: String,
    },
}
