//! A version is asked, in a process of its own, whether it could take over.

use super::estate::FORMAT;
use crate::act::executor::Executor;
use crate::act::journal::SCHEMA;
use crate::act::spawn::launch::{Environment, Launch, Surroundings};
use crate::act::spawn::trial;
use crate::run::{Invocation, Options};
use crate::sys::handover;
use crate::sys::identity;
use crate::sys::program::Program;
use serde::{Deserialize, Serialize};
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

/// The hidden verb by which it is asked.
pub const VERB: &str = "__upgrade-trial";
/// A version that has not said anything by then never will.
const TRIAL_WITHIN: Duration = Duration::from_secs(10);
/// Where a child that is tried has its own program.
const PROGRAM_FD: RawFd = 3;
/// Mode bits by which others write.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// What a version says when it is tried.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Testimony {
    /// Its version.
    pub version: String,
    /// The state folder that it would use.
    pub state_dir: String,
}

/// A version that can take over.
#[derive(Debug)]
pub(in crate::run) struct Tried {
    pub(super) program: Program,
    pub(super) version: String,
}

/// Opens the file that is there now and has it tell whether it could take over.
pub(super) fn try_out(
    executor: &Executor,
    options: &Options,
) -> impl Future<Output = Result<Tried, String>> + use<> {
    let spawner = executor.shared().spawner.clone();
    let invocation = options.invocation.clone();
    let state_dir = options.state_dir.display().to_string();
    async move {
        let path = invocation.program.clone();
        let named = |why: String| format!("{} is not fit to take over: {why}", path.display());
        let program = Program::open(&path).map_err(|error| named(error.to_string()))?;
        check(&program).map_err(named)?;
        let launch = trial_of(&program, &invocation).map_err(named)?;
        // It is started by its descriptor, which tells a person nothing.
        let by_descriptor = launch.argv.first().cloned().unwrap_or_default();
        let said = trial::run(&spawner, launch, TRIAL_WITHIN)
            .await
            .map_err(|why| named(why.replace(&by_descriptor, "it")))?;
        let testimony: Testimony = serde_json::from_str(&said)
            .map_err(|_| named("it does not say what a stayd would say".into()))?;
        if testimony.state_dir != state_dir {
            let why = format!(
                "it would keep its state in {}, and this one keeps it in {state_dir}",
                testimony.state_dir
            );
            return Err(named(why));
        }
        Ok(Tried {
            program,
            version: testimony.version,
        })
    }
}

/// Whoever may write it decides what runs with our rights. A script would pass its trial, and not what comes after.
fn check(program: &Program) -> Result<(), String> {
    if program.is_script().is_ok_and(|is_script| is_script) {
        return Err("it is a script; put the program itself there".into());
    }
    let about = program.metadata().map_err(|error| error.to_string())?;
    let own = identity::euid();
    let forbidden = if own == 0 {
        GROUP_WRITES | OTHERS_WRITE
    } else {
        OTHERS_WRITE
    };
    if about.uid() != 0 && about.uid() != own {
        return Err(format!("it belongs to user {}", about.uid()));
    }
    if about.mode() & forbidden != 0 {
        return Err("others than its owner can write it; chmod go-w it".into());
    }
    Ok(())
}

/// Our own words behind the hidden verb, in our own surroundings.
fn trial_of(program: &Program, invocation: &Invocation) -> Result<Launch, String> {
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
    let ours = invocation.words.iter().skip(1);
    let ours = ours.map(|word| word.to_string_lossy().into_owned());
    let env: Environment = std::env::vars_os()
        .filter(|(name, _)| name != handover::VARIABLE)
        .collect();
    Ok(Launch {
        argv: words.into_iter().chain(ours).collect(),
        surroundings: Surroundings {
            env,
            cwd: invocation.cwd.clone(),
            user: None,
        },
        fds: vec![(PROGRAM_FD, fd)],
        cgroup: None,
        mark: None,
    })
}
