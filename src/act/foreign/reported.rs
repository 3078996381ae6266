//! Processes that are named, shown and left alone: nobody else would tell of them.

use crate::act::recovery::scan::lives;
use crate::decide::event::Life;
use crate::sys::process::Process;
use std::cell::RefCell;
use std::rc::Rc;

/// So many are shown; the journal has the others.
const SHOWN_MAX: usize = 64;

/// A process that no service runs as, and the sentence that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedProcess {
    /// Who.
    pub process: Process,
    /// The service and the life that it was started as; none where nothing tells.
    pub of: Option<(String, Life)>,
    /// What it is, what becomes of it and what to do.
    pub message: String,
}

/// Those that are known; clones share them.
#[derive(Clone, Debug, Default)]
pub struct ReportedProcesses(Rc<RefCell<Vec<ReportedProcess>>>);

impl ReportedProcesses {
    /// One more; nothing where there are too many.
    pub fn add(&self, reported: ReportedProcess) {
        let mut known = self.0.borrow_mut();
        known.retain(|each| lives(each.process));
        if known.len() < SHOWN_MAX {
            known.push(reported);
        }
    }

    /// Those that have not ended, but for those of services in `configured`: somebody looks after them again.
    #[must_use]
    pub fn instance(&self, configured: &[&str]) -> Vec<ReportedProcess> {
        let mut known = self.0.borrow_mut();
        let is_looked_after = |each: &ReportedProcess| {
            let of = each.of.as_ref();
            of.is_some_and(|(service, _)| configured.contains(&service.as_str()))
        };
        known.retain(|each| lives(each.process) && !is_looked_after(each));
        known.clone()
    }
}
