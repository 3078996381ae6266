//! Which runtime a life begins with: the source's, or the last good one.
//!
//! A runtime under which the service became ready is *good*. A new one under which it does not become ready again and
//! again is *refused*: the last good one is taken until the source holds something else.

use super::event::SpawnFailure;

/// A runtime, by its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuntimeId(pub String);

/// What the disk has for the next life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Offer {
    /// What the source holds, copied and checked; or why there is no such thing.
    pub source: Result<RuntimeId, SpawnFailure>,
    /// The last good runtime that is not refused, checked; where none was ever good, the last one that was used.
    pub fallback: Option<RuntimeId>,
    /// The source's, where an earlier stayd, or a person, has refused it.
    pub refused: Option<RuntimeId>,
    /// Whether the source's runtime has been good before.
    pub good: bool,
    /// What a person should know of it, in sentences.
    pub warnings: Vec<String>,
}

/// What a life begins with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// What the source holds.
    Source(RuntimeId),
    /// An older one, and why.
    Fallback(RuntimeId, String),
    /// Nothing can be started.
    Nothing(SpawnFailure),
}

/// What is remembered from life to life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    /// What the present life, or the last one, began with.
    pub current: Option<RuntimeId>,
    /// The service has become ready under it.
    pub good: bool,
    /// Why the present life runs from an older one than the source's.
    pub why_older: Option<String>,
    /// Lives in a row that ended under it before it was good.
    pub unready: u32,
    /// The last offer's.
    fallback: Option<RuntimeId>,
    refused: Option<RuntimeId>,
}

impl Memory {
    /// Chooses, and remembers what.
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

    /// What another has remembered; what is refused is remembered on disk.
    #[must_use]
    pub fn of(current: Option<RuntimeId>, good: bool, unready: u32) -> Self {
        Self {
            current,
            good,
            unready,
            ..Self::default()
        }
    }

    /// The service became ready, or ran for long enough; true when that is news about its runtime.
    pub fn became_ready(&mut self) -> bool {
        self.unready = 0;
        !core::mem::replace(&mut self.good, true) && self.current.is_some()
    }

    /// A life ended. When that were too many (`at_most`) under a runtime that was never good, and
    /// there is another: the one that is refused from now on, and the one that takes its place.
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

fn choose(offer: &Offer, refused_now: Option<&RuntimeId>) -> Choice {
    let is_refused = |id| refused_now == Some(id) || offer.refused.as_ref() == Some(id);
    match (&offer.source, &offer.fallback) {
        (Ok(id), Some(fallback)) if is_refused(id) && id != fallback => Choice::Fallback(
            fallback.clone(),
            "what its source holds is refused, and not tried again until it changes".into(),
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
    fn the_source_comes_first_and_the_last_good_one_where_it_is_gone() {
        let mut memory = Memory::default();
        assert_eq!(
            memory.choose(&offer(Some("b"), Some("a"))),
            Choice::Source(id("b"))
        );
        let gone = memory.choose(&offer(None, Some("a")));
        assert_eq!(gone, Choice::Fallback(id("a"), "gone".into()));
        assert!(matches!(
            memory.choose(&offer(None, None)),
            Choice::Nothing(_)
        ));
    }

    #[test]
    fn item_67_a_new_runtime_that_never_becomes_ready_is_rolled_back_and_tried_again_only_when_it_changes()
     {
        let mut memory = Memory::default();
        let new = offer(Some("b"), Some("a"));
        for _ in 0..2 {
            assert_eq!(memory.choose(&new), Choice::Source(id("b")));
            assert_eq!(memory.ended_unready(3), None);
        }
        assert_eq!(memory.choose(&new), Choice::Source(id("b")));
        assert_eq!(memory.ended_unready(3), Some((id("b"), id("a"))));
        assert!(matches!(memory.choose(&new), Choice::Fallback(one, _) if one == id("a")));
        assert_eq!(
            memory.ended_unready(3),
            None,
            "the last good one is never refused"
        );
        assert!(matches!(memory.choose(&new), Choice::Fallback(..)));
        assert_eq!(
            memory.choose(&offer(Some("c"), Some("a"))),
            Choice::Source(id("c"))
        );
    }

    #[test]
    fn a_good_one_is_not_refused_and_nothing_is_where_there_is_no_other() {
        let mut memory = Memory::default();
        memory.choose(&offer(Some("a"), None));
        assert!(memory.became_ready());
        assert!(!memory.became_ready(), "no news");
        assert_eq!((0..9).find_map(|_| memory.ended_unready(3)), None);
        let mut alone = Memory::default();
        alone.choose(&offer(Some("a"), None));
        assert_eq!((0..9).find_map(|_| alone.ended_unready(3)), None);
    }

    #[test]
    fn what_an_earlier_stayd_has_refused_stays_refused() {
        let mut memory = Memory::default();
        let refused = Offer {
            refused: Some(id("b")),
            ..offer(Some("b"), Some("a"))
        };
        assert!(matches!(memory.choose(&refused), Choice::Fallback(..)));
        let alone = Offer {
            fallback: None,
            ..refused
        };
        assert_eq!(
            memory.choose(&alone),
            Choice::Source(id("b")),
            "better than nothing"
        );
    }
}
