//! Reads the journal of a stayd that does not run.

use super::database::{Database, JournalError};
use super::entry::{EventQuery, Incident, JournalEntry};
use std::path::Path;

/// The journal's file, open for queries. A stayd that starts meanwhile waits for it half a second.
#[derive(Debug)]
pub struct StoredJournal(Database);

impl StoredJournal {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// The cause: it does not exist, this user may not read it, it is damaged, or a stayd uses it.
    pub fn open(path: &Path) -> Result<Self, String> {
        Database::open_stored(path)
            .map(Self)
            .map_err(|error| cause(&error))
    }

    /// The newest entries that match `query`, oldest first.
    ///
    /// # Errors
    /// The cause.
    pub fn events(&self, query: &EventQuery) -> Result<Vec<JournalEntry>, String> {
        self.0.events(query).map_err(|error| cause(&error))
    }

    /// The newest `limit` incidents, oldest first, without the text of their evidence.
    ///
    /// # Errors
    /// The cause.
    pub fn incidents(&self, limit: usize) -> Result<Vec<Incident>, String> {
        self.0.incidents(limit).map_err(|error| cause(&error))
    }

    /// One incident with its evidence; none when `id` is not an incident or was deleted.
    ///
    /// # Errors
    /// The cause.
    pub fn incident(&self, id: u64) -> Result<Option<Incident>, String> {
        self.0.incident(id).map_err(|error| cause(&error))
    }
}

fn cause(error: &JournalError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::StoredJournal;
    use crate::act::dirs::state_dir::StateDir;
    use crate::act::journal::{EventQuery, Journal};
    use crate::decide::action::{Record, RecordKind};

    #[test]
    fn the_journal_of_an_ended_stayd_can_be_read_and_opened_again() {
        let dir = tempfile::tempdir().expect("folder");
        let state = StateDir::open(dir.path(), None).expect("state");
        assert!(
            StoredJournal::open(&state.journal()).is_err(),
            "no file is created"
        );
        assert!(!state.journal().exists());
        let (journal, _past) = Journal::open(&state, "boot");
        let record = Record {
            kind: RecordKind::Killed,
            life: None,
            sentence: "no answer".to_owned(),
            facts: Vec::new(),
        };
        journal.record(Some("db"), &record);
        journal.close();
        let stored = StoredJournal::open(&state.journal()).expect("opens");
        let query = EventQuery {
            limit: 5,
            ..EventQuery::default()
        };
        let found = stored.events(&query).expect("read");
        assert_eq!((found.len(), found[0].sentence.as_str()), (1, "no answer"));
        assert_eq!(stored.incidents(5).expect("read").len(), 1);
        assert!(stored.incident(found[0].id).expect("read").is_some());
        drop(stored);
        let (journal, _past) = Journal::open(&state, "boot");
        assert_eq!(journal.last_id(), found[0].id);
        journal.close();
    }
}
