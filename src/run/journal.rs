//! The journal as the control socket sees it.

use crate::act::journal::{self, Entry, Store};
use crate::api::desk::{self, Journal, Kind, Local, Refusal, Since};
use crate::api::limits;
use crate::api::view::rfc3339;
use crate::api::wire;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Records a follower may be behind before it is told that it lags and asks the journal.
const FOLLOWER_BEHIND_MAX: usize = 64;

/// The store behind the socket's questions.
#[derive(Clone, Debug)]
pub(super) struct StoreJournal(Store);

impl StoreJournal {
    /// The socket's view of `store`.
    pub(super) const fn new(store: Store) -> Self {
        Self(store)
    }
}

impl Journal for StoreJournal {
    fn events(&self, query: desk::Query) -> Local<'_, Result<Vec<wire::Event>, Refusal>> {
        Box::pin(async move {
            let found = self.0.events(to_store(query)).await.map_err(unavailable)?;
            Ok(found.into_iter().map(shown).collect())
        })
    }

    fn incidents(&self, limit: usize) -> Local<'_, Result<Vec<wire::Incident>, Refusal>> {
        Box::pin(async move {
            let found = self.0.incidents(limit).await.map_err(unavailable)?;
            Ok(found.into_iter().map(shown_incident).collect())
        })
    }

    fn incident(&self, id: u64) -> Local<'_, Result<Option<wire::Incident>, Refusal>> {
        Box::pin(async move {
            let found = self.0.incident(id).await.map_err(unavailable)?;
            Ok(found.map(shown_incident))
        })
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<wire::Event>> {
        let (to, follower) = broadcast::channel(FOLLOWER_BEHIND_MAX);
        let (last_id, news) = (self.0.last_id(), self.0.subscribe());
        tokio::task::spawn_local(forward(self.0.clone(), news, last_id, to));
        follower
    }
}

/// Hands each record on in the socket's words until the follower has gone. What the store's channel dropped while
/// this task did not get to run is read from the journal, for the follower could not see that gap.
async fn forward(
    store: Store,
    mut news: broadcast::Receiver<Arc<Entry>>,
    mut last_id: u64,
    to: broadcast::Sender<Arc<wire::Event>>,
) {
    loop {
        let next = tokio::select! {
            () = to.closed() => return,
            next = news.recv() => next,
        };
        let entries = match next {
            Ok(entry) => vec![Arc::unwrap_or_clone(entry)],
            Err(RecvError::Lagged(_)) => match store.events(after(last_id)).await {
                Ok(entries) => entries,
                Err(_unreadable) => return,
            },
            Err(RecvError::Closed) => return,
        };
        for entry in entries {
            if entry.id > last_id {
                last_id = entry.id;
                let _gone = to.send(Arc::new(shown(entry)));
            }
        }
    }
}

fn after(id: u64) -> journal::Query {
    journal::Query {
        after_id: Some(id),
        limit: limits::EVENTS_MAX,
        ..journal::Query::default()
    }
}

fn to_store(query: desk::Query) -> journal::Query {
    let (after_id, since) = match query.since {
        Since::Beginning => (None, None),
        Since::Id(id) => (Some(id), None),
        Since::Time(time) => (None, Some(time)),
    };
    journal::Query {
        service: query.service,
        after_id,
        since,
        decisions_only: query.decisions_only,
        limit: query.limit,
    }
}

fn shown(entry: Entry) -> wire::Event {
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

/// The evidence's text, or its summary where the text was not asked for; a text that does not begin with its summary
/// gets it put before.
fn shown_incident(incident: journal::Incident) -> wire::Incident {
    let evidence = match (incident.evidence_summary, incident.evidence) {
        (Some(summary), Some(text)) if !text.starts_with(&summary) => {
            Some(format!("{summary}\n\n{text}"))
        }
        (summary, text) => text.or(summary),
    };
    wire::Incident {
        event: shown(incident.entry),
        evidence,
    }
}

fn unavailable(message: String) -> Refusal {
    Refusal::new(Kind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::StoreJournal;
    use crate::act::dirs::state_dir::StateDir;
    use crate::act::journal::Store;
    use crate::api::desk::{Journal, Query, Since};
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
    async fn the_socket_sees_records_as_they_come_and_incidents_with_their_evidence() {
        let dir = tempfile::tempdir().expect("folder");
        let state = StateDir::open(dir.path(), None).expect("state");
        let (store, _past) = Store::open(&state, "boot");
        let journal = StoreJournal::new(store.clone());
        let follow = async {
            store.record(Some("db"), &killed());
            let mut news = journal.subscribe();
            store.record(Some("db"), &killed());
            store.evidence("db", 1, "a lock".to_owned(), "stacks".to_owned());
            let event = timeout(WITHIN, news.recv()).await;
            let event = event.expect("in time").expect("an event");
            assert_eq!((event.id, event.message.as_str()), (2, "no answer"));
        };
        LocalSet::new().run_until(follow).await;

        let query = Query {
            since: Since::Id(1),
            limit: 10,
            ..Query::default()
        };
        let events = journal.events(query).await.expect("events");
        assert_eq!(events.len(), 1);
        let incident = journal.incident(2).await.expect("answers").expect("one");
        assert_eq!(incident.evidence.as_deref(), Some("a lock\n\nstacks"));
    }

    #[tokio::test]
    async fn a_burst_that_the_channel_drops_is_read_from_the_journal() {
        const BURST: u64 = 300;
        let dir = tempfile::tempdir().expect("folder");
        let state = StateDir::open(dir.path(), None).expect("state");
        let (store, _past) = Store::open(&state, "boot");
        let journal = StoreJournal::new(store.clone());
        let follow = async {
            let mut news = journal.subscribe();
            for _ in 0..BURST {
                store.record(Some("db"), &killed());
            }
            loop {
                match timeout(WITHIN, news.recv()).await.expect("in time") {
                    Ok(event) if event.id == BURST => break,
                    Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(closed) => panic!("{closed}"),
                }
            }
        };
        LocalSet::new().run_until(follow).await;
    }
}
