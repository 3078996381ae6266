//! Runs the new program in a process of its own, to check whether it can take over.

use super::manifest::FORMAT;
use crate::act::executor::Executor;
use crate::act::journal::SCHEMA;
use crate::act::spawn::launch::{Environment, ExecContext, Launch};
use crate::act::spawn::short_command;
use crate::run::{Invocation, Options};
use crate::sys::handover;
use crate::sys::identity;
use crate::sys::program::Program;
use serde::{Deserialize, Serialize};
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

/// The hidden command of the self-check.
pub const VERB: &str = "__upgrade-trial";
/// Time for the self-check.
const SELF_CHECK_WITHIN: Duration = Duration::from_secs(10);
/// The descriptor through which the child executes the program.
const PROGRAM_FD: RawFd = 3;
/// Mode bits that let other users write the program.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// What a new version reports in its self-check.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SelfCheckReport {
    /// The version of the program.
    pub version: String,
    /// The state folder that it would use.
    pub state_dir: String,
}

/// A program that passed its self-check.
#[derive(Debug)]
pub(in crate::run) struct CheckedProgram {
    pub(super) program: Program,
    pub(super) version: String,
}

/// Opens the present program file and runs its self-check.
///
/// # Errors
/// Why the program cannot take over.
pub(super) fn check_program(
    executor: &Executor,
    options: &Options,
) -> impl Future<Output = Result<CheckedProgram, String>> + use<> {
    let spawner = executor.shared().spawner.clone();
    let invocation = options.invocation.clone();
    let state_dir = options.state_dir.display().to_string();
    async move {
        let path = invocation.program.clone();
        let named = |why: String| format!("{} cannot take over: {why}", path.display());
        let program = Program::open(&path).map_err(|error| named(error.to_string()))?;
        check_file(&program).map_err(named)?;
        let launch = self_check_of(&program, &invocation).map_err(named)?;
        // The program is executed by its descriptor, a path that tells a user nothing.
        let by_descriptor = launch.argv.first().cloned().unwrap_or_default();
        let output = short_command::output_of(&spawner, launch, SELF_CHECK_WITHIN)
            .await
            .map_err(|why| named(why.replace(&by_descriptor, "it")))?;
        let report: SelfCheckReport = serde_json::from_str(&output)
            .map_err(|_| named("its self-check does not print what stayd prints".into()))?;
        if report.state_dir != state_dir {
            let why = format!(
                "it would use the state folder {}, and the running version uses {state_dir}",
                report.state_dir
            );
            return Err(named(why));
        }
        Ok(CheckedProgram {
            program,
            version: report.version,
        })
    }
}

/// A user that can write the program decides what runs with the rights of stayd. A script can pass the self-check,
/// but the execve(2) of the upgrade would fail.
fn check_file(program: &Program) -> Result<(), String> {
    if program.is_script().is_ok_and(|is_script| is_script) {
        return Err("it is a script; install the program itself there".into());
    }
    let metadata = program.metadata().map_err(|error| error.to_string())?;
    let own = identity::euid();
    let forbidden = if own == 0 {
        GROUP_WRITES | OTHERS_WRITE
    } else {
        OTHERS_WRITE
    };
    if metadata.uid() != 0 && metadata.uid() != own {
        return Err(format!("it belongs to user {}", metadata.uid()));
    }
    if metadata.mode() & forbidden != 0 {
        return Err("other users than its owner can write it; run `chmod go-w` on it".into());
    }
    Ok(())
}

/// The self-check with the arguments, environment and working directory of this process.
fn self_check_of(program: &Program, invocation: &Invocation) -> Result<Launch, String> {
    let (path, fd) = program
        .for_child(PROGRAM_FD)
        .map_err(|error| error.to_string())?;
    let words = [
        path.display().to_string(),
        VERB.into(),
        FORMAT.to_string(),
        SCHEMA.to_string(),
        "--".into(),
    ];
    let own = invocation.words.iter().skip(1);
    let own = own.map(|word| word.to_string_lossy().into_owned());
    let env: Environment = std::env::vars_os()
        .filter(|(name, _)| name != handover::VARIABLE)
        .collect();
    Ok(Launch {
        argv: words.into_iter().chain(own).collect(),
        exec_context: ExecContext {
            env,
            cwd: invocation.cwd.clone(),
            ..ExecContext::default()
        },
        fds: vec![(PROGRAM_FD, fd)],
        cgroup: None,
        command_token: None,
    })
}
