//! Which runtime an instance starts from: the source's, or the last good one.
//!
//! A runtime under which the service became ready is *good*. A new one under which the service repeatedly does not become
//! ready is marked *bad*: the last good one is used until the source holds another.

use super::terms::SpawnFailure;

/// A runtime, by its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(not(decide_alone), derive(serde::Serialize, serde::Deserialize))]
pub struct RuntimeId(pub String);

/// The runtimes on disk that the next instance can start from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Offer {
    /// What the source holds, copied and verified; or why that is not possible.
    pub source: Result<RuntimeId, SpawnFailure>,
    /// The last good runtime that is not marked bad, verified; where none was ever good, the last one that was used.
    pub fallback: Option<RuntimeId>,
    /// The source's runtime, where an earlier stayd or a user has marked it bad.
    pub refused: Option<RuntimeId>,
    /// Whether the source's runtime has been good before.
    pub good: bool,
    /// Warnings for users, in sentences.
    pub warnings: Vec<String>,
}

/// What an instance starts from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// What the source holds.
    Source(RuntimeId),
    /// An older one, and why.
    Fallback(RuntimeId, String),
    /// Nothing can be started.
    Nothing(SpawnFailure),
}

/// What is known of the runtimes of one service from instance to instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(not(decide_alone), derive(serde::Serialize, serde::Deserialize))]
pub struct RuntimeHistory {
    /// What the present instance, or the last one, started from.
    pub current: Option<RuntimeId>,
    /// The service has become ready under it.
    pub good: bool,
    /// Why the present instance runs from an older runtime than the source's.
    #[cfg_attr(not(decide_alone), serde(skip))]
    pub why_older: Option<String>,
    /// Consecutive instances that ended under it before it was good.
    pub unready: u32,
    /// The fallback of the last offer.
    #[cfg_attr(not(decide_alone), serde(skip))]
    fallback: Option<RuntimeId>,
    /// The runtime that this stayd marked bad; the mark is also on disk.
    #[cfg_attr(not(decide_alone), serde(skip))]
    refused: Option<RuntimeId>,
}

impl RuntimeHistory {
    /// Chooses a runtime for the next instance, and notes the choice.
    pub fn choose(&mut self, offer: &Offer) -> Choice {
        let choice = choose(offer, self.refused.as_ref());
        self.fallback.clone_from(&offer.fallback);
        if let Choice::Source(id) | Choice::Fallback(id, _) = &choice
            && self.current.as_ref() != Some(id)
        {
            self.good = matches!(choice, Choice::Fallback(..)) || offer.good;
            self.unready = 0;
            self.current = Some(id.clone());
        }
        if let Choice::Source(_) = choice {
            self.refused = None;
        }
        choice
    }

    /// The service became ready, or ran for long enough. Returns whether its runtime was not known as good before.
    pub fn became_ready(&mut self) -> bool {
        self.unready = 0;
        !core::mem::replace(&mut self.good, true) && self.current.is_some()
    }

    /// An instance ended. If these were too many (`at_most`) under a runtime that was never good, and there is another
    /// runtime: returns the one that is marked bad from now on, and the one that replaces it.
    pub fn ended_unready(&mut self, at_most: u32) -> Option<(RuntimeId, RuntimeId)> {
        let current = self.current.clone().filter(|_| !self.good)?;
        self.unready = self.unready.saturating_add(1);
        let fallback = self.fallback.clone().filter(|one| *one != current)?;
        if self.unready < at_most {
            return None;
        }
        self.refused = Some(current.clone());
        Some((current, fallback))
    }
}

fn choose(offer: &Offer, marked_bad: Option<&RuntimeId>) -> Choice {
    let is_bad = |id| marked_bad == Some(id) || offer.refused.as_ref() == Some(id);
    match (&offer.source, &offer.fallback) {
        (Ok(id), Some(fallback)) if is_bad(id) && id != fallback => Choice::Fallback(
            fallback.clone(),
            "what its source holds is marked bad, and not tried again until it changes".into(),
        ),
        (Ok(id), _) => Choice::Source(id.clone()),
        (Err(failure), Some(fallback)) => {
            Choice::Fallback(fallback.clone(), failure.message.clone())
        }
        (Err(failure), None) => Choice::Nothing(failure.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> RuntimeId {
        RuntimeId(name.into())
    }

    fn offer(source: Option<&str>, fallback: Option<&str>) -> Offer {
        Offer {
            source: source.map(id).ok_or(SpawnFailure {
                message: "gone".into(),
                lasting: false,
            }),
            fallback: fallback.map(id),
            refused: None,
            good: source == fallback,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_source_is_preferred_and_the_last_good_runtime_used_where_it_is_gone() {
        let mut history = RuntimeHistory::default();
        assert_eq!(
            history.choose(&offer(Some("b"), Some("a"))),
            Choice::Source(id("b"))
        );
        let gone = history.choose(&offer(None, Some("a")));
        assert_eq!(gone, Choice::Fallback(id("a"), "gone".into()));
        assert!(matches!(
            history.choose(&offer(None, None)),
            Choice::Nothing(_)
        ));
    }

    #[test]
    fn a_new_runtime_that_never_becomes_ready_is_rolled_back_until_the_source_changes() {
        let mut history = RuntimeHistory::default();
        let new = offer(Some("b"), Some("a"));
        for _ in 0..2 {
            assert_eq!(history.choose(&new), Choice::Source(id("b")));
            assert_eq!(history.ended_unready(3), None);
        }
        assert_eq!(history.choose(&new), Choice::Source(id("b")));
        assert_eq!(history.ended_unready(3), Some((id("b"), id("a"))));
        assert!(matches!(history.choose(&new), Choice::Fallback(one, _) if one == id("a")));
        assert_eq!(
            history.ended_unready(3),
            None,
            "the last good one is never marked bad"
        );
        assert!(matches!(history.choose(&new), Choice::Fallback(..)));
        assert_eq!(
            history.choose(&offer(Some("c"), Some("a"))),
            Choice::Source(id("c"))
        );
    }

    #[test]
    fn a_good_runtime_and_the_only_runtime_are_never_marked_bad() {
        let mut history = RuntimeHistory::default();
        history.choose(&offer(Some("a"), None));
        assert!(history.became_ready());
        assert!(!history.became_ready(), "known as good already");
        assert_eq!((0..9).find_map(|_| history.ended_unready(3)), None);
        let mut alone = RuntimeHistory::default();
        alone.choose(&offer(Some("a"), None));
        assert_eq!((0..9).find_map(|_| alone.ended_unready(3)), None);
    }

    #[test]
    fn a_runtime_that_an_earlier_stayd_marked_bad_stays_bad() {
        let mut history = RuntimeHistory::default();
        let refused = Offer {
            refused: Some(id("b")),
            ..offer(Some("b"), Some("a"))
        };
        assert!(matches!(history.choose(&refused), Choice::Fallback(..)));
        let alone = Offer {
            fallback: None,
            ..refused
        };
        assert_eq!(
            history.choose(&alone),
            Choice::Source(id("b")),
            "better than nothing"
        );
    }
}
