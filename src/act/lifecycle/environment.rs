//! The environment, folder and user of a service's program, its `before`, its exec probes and its evidence command.
//!
//! An env_file may lie on a dead mount, so the helper reads it, once for each instance, and stayd gives up at a deadline.

use crate::act::context::{Instance, ServiceContext, SharedContext, Variables};
use crate::act::helper::{NoReply, Reporter, Request};
use crate::act::spawn::launch::{Environment, ExecContext, forget_our_user, temporary};
use crate::act::tree::COMMAND_OF_INSTANCE;
use crate::config;
use crate::config::runtime::expand_runtime;
use crate::decide::clock::in_words;
use crate::decide::event::SpawnFailure;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// A disk that has not given the env_file within this time is not waited for.
pub(crate) const READ_WITHIN: Duration = Duration::from_secs(5);

/// Asks for the variables in an env_file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReadEnvFile(PathBuf);

impl Request for ReadEnvFile {
    const NAME: &'static str = "read-env-file";
    type Reply = Variables;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<Variables, String> {
        config::read_env_file(&self.0).map_err(|finding| finding.to_string())
    }
}

/// What the instance itself and its `before` are started with. `own` is what only the started program gets, among it the
/// ownership evidence.
///
/// # Errors
/// The env_file cannot be read, or not in time.
pub(crate) async fn of_the_instance(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    own: Environment,
) -> Result<ExecContext, SpawnFailure> {
    let variables = variables(service, instance, READ_WITHIN).await?;
    Ok(assemble(shared, service, &variables, own))
}

/// What an exec probe and an evidence command are started with.
///
/// # Errors
/// The env_file cannot be read, or not `within` the time of the attempt.
pub(crate) async fn of_a_command(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    within: Duration,
) -> Result<ExecContext, SpawnFailure> {
    let variables = variables(service, instance, within.min(READ_WITHIN)).await?;
    let token = (COMMAND_OF_INSTANCE.into(), instance.token.as_str().into());
    Ok(assemble(
        shared,
        service,
        &variables,
        Environment::from([token]),
    ))
}

/// The same without the env_file, for probes that start no program of the user's.
pub(crate) fn without_env_file(shared: &SharedContext, service: &ServiceContext) -> ExecContext {
    assemble(shared, service, &[], Environment::new())
}

fn assemble(
    shared: &SharedContext,
    service: &ServiceContext,
    variables: &[(String, String)],
    own: Environment,
) -> ExecContext {
    let config = &service.config;
    let mut env = shared.environment.clone();
    if config.user.is_some() {
        forget_our_user(&mut env);
    }
    let read = variables.iter().map(|(name, value)| (name, value));
    let declared = read.chain(&config.env);
    let root = service.runtimes.root();
    let expand_runtime = |text: &str| OsString::from(expand_runtime(text, root.as_deref()));
    env.extend(declared.map(|(name, value)| (OsString::from(name), expand_runtime(value))));
    env.insert("STAYD_SERVICE".into(), service.name().into());
    env.extend(own);
    ExecContext {
        env,
        cwd: config.cwd_in(root.as_deref()),
        user: config.user.clone(),
    }
}

/// The env_file as it was when it was first read for this instance: probes see what the instance was started with.
pub(super) async fn variables(
    service: &ServiceContext,
    instance: &Instance,
    within: Duration,
) -> Result<Rc<Variables>, SpawnFailure> {
    if let Some(known) = instance.preparation.variables() {
        return Ok(known);
    }
    let read = match &service.config.env_file {
        Some(file) => read(service, file, within).await?,
        None => Variables::new(),
    };
    let read = Rc::new(read);
    instance.preparation.set_variables(Rc::clone(&read));
    Ok(read)
}

async fn read(
    service: &ServiceContext,
    file: &Path,
    within: Duration,
) -> Result<Variables, SpawnFailure> {
    let request = ReadEnvFile(file.to_owned());
    let why = match service.env_file.ask(request, within).await {
        Ok(variables) => return Ok(variables),
        Err(NoReply::Failed(message)) => {
            return Err(SpawnFailure {
                message,
                lasting: true,
            });
        }
        Err(NoReply::NotAsked(cause)) => cause,
        Err(NoReply::Silent(_)) => format!("no answer within {}", in_words(within)),
    };
    Err(temporary(format!(
        "cannot read the env_file {}: {why}; its disk may be gone; trying again",
        file.display()
    )))
}
