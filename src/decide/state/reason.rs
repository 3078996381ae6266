//! The reason for the state of a service: a sentence for users.
//!
//! A reason about the past ("exited with status 1 after 3 s") stays true in every later state. A reason about the present
//! ("gave up: …; tries again every 60 s") is true only in the state for which it was given, and is dropped when the service
//! leaves that state. So no state is shown with a sentence that contradicts it.

use super::{Down, EndingStage, State};

/// A state, as far as a reason can be about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum StateKind {
    Scanning,
    Stopped,
    Backoff,
    Parked,
    Blocked,
    Starting,
    Up,
    Attached,
    KillPending,
    Ending,
    Unkillable,
}

impl StateKind {
    const fn of(state: &State) -> Self {
        match state {
            State::Unconfigured | State::Scanning { .. } => Self::Scanning,
            State::Down(Down::Stopped) => Self::Stopped,
            State::Down(Down::Backoff { .. }) => Self::Backoff,
            State::Down(Down::Parked { .. }) => Self::Parked,
            State::Down(Down::Blocked { .. }) => Self::Blocked,
            State::Preparing { .. } | State::Spawning => Self::Starting,
            State::Up(_) => Self::Up,
            State::Attached(_) => Self::Attached,
            State::KillPending { .. } => Self::KillPending,
            State::Ending(ending) => match ending.stage {
                EndingStage::Grace { .. } | EndingStage::Kill => Self::Ending,
                EndingStage::Unkillable { .. } => Self::Unkillable,
            },
        }
    }

    /// Whether a reason that was given in this state is still true in `now`. The cause of a refused start stays visible while
    /// the start is tried again, and so do processes that SIGKILL has not ended while it is sent again.
    fn is_true_in(self, now: Self) -> bool {
        self == now
            || matches!(
                (self, now),
                (Self::Blocked, Self::Starting) | (Self::Unkillable, Self::Ending)
            )
    }
}

/// A sentence that is true only in one state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Present {
    sentence: String,
    /// The state for which it was given; none until the step that gave it is over.
    given_in: Option<StateKind>,
}

impl Present {
    const fn new(sentence: String) -> Option<Self> {
        Some(Self {
            sentence,
            given_in: None,
        })
    }

    /// At the end of a step: notes the state, or drops the sentence when that state is left.
    fn keep_in(slot: &mut Option<Self>, now: StateKind) {
        if let Some(present) = slot {
            match present.given_in {
                // What runs is not known before the recovery scan is over, so the reason is about the state after it.
                None if now == StateKind::Scanning => {}
                None => present.given_in = Some(now),
                Some(given_in) if given_in.is_true_in(now) => {}
                Some(_) => *slot = None,
            }
        }
    }
}

/// The reason for the state of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reason {
    /// What happened last.
    past: String,
    /// What happened last was a failure: an instance ended by itself, or was killed.
    past_is_failure: bool,
    /// What is the case in the present state.
    present: Option<Present>,
    /// A passing problem, which is shown instead while it lasts.
    problem: Option<Present>,
}

impl Reason {
    /// The sentence that users see; empty if there is none.
    pub(super) fn text(&self) -> &str {
        self.problem
            .as_ref()
            .map_or_else(|| self.lasting(), |problem| &problem.sentence)
    }

    /// The sentence without a passing problem.
    pub(super) fn lasting(&self) -> &str {
        self.present
            .as_ref()
            .map_or(&self.past, |present| &present.sentence)
    }

    /// Whether the lasting sentence is about the present state.
    pub(super) const fn is_present(&self) -> bool {
        self.present.is_some()
    }

    /// Sets what has happened.
    pub(super) fn set_past(&mut self, sentence: String) {
        *self = Self {
            past: sentence,
            ..Self::default()
        };
    }

    /// Sets the failure that has happened.
    pub(super) fn set_failure(&mut self, sentence: String) {
        self.set_past(sentence);
        self.past_is_failure = true;
    }

    /// Whether the lasting sentence is about a failure that has happened.
    pub(super) const fn is_failure(&self) -> bool {
        self.past_is_failure && self.present.is_none()
    }

    /// Whether the sentence that users see is about a failure that has happened.
    pub(super) const fn shows_failure(&self) -> bool {
        self.is_failure() && self.problem.is_none()
    }

    /// Sets what is the case in the state that the service has at the end of this step.
    pub(super) fn set_present(&mut self, sentence: String) {
        self.present = Present::new(sentence);
        self.problem = None;
    }

    /// Shows a problem until [`Self::end_problem`], or until the service leaves its state.
    pub(super) fn set_problem(&mut self, sentence: String) {
        self.problem = Present::new(sentence);
    }

    /// Shows the lasting reason again. Returns whether there was a problem.
    pub(super) fn end_problem(&mut self) -> bool {
        self.problem.take().is_some()
    }

    /// Ends a step: drops what is not true in `state`.
    pub(super) fn keep_in(&mut self, state: &State) {
        let now = StateKind::of(state);
        Present::keep_in(&mut self.present, now);
        Present::keep_in(&mut self.problem, now);
    }

    /// Continues with the reason that the version before handed over.
    pub(super) fn resume(&mut self, sentence: String, is_present: bool, is_failure: bool) {
        *self = Self::default();
        if is_present {
            self.set_present(sentence);
        } else {
            self.set_past(sentence);
            self.past_is_failure = is_failure;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
