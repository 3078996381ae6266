//! A random token in the environment of a short command, by which stayd finds all processes that the command has started.

use crate::act::claims::Token;
use crate::sys::process;
use std::io;

/// The environment variable with the token of a short command: an exec probe, `before`, an evidence command.
const COMMAND_TOKEN_VARIABLE: &str = "STAYD_PROBE_TOKEN";
/// The environment variable with which exec probes and evidence commands carry the token of their instance, so that a later
/// stayd finds them. The name differs from the instance's own, so that such a command does not count as a member of the
/// instance.
pub const INSTANCE_TOKEN_OF_COMMAND: &str = "STAYD_PROBE_OF";

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
    /// The system returns no random bytes.
    pub fn fresh() -> io::Result<Self> {
        Ok(Self {
            name: COMMAND_TOKEN_VARIABLE,
            token: Token::fresh()?.as_str().to_owned(),
        })
    }

    /// Whether a process carries any command token. Reads the process's memory, and so may hang.
    #[must_use]
    pub fn is_carried_by(pid: i32) -> bool {
        process::environment_value(pid, COMMAND_TOKEN_VARIABLE).is_ok_and(|value| value.is_some())
    }
}
