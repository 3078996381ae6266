//! What the service's program, its `before`, its exec probes and its evidence command see.
//!
//! An env_file may lie on a dead mount, so a helper reads it, once for each life, and is given up at a deadline.

use super::child::{Environment, Surroundings, forget_our_user};
use super::helper::{Ask, Helper, Reply, Trouble};
use super::launch::ASKED_FOR;
use super::prepare::passing;
use super::shared::Shared;
use super::ward::{Living, Ward};
use crate::config::runtime::in_place;
use crate::decide::clock::in_words;
use crate::decide::event::SpawnFailure;
use std::ffi::OsString;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// A disk that has not given the env_file by then is not waited for.
pub(super) const READ_WITHIN: Duration = Duration::from_secs(5);

/// Names and values, in the order of the file.
pub(super) type Variables = Vec<(String, String)>;

/// The environment, folder and user of what is started for this life; `own` is what only the service itself gets, the
/// proofs of the life among it.
///
/// # Errors
/// The env_file cannot be read, or not in time.
pub(super) async fn surroundings(
    shared: &Shared,
    ward: &Ward,
    living: &Living,
    own: Environment,
) -> Result<Surroundings, SpawnFailure> {
    let variables = variables(shared, ward, living, READ_WITHIN).await?;
    Ok(assemble(shared, ward, &variables, own))
}

/// What an exec probe and an evidence command see.
///
/// # Errors
/// The env_file cannot be read, or not `within` the time that the round has.
pub(super) async fn of_a_question(
    shared: &Shared,
    ward: &Ward,
    living: &Living,
    within: Duration,
) -> Result<Surroundings, SpawnFailure> {
    let variables = variables(shared, ward, living, within.min(READ_WITHIN)).await?;
    let asked_for = (ASKED_FOR.into(), living.token.as_str().into());
    let own = Environment::from([asked_for]);
    Ok(assemble(shared, ward, &variables, own))
}

/// The same without the env_file, for probes that start no program of the person's.
pub(super) fn without_env_file(shared: &Shared, ward: &Ward) -> Surroundings {
    assemble(shared, ward, &[], Environment::new())
}

fn assemble(
    shared: &Shared,
    ward: &Ward,
    variables: &[(String, String)],
    own: Environment,
) -> Surroundings {
    let mut env = shared.environment.clone();
    if ward.config.user.is_some() {
        forget_our_user(&mut env);
    }
    let read = variables.iter().map(|(name, value)| (name, value));
    let declared = read.chain(&ward.config.env);
    let root = ward.runtimes.root();
    let in_place = |text: &str| OsString::from(in_place(text, root.as_deref()));
    env.extend(declared.map(|(name, value)| (OsString::from(name), in_place(value))));
    env.insert("STAYD_SERVICE".into(), ward.config.name.clone().into());
    env.extend(own);
    Surroundings {
        env,
        cwd: ward.config.cwd_in(root.as_deref()),
        user: ward.config.user.clone(),
    }
}

/// The env_file as it was when the life first asked for it: what it is asked with is what it was started with.
pub(super) async fn variables(
    shared: &Shared,
    ward: &Ward,
    living: &Living,
    within: Duration,
) -> Result<Rc<Variables>, SpawnFailure> {
    if let Some(known) = &*living.variables.borrow() {
        return Ok(Rc::clone(known));
    }
    let read = match &ward.config.env_file {
        Some(file) => read(shared, ward, file, within).await?,
        None => Variables::new(),
    };
    let read = Rc::new(read);
    living.variables.replace(Some(Rc::clone(&read)));
    Ok(read)
}

async fn read(
    shared: &Shared,
    ward: &Ward,
    file: &Path,
    within: Duration,
) -> Result<Variables, SpawnFailure> {
    let begin = || Helper::new(shared.nursery.clone(), shared.program.clone());
    let mut helper = ward.reader.take().unwrap_or_else(begin);
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
    ward.reader.replace(Some(helper));
    Err(passing(format!(
        "cannot read the env_file {}: {why}; its disk may be gone; trying again",
        file.display()
    )))
}
