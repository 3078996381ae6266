//! What the service's program, its `before`, its exec probes and its evidence command see.
//!
//! An env_file may lie on a dead mount, so a helper reads it, once for each life, and is given up at a deadline.

use super::prepare::passing;
use crate::act::context::SharedContext;
use crate::act::context::{Instance, ServiceContext};
use crate::act::helper::{Ask, Helper, Reply, Trouble};
use crate::act::spawn::launch::ASKED_FOR;
use crate::act::spawn::spawner::{Environment, Surroundings, forget_our_user};
use crate::config::runtime::expand_runtime;
use crate::decide::clock::in_words;
use crate::decide::event::SpawnFailure;
use std::ffi::OsString;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// A disk that has not given the env_file by then is not waited for.
pub(crate) const READ_WITHIN: Duration = Duration::from_secs(5);

/// Names and values, in the order of the file.
pub(crate) type Variables = Vec<(String, String)>;

/// The environment, folder and user of what is started for this life; `own` is what only the service itself gets, the
/// proofs of the life among it.
///
/// # Errors
/// The env_file cannot be read, or not in time.
pub(crate) async fn surroundings(
    shared: &SharedContext,
    context: &ServiceContext,
    instance: &Instance,
    own: Environment,
) -> Result<Surroundings, SpawnFailure> {
    let variables = variables(shared, context, instance, READ_WITHIN).await?;
    Ok(assemble(shared, context, &variables, own))
}

/// What an exec probe and an evidence command see.
///
/// # Errors
/// The env_file cannot be read, or not `within` the time that the round has.
pub(crate) async fn of_a_question(
    shared: &SharedContext,
    context: &ServiceContext,
    instance: &Instance,
    within: Duration,
) -> Result<Surroundings, SpawnFailure> {
    let variables = variables(shared, context, instance, within.min(READ_WITHIN)).await?;
    let asked_for = (ASKED_FOR.into(), instance.token.as_str().into());
    let own = Environment::from([asked_for]);
    Ok(assemble(shared, context, &variables, own))
}

/// The same without the env_file, for probes that start no program of the person's.
pub(crate) fn without_env_file(shared: &SharedContext, context: &ServiceContext) -> Surroundings {
    assemble(shared, context, &[], Environment::new())
}

fn assemble(
    shared: &SharedContext,
    context: &ServiceContext,
    variables: &[(String, String)],
    own: Environment,
) -> Surroundings {
    let mut env = shared.environment.clone();
    if context.config.user.is_some() {
        forget_our_user(&mut env);
    }
    let read = variables.iter().map(|(name, value)| (name, value));
    let declared = read.chain(&context.config.env);
    let root = context.runtimes.root();
    let expand_runtime = |text: &str| OsString::from(expand_runtime(text, root.as_deref()));
    env.extend(declared.map(|(name, value)| (OsString::from(name), expand_runtime(value))));
    env.insert("STAYD_SERVICE".into(), context.config.name.clone().into());
    env.extend(own);
    Surroundings {
        env,
        cwd: context.config.cwd_in(root.as_deref()),
        user: context.config.user.clone(),
    }
}

/// The env_file as it was when the life first asked for it: what it is asked with is what it was started with.
pub(crate) async fn variables(
    shared: &SharedContext,
    context: &ServiceContext,
    instance: &Instance,
    within: Duration,
) -> Result<Rc<Variables>, SpawnFailure> {
    if let Some(known) = &*instance.variables.borrow() {
        return Ok(Rc::clone(known));
    }
    let read = match &context.config.env_file {
        Some(file) => read(shared, context, file, within).await?,
        None => Variables::new(),
    };
    let read = Rc::new(read);
    instance.variables.replace(Some(Rc::clone(&read)));
    Ok(read)
}

async fn read(
    shared: &SharedContext,
    context: &ServiceContext,
    file: &Path,
    within: Duration,
) -> Result<Variables, SpawnFailure> {
    let begin = || Helper::new(shared.spawner.clone(), shared.program.clone());
    let mut helper = context.reader.take().unwrap_or_else(begin);
    let why = match helper.ask(Ask::EnvFile(file.to_owned()), within).await {
        Ok(Reply::Variables(variables)) => return Ok(variables),
        Ok(Reply::Failed(message)) => {
            return Err(SpawnFailure {
                message,
                lasting: true,
            });
        }
        Ok(Reply::Sqlite(_) | Reply::Addresses(_) | Reply::Text(_) | Reply::Runtime(_)) => {
            "the helper answered something else".to_owned()
        }
        Err(Trouble::Unasked(cause)) => cause,
        Err(Trouble::Silent) => format!("no answer within {}", in_words(within)),
    };
    // Kept: one that hangs even after its SIGKILL is not joined by another at each try.
    context.reader.replace(Some(helper));
    Err(passing(format!(
        "cannot read the env_file {}: {why}; its disk may be gone; trying again",
        file.display()
    )))
}
