//! Everybody who is in the house, for whoever closes it.

use super::guests::Guests;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Those who have not gone by then may take so long to be shown out.
const SHOWN_OUT_WITHIN: Duration = Duration::from_millis(100);

/// The server's guests, and whether it takes new ones; clones are the same lobby.
#[derive(Clone)]
pub struct Lobby {
    pub(super) guests: Rc<Guests>,
    /// Callers that wait for the outcome of a wish.
    waiting: Rc<Cell<usize>>,
    closing: watch::Sender<bool>,
}

impl Default for Lobby {
    fn default() -> Self {
        Self {
            guests: Rc::default(),
            waiting: Rc::default(),
            closing: watch::Sender::new(false),
        }
    }
}

/// Somebody waits for an outcome, until this is dropped.
pub(super) struct Waiting(Rc<Cell<usize>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Lobby {
    /// How many callers wait for the outcome of a wish.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// Lets nobody in any more, who finds the socket as it is and waits before it; sees those off who are there. Whoever
    /// has not asked by `within`, or does not take its answer, is sent away.
    pub async fn close(&self, within: Duration) {
        self.closing.send_replace(true);
        if timeout(within, self.guests.have_left()).await.is_err() {
            self.guests.send_all_away();
            // Whoever is still there then is cut off with us.
            let _cut = timeout(SHOWN_OUT_WITHIN, self.guests.have_left()).await;
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Comes when the house closes.
    pub(super) async fn closes(&self) {
        let mut closing = self.closing.subscribe();
        // The sender is ours.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    pub(super) fn wait(&self) -> Waiting {
        self.waiting.set(self.waiting.get() + 1);
        Waiting(Rc::clone(&self.waiting))
    }
}
