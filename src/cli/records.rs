//! Where `events`, `why`, `incidents` and `logs` read from: a running stayd, or the state folder of one that does not run.

use super::args::CommonOptions;
use super::connect;
use super::console::print_stderr;
use super::exit::{Exit, Failure};
use super::paths::{self, InstanceCandidate};
use crate::act::dirs::state_dir::StateDir;
use crate::act::journal::StoredJournal;
use crate::api::backend::{ApiError, ApiErrorKind, EventQuery, Since};
use crate::api::client::Client;
use crate::api::limits::EVENTS_DEFAULT;
use crate::api::query::{encode, since};
use crate::api::routes::service_path;
use crate::api::wire::{Events, Incident, Incidents};
use crate::run::journal::{event, incident_with_evidence, to_journal_query};
use crate::sys::clock;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The records and the output of one instance.
pub(super) enum Records {
    /// Of a running stayd.
    Running(Client),
    /// In the state folder of one that does not run.
    Stored(StoredRecords),
}

/// The state folder of a stayd that does not run.
pub(super) struct StoredRecords {
    state: PathBuf,
}

impl Records {
    /// The records of the instance that the command line means. Says on stderr if they come from its state folder.
    pub(super) async fn find(common: &CommonOptions) -> Result<Self, Failure> {
        let not_running = match connect::client(common).await {
            Ok(client) => return Ok(Self::Running(client)),
            Err(failure) if failure.exit == Exit::NotRunning => failure,
            Err(failure) => return Err(failure),
        };
        let candidates = paths::instance_candidates(common)?;
        let stored: Vec<_> = candidates.iter().filter_map(with_state).collect();
        let state = match stored.as_slice() {
            [] => return Err(not_running),
            [(_, state)] => state.clone(),
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| *name).collect();
                return Err(connect::ambiguous(&names));
            }
        };
        print_stderr(&format!(
            "stayd: no stayd is running here; reading {}",
            state.display()
        ));
        Ok(Self::Stored(StoredRecords { state }))
    }

    /// The last records of the journal.
    pub(super) async fn events(&self) -> Result<Events, Failure> {
        match self {
            Self::Running(client) => Ok(client.get("/v1/events").await?),
            Self::Stored(stored) => stored.events(EventQuery::default()),
        }
    }

    /// The last decisions about `service`, after `from` if it is given.
    pub(super) async fn why(&self, service: &str, from: Option<&str>) -> Result<Events, Failure> {
        match self {
            Self::Running(client) => {
                let mut target = service_path(&encode(service), "why");
                if let Some(from) = from {
                    target.push_str(&format!("?since={}", encode(from)));
                }
                Ok(client.get(&target).await?)
            }
            Self::Stored(stored) => stored.why(service, from),
        }
    }

    /// The last incidents.
    pub(super) async fn incidents(&self) -> Result<Incidents, Failure> {
        match self {
            Self::Running(client) => Ok(client.get("/v1/incidents").await?),
            Self::Stored(stored) => stored.incidents(),
        }
    }

    /// One incident with its evidence.
    pub(super) async fn incident(&self, id: u64) -> Result<Incident, Failure> {
        match self {
            Self::Running(client) => Ok(client.get(&format!("/v1/incidents/{id}")).await?),
            Self::Stored(stored) => stored.incident(id),
        }
    }
}

impl StoredRecords {
    /// The folder with the output of each service.
    pub(super) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// The services that have a folder for their output, in the order of their names.
    pub(super) fn services(&self) -> Result<Vec<String>, Failure> {
        let logs = self.logs();
        let unreadable = |error: io::Error| unreadable(&logs, &error);
        let entries = match fs::read_dir(&logs) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(unreadable)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(unreadable)?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn journal(&self) -> Result<StoredJournal, Failure> {
        let path = StateDir::journal_below(&self.state);
        // The error of open(2) names the cause better than SQLite does.
        fs::File::open(&path).map_err(|error| unreadable(&path, &error))?;
        StoredJournal::open(&path).map_err(|cause| self.failed(&cause))
    }

    fn failed(&self, cause: &str) -> Failure {
        let path = StateDir::journal_below(&self.state);
        Failure::system(&format!("read {}", path.display()), &cause)
    }

    fn events(&self, query: EventQuery) -> Result<Events, Failure> {
        let query = to_journal_query(EventQuery {
            limit: EVENTS_DEFAULT,
            ..query
        });
        let found = self.journal()?.events(&query);
        let found = found.map_err(|cause| self.failed(&cause))?;
        Ok(Events {
            events: found.into_iter().map(event).collect(),
        })
    }

    fn why(&self, service: &str, from: Option<&str>) -> Result<Events, Failure> {
        let now = clock::sample().wall;
        let since = from.map_or(Ok(Since::Beginning), |from| since(from, now))?;
        let all = EventQuery {
            service: Some(service.to_owned()),
            ..EventQuery::default()
        };
        let known = self.services()?;
        if !known.iter().any(|name| name == service) && self.events(all.clone())?.events.is_empty()
        {
            return Err(super::status::no_such_service(service, &known));
        }
        self.events(EventQuery {
            since,
            decisions_only: true,
            ..all
        })
    }

    fn incidents(&self) -> Result<Incidents, Failure> {
        let found = self.journal()?.incidents(EVENTS_DEFAULT);
        let found = found.map_err(|cause| self.failed(&cause))?;
        Ok(Incidents {
            incidents: found.into_iter().map(incident_with_evidence).collect(),
        })
    }

    fn incident(&self, id: u64) -> Result<Incident, Failure> {
        let found = self.journal()?.incident(id);
        let found = found.map_err(|cause| self.failed(&cause))?;
        found.map(incident_with_evidence).ok_or_else(|| {
            let message = format!(
                "cannot find incident {id}: no incident has this number; `stayd incidents` lists them"
            );
            ApiError::new(ApiErrorKind::NoIncident, message).into()
        })
    }
}

/// The name of the candidate and the first of its state folders that a stayd has used.
fn with_state(candidate: &InstanceCandidate) -> Option<(&str, PathBuf)> {
    let mut states = candidate.states.iter();
    let used = states.find(|state| StateDir::journal_below(state).exists())?;
    Some((candidate.name.as_str(), used.clone()))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot read {}: {error}", path.display());
    Failure::new(Exit::of_system_error(error.kind()), message)
}
