//! The judgments on the listeners that the probes of an instance have reached, and the search that finds them.

use super::JudgeError;
use crate::decide::clock::{Duration, Instant};
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use tokio::sync::Notify;

/// A process outside the service's tree that has a listener of the probe's address open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForeignHolder {
    /// "pid 906 (redis)"
    pub(crate) who: String,
    /// "is not of this service's tree"
    pub(crate) why: &'static str,
}

/// The most listeners whose judgment is kept: a server with SO_REUSEPORT has one for each of its workers.
const JUDGED_MAX: usize = 1024;
/// A listener that belongs to no known process of the tree is judged anew after this time, because the tree may have got a
/// member since then.
const JUDGED_FOREIGN_FOR: Duration = Duration::from_secs(60);

/// The judgments on the listeners that the probes have reached, by inode: the kernel uses the number of a socket once.
#[derive(Debug, Default)]
pub(crate) struct JudgedListeners {
    by_inode: RefCell<BTreeMap<u64, JudgedListener>>,
    /// The last search for the processes of new listeners.
    search: RefCell<Option<Rc<Search>>>,
}

/// A search that may still run.
#[derive(Debug, Default)]
struct Search {
    result: OnceCell<Result<(), JudgeError>>,
    ended: Notify,
}

#[derive(Debug)]
struct JudgedListener {
    at: Instant,
    foreign: Option<ForeignHolder>,
}

impl JudgedListeners {
    /// The judgment on the listener with this inode: its foreign holder, or none if it counts as the service's. The outer
    /// `None`: it is not judged.
    pub(crate) fn get(&self, inode: u64, now: Instant) -> Option<Option<ForeignHolder>> {
        let all = self.by_inode.borrow();
        let judged = all.get(&inode)?;
        let is_old = judged.foreign.is_some() && now.since(judged.at) >= JUDGED_FOREIGN_FOR;
        (!is_old).then(|| judged.foreign.clone())
    }

    /// Stores the judgment on the listener with this inode.
    pub(crate) fn set(&self, inode: u64, now: Instant, foreign: Option<ForeignHolder>) {
        let mut all = self.by_inode.borrow_mut();
        if all.len() >= JUDGED_MAX {
            all.clear();
        }
        all.insert(inode, JudgedListener { at: now, foreign });
    }

    /// Waits for the search that runs, or for the one that `begin` makes if none does. If this future is dropped, the search
    /// goes on and stores what it finds.
    ///
    /// # Errors
    /// That of the search.
    pub(crate) async fn search<F>(&self, begin: impl FnOnce() -> F) -> Result<(), JudgeError>
    where
        F: Future<Output = Result<(), JudgeError>> + 'static,
    {
        let last = self.search.borrow().clone();
        let search = last.filter(|one| one.result.get().is_none());
        let search = search.unwrap_or_else(|| {
            let search = Rc::new(Search::default());
            self.search.replace(Some(Rc::clone(&search)));
            tokio::task::spawn_local(run(Rc::clone(&search), begin()));
            search
        });
        let ended = search.ended.notified();
        if search.result.get().is_none() {
            ended.await;
        }
        search.result.get().cloned().unwrap_or(Ok(()))
    }
}

async fn run(search: Rc<Search>, work: impl Future<Output = Result<(), JudgeError>>) {
    let result = work.await;
    // A search runs once, so its result is not set yet.
    let _ = search.result.set(result);
    search.ended.notify_waiters();
}
