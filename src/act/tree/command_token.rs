//! A random token in the environment of a short command, by which stayd finds everything that the command has started.

use crate::act::claims::Token;
use crate::sys::process;
use std::io;

/// The variable of commands that end with what they were started for: exec probes, `before`, evidence commands.
const COMMAND_TOKEN: &str = "STAYD_PROBE_TOKEN";
/// Exec probes and evidence commands carry the token of the instance that they are about under this name. A later stayd
/// finds them by it. The name differs from the instance's own, so that such a command is not taken for the instance.
pub const COMMAND_OF_INSTANCE: &str = "STAYD_PROBE_OF";

/// A variable in a command's environment by which its whole tree can be proven ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandToken {
    /// The variable.
    pub name: &'static str,
    /// 128 random bits in hexadecimal.
    pub token: String,
}

impl CommandToken {
    /// Makes one for a command that must leave nothing behind.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn fresh() -> io::Result<Self> {
        Ok(Self {
            name: COMMAND_TOKEN,
            token: Token::fresh()?.as_str().to_owned(),
        })
    }

    /// Whether a process carries any command token. Reads the process's memory, and so may hang.
    #[must_use]
    pub fn is_carried_by(pid: i32) -> bool {
        process::environment_value(pid, COMMAND_TOKEN).is_ok_and(|value| value.is_some())
    }
}
