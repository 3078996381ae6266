//! Who is being served, and whose place goes to the next one when there is none left.
//!
//! A peer that only takes up room (it says nothing, stops in the middle, does not read or does not hang up) keeps its
//! place for as long as nobody else needs it. A follower or a caller who waits for an outcome is never sent away.

use super::limits;
use crate::sys;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Everybody who is being served: at most [`limits::CONNECTIONS_MAX`].
#[derive(Default)]
pub(super) struct Guests {
    present: RefCell<Vec<Rc<Guest>>>,
    somebody_left: Notify,
}

/// One connection, as far as its place is concerned.
pub(super) struct Guest {
    /// From when on its place may be given to another, on the clock that [`now`] reads; never while none.
    yields_at: Cell<Option<Duration>>,
    sent_away: Notify,
}

/// A place, kept until this is dropped.
pub(super) struct Place {
    guests: Rc<Guests>,
    guest: Rc<Guest>,
}

impl Guests {
    /// Waits for a place. When all are taken, the guest that should have gone first is sent away for the new one.
    pub(super) async fn place(self: &Rc<Self>) -> Place {
        while self.present.borrow().len() >= limits::CONNECTIONS_MAX {
            self.make_room().await;
        }
        let guest = Rc::new(Guest {
            yields_at: Cell::new(Some(now() + limits::UNDISTURBED_ASKING)),
            sent_away: Notify::new(),
        });
        self.present.borrow_mut().push(Rc::clone(&guest));
        Place {
            guests: Rc::clone(self),
            guest,
        }
    }

    /// One step towards a free place; to be called until there is one.
    async fn make_room(&self) {
        let Some((guest, yields_at)) = self.first_to_go() else {
            return self.somebody_left.notified().await;
        };
        let wait = yields_at.saturating_sub(now());
        if wait.is_zero() {
            guest.sent_away.notify_one();
            return self.somebody_left.notified().await;
        }
        tokio::select! {
            () = self.somebody_left.notified() => {}
            () = sleep(wait) => {}
        }
    }

    /// Comes when nobody is served any more.
    pub(super) async fn have_left(&self) {
        while !self.present.borrow().is_empty() {
            self.somebody_left.notified().await;
        }
    }

    /// Whoever is still here is sent away.
    pub(super) fn send_all_away(&self) {
        for guest in self.present.borrow().iter() {
            guest.sent_away.notify_one();
        }
    }

    fn first_to_go(&self) -> Option<(Rc<Guest>, Duration)> {
        let present = self.present.borrow();
        let movable = present
            .iter()
            .filter_map(|guest| Some((Rc::clone(guest), guest.yields_at.get()?)));
        movable.min_by_key(|(_, yields_at)| *yields_at)
    }
}

impl Guest {
    /// Its request is here and being answered.
    pub(super) fn is_answered(&self) {
        self.yields_at
            .set(Some(now() + limits::UNDISTURBED_ANSWERING));
    }

    /// It was promised a long answer.
    pub(super) fn stays(&self) {
        self.yields_at.set(None);
    }

    /// It has everything it came for.
    pub(super) fn is_done(&self) {
        self.yields_at.set(Some(Duration::ZERO));
    }

    /// Comes when its place is needed.
    pub(super) async fn is_sent_away(&self) {
        self.sent_away.notified().await;
    }
}

impl Place {
    /// Who has it.
    pub(super) fn guest(&self) -> &Rc<Guest> {
        &self.guest
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.guests.present.borrow_mut();
        present.retain(|guest| !Rc::ptr_eq(guest, &self.guest));
        self.guests.somebody_left.notify_one();
    }
}

/// Awake time: a sleep of the machine makes nobody late.
fn now() -> Duration {
    sys::clock::sample().awake
}
