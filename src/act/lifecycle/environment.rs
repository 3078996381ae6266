//! The environment, folder and user of a service's program, its `before`, its exec probes and its evidence command.
//!
//! An env_file may be on a mount that hangs, so a helper reads it, once for each instance and with a timeout.

use super::service_user::look_up_user;
use crate::act::context::{Instance, ServiceContext, SharedContext, Variables};
use crate::act::helper::{HelperRequest, NoReply, Reporter};
use crate::act::spawn::launch::{Environment, ExecContext, temporary};
use crate::act::spawn::run_as::forget_our_names;
use crate::act::tree::INSTANCE_TOKEN_OF_COMMAND;
use crate::config;
use crate::config::runtime::expand_runtime;
use crate::decide::clock::in_words;
use crate::decide::event::SpawnFailure;
use crate::sys::limits::OpenFilesLimit;
use crate::sys::spawn::User;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// The most time to read the env_file.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks for the variables in an env_file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReadEnvFile {
    path: PathBuf,
    /// The user that the service runs as, if that is not stayd's own: uid, gid, supplementary groups.
    reader: Option<(u32, u32, Vec<u32>)>,
}

impl HelperRequest for ReadEnvFile {
    const NAME: &'static str = "read-env-file";
    type Reply = Variables;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<Variables, String> {
        let reader = self
            .reader
            .map(|(uid, gid, groups)| User { uid, gid, groups });
        let read = config::read_env_file(&self.path, reader.as_ref());
        read.map_err(|finding| finding.to_string())
    }
}

/// The environment, folder and user of the instance itself and of its `before`. `own` are variables for only this program,
/// among them the ownership evidence.
///
/// # Errors
/// The env_file cannot be read, or not in time.
pub(crate) async fn of_the_instance(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    own: Environment,
) -> Result<ExecContext, SpawnFailure> {
    let variables = variables(service, instance, READ_TIMEOUT).await?;
    Ok(assemble(shared, service, &variables, own))
}

/// The environment, folder and user of an exec probe or an evidence command.
///
/// # Errors
/// The env_file cannot be read within `within`.
pub(crate) async fn of_a_command(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    within: Duration,
) -> Result<ExecContext, SpawnFailure> {
    let variables = variables(service, instance, within.min(READ_TIMEOUT)).await?;
    let token = (
        INSTANCE_TOKEN_OF_COMMAND.into(),
        instance.token.as_str().into(),
    );
    Ok(assemble(
        shared,
        service,
        &variables,
        Environment::from([token]),
    ))
}

/// The same without the env_file, for probes that start no program of the user.
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
    let mut env = shared.environment.inherited(&config.inherit_env);
    if config.user.is_some() {
        forget_our_names(&mut env);
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
        pid_variables: Vec::new(),
        cwd: config.cwd_in(root.as_deref()),
        user: config.user.clone(),
        umask: Some(config.umask),
        open_files: config.limit_nofile.or_else(OpenFilesLimit::given),
    }
}

/// The variables of the env_file when it was first read for this instance, so that probes get the same ones as the instance.
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
    let user = look_up_user(service).await?;
    let request = ReadEnvFile {
        path: file.to_owned(),
        reader: user.map(|user| (user.uid, user.gid, user.groups)),
    };
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
