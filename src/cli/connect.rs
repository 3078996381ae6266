//! Finds the running stayd that a verb talks to: the named one, the configured one, or the only one that runs.

use super::args::CommonOptions;
use super::exit::{Exit, Failure};
use super::lock_holder;
use super::paths::{self, InstanceCandidate};
use crate::api::client::{Client, ClientError};
use crate::api::wire::HealthReport;

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

/// A client of the one instance among `candidates` that answers.
///
/// # Errors
/// 3 if none answers, 77 if one denies access to this user, 2 if several answer.
async fn find(candidates: &[InstanceCandidate]) -> Result<Client, Failure> {
    let mut answering = Vec::new();
    let mut denied = None;
    for candidate in candidates {
        // Its socket would accept the connection, and nothing would answer.
        if let Some(failure) = lock_holder::stopped(candidate) {
            return Err(failure);
        }
        for socket in &candidate.sockets {
            let client = Client::new(socket);
            match client.get::<HealthReport>("/livez").await {
                Ok(_alive) => {
                    answering.push((candidate.name.as_str(), client));
                    break;
                }
                Err(ClientError::NotRunning(_)) => {}
                Err(error @ ClientError::Permission(_)) => denied = denied.or(Some(error)),
                Err(error) => return Err(error.into()),
            }
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
        "cannot choose between the instances {}: name one with -c FILE or --state-dir DIR",
        names.join(", ")
    );
    Failure::new(Exit::Usage, message)
}

fn no_answer(candidates: &[InstanceCandidate]) -> String {
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
