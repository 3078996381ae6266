//! Gives the control socket access to the journal, in the form of the API.

use crate::act::journal::{self, JournalEntry};
use crate::api::backend::{self, ApiError, ApiErrorKind, Journal, LocalFuture, Since};
use crate::api::limits;
use crate::api::view::rfc3339;
use crate::api::wire;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Records that a follower may fall behind. Beyond that it gets `Lagged` and reads the journal.
const FOLLOWER_BEHIND_MAX: usize = 64;

/// The journal, for the control socket.
#[derive(Clone, Debug)]
pub(super) struct ApiJournal(journal::Journal);

impl ApiJournal {
    /// For this journal.
    pub(super) const fn new(journal: journal::Journal) -> Self {
        Self(journal)
    }
}

impl Journal for ApiJournal {
    fn events(
        &self,
        query: backend::EventQuery,
    ) -> LocalFuture<'_, Result<Vec<wire::Event>, ApiError>> {
        Box::pin(async move {
            let found = self
                .0
                .events(to_journal_query(query))
                .await
                .map_err(unavailable)?;
            Ok(found.into_iter().map(event).collect())
        })
    }

    fn incidents(&self, limit: usize) -> LocalFuture<'_, Result<Vec<wire::Incident>, ApiError>> {
        Box::pin(async move {
            let found = self.0.incidents(limit).await.map_err(unavailable)?;
            Ok(found.into_iter().map(incident_with_evidence).collect())
        })
    }

    fn incident(&self, id: u64) -> LocalFuture<'_, Result<Option<wire::Incident>, ApiError>> {
        Box::pin(async move {
            let found = self.0.incident(id).await.map_err(unavailable)?;
            Ok(found.map(incident_with_evidence))
        })
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<wire::Event>> {
        let (to, follower) = broadcast::channel(FOLLOWER_BEHIND_MAX);
        let (last_id, records) = (self.0.last_id(), self.0.subscribe());
        tokio::task::spawn_local(forward(self.0.clone(), records, last_id, to));
        follower
    }
}

/// Forwards each record in the form of the API until the follower is dropped. If the journal's channel has dropped records
/// because this task did not run, it reads them from disk: the follower could not notice that gap.
async fn forward(
    journal: journal::Journal,
    mut records: broadcast::Receiver<Arc<JournalEntry>>,
    mut last_id: u64,
    to: broadcast::Sender<Arc<wire::Event>>,
) {
    loop {
        let next = tokio::select! {
            () = to.closed() => return,
            next = records.recv() => next,
        };
        let entries = match next {
            Ok(entry) => vec![Arc::unwrap_or_clone(entry)],
            Err(RecvError::Lagged(_)) => match journal.events(after(last_id)).await {
                Ok(entries) => entries,
                Err(_unreadable) => return,
            },
            Err(RecvError::Closed) => return,
        };
        for entry in entries {
            if entry.id > last_id {
                last_id = entry.id;
                let _dropped = to.send(Arc::new(event(entry)));
            }
        }
    }
}

fn after(id: u64) -> journal::EventQuery {
    journal::EventQuery {
        after_id: Some(id),
        limit: limits::EVENTS_MAX,
        ..journal::EventQuery::default()
    }
}

/// A query of the API, for the journal.
pub(crate) fn to_journal_query(query: backend::EventQuery) -> journal::EventQuery {
    let (after_id, since) = match query.since {
        Since::Beginning => (None, None),
        Since::Id(id) => (Some(id), None),
        Since::Time(time) => (None, Some(time)),
    };
    journal::EventQuery {
        service: query.service,
        after_id,
        since,
        decisions_only: query.decisions_only,
        limit: query.limit,
    }
}

/// A record in the form of the API.
pub(crate) fn event(entry: JournalEntry) -> wire::Event {
    wire::Event {
        id: entry.id,
        at: rfc3339(entry.at),
        service: entry.service,
        kind: entry.kind,
        life: entry.life,
        message: entry.sentence,
        facts: entry.facts,
    }
}

/// The evidence is its text, after the summary if the text does not begin with it; or only the summary if the text was not
/// queried.
pub(crate) fn incident_with_evidence(incident: journal::Incident) -> wire::Incident {
    let evidence = match (incident.evidence_summary, incident.evidence) {
        (Some(summary), Some(text)) if !text.starts_with(&summary) => {
            Some(format!("{summary}\n\n{text}"))
        }
        (summary, text) => text.or(summary),
    };
    wire::Incident {
        event: event(incident.entry),
        evidence,
    }
}

fn unavailable(message: String) -> ApiError {
    ApiError::new(ApiErrorKind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::ApiJournal;
    use crate::act::dirs::state_dir::StateDir;
    use crate::act::journal;
    use crate::api::backend::{EventQuery, Journal, Since};
    use crate::decide::action::{Record, RecordKind};
    use crate::decide::event::Life;
    use std::time::Duration;
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    const WITHIN: Duration = Duration::from_secs(20);

    fn killed() -> Record {
        Record {
            kind: RecordKind::Killed,
            life: Some(Life(1)),
            sentence: "no answer".to_owned(),
            facts: Vec::new(),
        }
    }

    #[tokio::test]
    async fn followers_get_new_records_and_incidents_have_their_evidence() {
        let dir = tempfile::tempdir().expect("folder");
        let state = StateDir::open(dir.path(), None).expect("state");
        let (journal, _past) = journal::Journal::open(&state, "boot");
        let api_journal = ApiJournal::new(journal.clone());
        let follow = async {
            journal.record(Some("db"), &killed());
            let mut new_events = api_journal.subscribe();
            journal.record(Some("db"), &killed());
            journal.attach_evidence("db", 1, "a lock".to_owned(), "stacks".to_owned());
            let event = timeout(WITHIN, new_events.recv()).await;
            let event = event.expect("in time").expect("an event");
            assert_eq!((event.id, event.message.as_str()), (2, "no answer"));
        };
        LocalSet::new().run_until(follow).await;

        let query = EventQuery {
            since: Since::Id(1),
            limit: 10,
            ..EventQuery::default()
        };
        let events = api_journal.events(query).await.expect("events");
        assert_eq!(events.len(), 1);
        let incident = api_journal
            .incident(2)
            .await
            .expect("answers")
            .expect("one");
        assert_eq!(incident.evidence.as_deref(), Some("a lock\n\nstacks"));
    }

    #[tokio::test]
    async fn records_that_the_channel_drops_are_read_from_the_journal() {
        const BURST: u64 = 300;
        let dir = tempfile::tempdir().expect("folder");
        let state = StateDir::open(dir.path(), None).expect("state");
        let (journal, _past) = journal::Journal::open(&state, "boot");
        let api_journal = ApiJournal::new(journal.clone());
        let follow = async {
            let mut new_events = api_journal.subscribe();
            for _ in 0..BURST {
                journal.record(Some("db"), &killed());
            }
            loop {
                match timeout(WITHIN, new_events.recv()).await.expect("in time") {
                    Ok(event) if event.id == BURST => break,
                    Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(closed) => panic!("{closed}"),
                }
            }
        };
        LocalSet::new().run_until(follow).await;
    }
}
