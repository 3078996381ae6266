//! Finds the running stayd that a verb talks to: the named one, the configured one, or the only one that runs.

use super::args::CommonOptions;
use super::console::print_stderr;
use super::exit::{Exit, Failure};
use super::lock_holder;
use super::paths::{self, InstanceCandidate};
use crate::api::client::{Client, ClientError};
use crate::api::listen;
use crate::api::wire::HealthReport;
use crate::sys;
use crate::sys::process::{self, State};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

/// Without an answer after this time the client looks whether stayd is stopped.
const STOPPED_AFTER: Duration = Duration::from_millis(300);

/// The advice in the error that no stayd runs.
const HOW_TO_START: &str =
    "start it with `stayd --foreground -c FILE`, or `stayd --foreground -- COMMAND`";

/// A client of the stayd that the command line means.
///
/// # Errors
/// As [`find`]. The status is 78 if no stayd answers and the named configuration does not exist: its name is most likely
/// wrong.
pub(super) async fn client(common: &CommonOptions) -> Result<Client, Failure> {
    let found = find(&paths::instance_candidates(common)?).await;
    found.map_err(|failure| match paths::absent_config(common) {
        Some(file) if failure.exit == Exit::NotRunning => Failure::new(
            Exit::Config,
            format!(
                "cannot read the configuration {}: there is no such file, and no stayd that was started with it is running; \
                 correct the name",
                file.display()
            ),
        ),
        _ => failure,
    })
}

/// A client of each stayd that `status` shows: of the one that the command line means, else of all instances of this user, else
/// of root's. With `all` of every instance that can be found; those that this user may not see are named on stderr.
///
/// # Errors
/// As [`client`] if none answers.
pub(super) async fn clients(common: &CommonOptions, all: bool) -> Result<Vec<Client>, Failure> {
    if !all && paths::means_one_instance(common) {
        return Ok(vec![client(common).await?]);
    }
    let [own, of_root] = paths::sockets_by_owner();
    let mut found = answering(&own, all).await;
    if all || found.is_empty() {
        found.extend(answering(&of_root, all).await);
    }
    if all {
        let elsewhere = listen::served().into_iter().map(|socket| vec![socket]);
        found.extend(answering(&elsewhere.collect::<Vec<_>>(), all).await);
    }
    found.sort_by(|one, other| one.socket().cmp(other.socket()));
    found.dedup_by(|one, other| one.socket() == other.socket());
    if found.is_empty() {
        return Ok(vec![client(common).await?]);
    }
    Ok(found)
}

/// A client of each of these instances that answers.
async fn answering(instances: &[Vec<PathBuf>], names_denied: bool) -> Vec<Client> {
    let mut found = Vec::new();
    for sockets in instances {
        match first_answering(sockets).await {
            Ok(client) => found.push(client),
            Err(ClientError::NotRunning(_)) => {}
            Err(error @ ClientError::Permission(_)) => {
                if names_denied {
                    print_stderr(&format!("stayd: {error}"));
                }
            }
            // One of several that does not answer hides no other.
            Err(error) => print_stderr(&format!("stayd: {error}")),
        }
    }
    found
}

/// A client of the first of these sockets of one instance on which a stayd answers.
async fn first_answering(sockets: &[PathBuf]) -> Result<Client, ClientError> {
    let mut failed = ClientError::NotRunning(PathBuf::new());
    for socket in sockets {
        let client = Client::new(socket);
        match answer(&client).await {
            Ok(_alive) => return Ok(client),
            Err(ClientError::NotRunning(_)) => {}
            Err(error @ ClientError::Permission(_)) => failed = error,
            Err(error) => return Err(error),
        }
    }
    Err(failed)
}

/// Asks whether stayd answers. A stopped one never does, although the kernel accepts the connection for it.
async fn answer(client: &Client) -> Result<HealthReport, ClientError> {
    let mut asking = pin!(client.get::<HealthReport>("/livez"));
    match timeout(STOPPED_AFTER, &mut asking).await {
        Ok(answer) => answer,
        Err(_late) => match stopped_process(client.socket()) {
            Some(pid) => Err(ClientError::Broken(format!(
                "cannot ask stayd: pid {pid} is stopped (state T, by Ctrl-Z or SIGSTOP) and supervises nothing; continue it with \
                 `fg` in its terminal, or with `kill -CONT {pid}`"
            ))),
            None => asking.await,
        },
    }
}

/// The process that listens on the socket, if it is stopped.
fn stopped_process(socket: &Path) -> Option<i32> {
    let pid = sys::listen::listener_pid(socket)?;
    let stat = process::stat(pid).ok()?;
    (stat.state == State::Stopped).then_some(pid)
}

/// A client of the one instance among `candidates` that answers.
///
/// # Errors
/// 3 if none answers, 77 if one denies access to this user, 2 if several answer.
async fn find(candidates: &[InstanceCandidate]) -> Result<Client, Failure> {
    let mut answering = Vec::new();
    let mut denied = None;
    for candidate in candidates {
        match first_answering(&candidate.sockets).await {
            Ok(client) => answering.push((candidate.name.as_str(), client)),
            Err(ClientError::NotRunning(_)) => {}
            Err(error @ ClientError::Permission(_)) => denied = denied.or(Some(error)),
            Err(error) => return Err(error.into()),
        }
    }
    choose(answering, denied, candidates)
}

fn choose(
    mut answering: Vec<(&str, Client)>,
    denied: Option<ClientError>,
    candidates: &[InstanceCandidate],
) -> Result<Client, Failure> {
    if answering.len() > 1 {
        let names: Vec<_> = answering.iter().map(|(name, _)| *name).collect();
        return Err(ambiguous(&names));
    }
    match (answering.pop(), denied) {
        (Some((_, client)), _) => Ok(client),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Err(match candidates.iter().find_map(lock_holder::unreachable) {
            Some(failure) => failure,
            None => Failure::new(
                Exit::NotRunning,
                format!(
                    "no stayd is running here: {}; {HOW_TO_START}",
                    no_answer(candidates)
                ),
            ),
        }),
    }
}

/// The usage error that these instances are all possible.
pub(super) fn ambiguous(names: &[&str]) -> Failure {
    let message = format!(
        "cannot choose between the instances {}: name one with --name NAME, -c FILE or --state-dir DIR",
        names.join(", ")
    );
    Failure::new(Exit::Usage, message)
}

fn no_answer(candidates: &[InstanceCandidate]) -> String {
    if candidates.len() > 1 {
        let names: Vec<_> = candidates.iter().map(|one| one.name.as_str()).collect();
        return format!("none of the instances {} answers", names.join(", "));
    }
    let sockets = candidates.iter().flat_map(|candidate| &candidate.sockets);
    let sockets: Vec<_> = sockets.map(|socket| socket.display().to_string()).collect();
    if sockets.is_empty() {
        "there is no instance".to_owned()
    } else {
        format!("there is no answer on {}", sockets.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::{InstanceCandidate, find};
    use crate::cli::exit::Exit;

    #[test]
    fn the_error_that_no_stayd_runs_names_the_socket_and_how_to_start() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let candidate = InstanceCandidate {
            name: "x".into(),
            sockets: vec!["/nonexistent/control.sock".into()],
            states: Vec::new(),
        };
        let failure = runtime
            .block_on(find(&[candidate]))
            .expect_err("no stayd answers");
        assert_eq!(failure.exit, Exit::NotRunning);
        assert!(failure.message.starts_with(
            "no stayd is running here: there is no answer on /nonexistent/control.sock; start"
        ));
    }
}
