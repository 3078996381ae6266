//! Processes that stayd reports once, shows in `status` and leaves alone.

use crate::act::journal::Journal;
use crate::act::process_exit::still_runs;
use crate::decide::action::{Record, RecordKind, RecordValue};
use crate::decide::event::Life;
use crate::sys::process::Process;
use std::cell::RefCell;
use std::rc::Rc;

/// The largest number that `status` shows; the journal has the others.
const SHOWN_MAX: usize = 64;

/// A process that belongs to no configured service, and the sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedProcess {
    /// Which process.
    pub process: Process,
    /// The service and the number of the instance that it was started as; none where that is not known.
    pub of: Option<(String, Life)>,
    /// What it is, what stayd does with it, and what the user can do.
    pub message: String,
}

/// The reported processes. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ReportedProcesses(Rc<RefCell<Vec<ReportedProcess>>>);

impl ReportedProcesses {
    /// Reports a process in the log, in the journal and, until it ends, in `status`.
    pub fn report(&self, journal: &Journal, kind: RecordKind, reported: ReportedProcess) {
        let of = reported.of.as_ref();
        let service = of.map(|(service, _)| service.as_str());
        let life = of.map(|(_, life)| *life);
        tracing::warn!("{}", reported.message);
        let pid = reported.process.pid.unsigned_abs();
        let record = Record {
            kind,
            life,
            sentence: reported.message.clone(),
            facts: vec![("pid", RecordValue::Number(pid.into()))],
        };
        journal.record(service, &record);
        self.show(reported);
    }

    /// Returns the reported processes that still run, without those of the services in `configured`, which stayd supervises
    /// again.
    #[must_use]
    pub fn running(&self, configured: &[&str]) -> Vec<ReportedProcess> {
        let mut known = self.0.borrow_mut();
        let is_supervised = |each: &ReportedProcess| {
            let of = each.of.as_ref();
            of.is_some_and(|(service, _)| configured.contains(&service.as_str()))
        };
        known.retain(|each| still_runs(each.process) && !is_supervised(each));
        known.clone()
    }

    fn show(&self, reported: ReportedProcess) {
        let mut known = self.0.borrow_mut();
        known.retain(|each| still_runs(each.process));
        if known.len() < SHOWN_MAX {
            known.push(reported);
        }
    }
}
