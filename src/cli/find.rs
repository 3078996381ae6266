//! Which stayd is meant: the named one, the configured one, or the only one that runs.

use super::args::Common;
use super::exit::{Exit, Failure};
use super::instance;
use crate::api::client::{Client, ClientError};
use crate::api::wire::HealthReport;
use std::path::PathBuf;

/// An instance that may be running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its name.
    pub(super) name: String,
    /// Where its control socket may be, in the order to try.
    pub(super) sockets: Vec<PathBuf>,
    /// Where its state folder may be, in the same order.
    pub(super) states: Vec<PathBuf>,
}

/// What is said when nobody is there.
const START_IT: &str =
    "start it with `stayd --foreground -c FILE`, or `stayd --foreground -- COMMAND`";

/// The client of the stayd that the command line means.
///
/// # Errors
/// As [`find`]; 78 when nobody answers and the configuration that was named is not there: its name is most likely wrong.
pub(super) async fn client(common: &Common) -> Result<Client, Failure> {
    let found = find(&instance::candidates(common)?).await;
    found.map_err(|failure| match instance::absent_config(common) {
        Some(file) if failure.exit == Exit::NotRunning => Failure::new(
            Exit::Config,
            format!(
                "cannot read the configuration {}: there is no such file, and no stayd runs that was started with it; \
                 correct the name",
                file.display()
            ),
        ),
        _ => failure,
    })
}

/// The client of the one instance among `candidates` that answers.
///
/// # Errors
/// 3 when none answers, 77 when one is there that does not let us in, 2 when several answer.
async fn find(candidates: &[Candidate]) -> Result<Client, Failure> {
    let mut instance = Vec::new();
    let mut closed = None;
    for candidate in candidates {
        for socket in &candidate.sockets {
            let client = Client::new(socket);
            match client.get::<HealthReport>("/livez").await {
                Ok(_alive) => {
                    instance.push((candidate.name.as_str(), client));
                    break;
                }
                Err(ClientError::NotRunning(_)) => {}
                Err(error @ ClientError::Permission(_)) => closed = closed.or(Some(error)),
                Err(error) => return Err(error.into()),
            }
        }
    }
    choose(instance, closed, candidates)
}

fn choose(
    mut instance: Vec<(&str, Client)>,
    closed: Option<ClientError>,
    candidates: &[Candidate],
) -> Result<Client, Failure> {
    if instance.len() > 1 {
        let names: Vec<_> = instance.iter().map(|(name, _)| *name).collect();
        let message = format!(
            "cannot choose between the instances {}: name one with -c FILE or --state-dir DIR",
            names.join(", ")
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    match (instance.pop(), closed) {
        (Some((_, client)), _) => Ok(client),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Err(Failure::new(
            Exit::NotRunning,
            format!(
                "no stayd is running here: {}; {START_IT}",
                nobody_answers(candidates)
            ),
        )),
    }
}

fn nobody_answers(candidates: &[Candidate]) -> String {
    let sockets = candidates.iter().flat_map(|candidate| &candidate.sockets);
    let sockets: Vec<_> = sockets.map(|socket| socket.display().to_string()).collect();
    if sockets.is_empty() {
        "there is no instance".to_owned()
    } else {
        format!("nobody answers on {}", sockets.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, find};
    use crate::cli::exit::Exit;

    #[test]
    fn nobody_is_named_with_the_cure() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let candidate = Candidate {
            name: "x".into(),
            sockets: vec!["/nonexistent/control.sock".into()],
            states: Vec::new(),
        };
        let failure = runtime.block_on(find(&[candidate])).expect_err("nobody");
        assert_eq!(failure.exit, Exit::NotRunning);
        assert!(failure.message.starts_with(
            "no stayd is running here: nobody answers on /nonexistent/control.sock; start"
        ));
    }
}
