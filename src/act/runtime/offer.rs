//! What a helper does for the loop: what has the disk for the next life, and what is to be remembered.

use super::cache::{Cache, Held};
use super::collect;
use super::copy::Progress;
use super::difference::Difference;
use super::listing::Fingerprint;
use super::record::{self, Refusal};
use super::text;
use super::trouble::Trouble;
use crate::act::preflight::{self, Look};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Names shown of what was altered or added.
const SHOWN_MAX: usize = 3;

/// What can be asked about a service's runtimes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeAsk {
    /// The instance's state folder.
    pub state: PathBuf,
    /// Whose.
    pub service: String,
    /// What.
    pub deed: Deed,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Copy what the source holds if it is new, check it, and say what there is; then collect what nobody needs.
    Offer {
        /// The folder that is copied.
        source: PathBuf,
        /// Copies that are kept.
        keep: u32,
        /// Another user than ours runs from them.
        others: bool,
        /// What will be started from it, where that is known before; in the terms of the runtime's root.
        look: Option<Look>,
    },
    /// The same without the source, whose disk does not answer: what there is of older ones.
    Fallback {
        /// What is the matter with the source.
        trouble: Trouble,
        /// Another user than ours runs from them.
        others: bool,
    },
    /// Whether the source holds something else than what runs.
    Compare {
        /// The folder that is copied.
        source: PathBuf,
        /// What runs.
        running: Fingerprint,
    },
    /// What the source holds.
    Holds {
        /// The folder that is copied.
        source: PathBuf,
    },
    /// The service became ready under it.
    Praise(Fingerprint),
    /// It is not used again until the source holds something else.
    Refuse(Refusal),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// It is done.
    Done,
    /// To [`Deed::Offer`] and [`Deed::Fallback`].
    Offered(Offered),
    /// To [`Deed::Holds`].
    Holds(Fingerprint),
    /// To [`Deed::Compare`].
    Stale(bool),
}

/// What there is for the next life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// What the source holds, copied and checked; where that cannot be done, what a person has imported.
    pub source: Result<Fingerprint, Trouble>,
    /// It has been good before.
    pub good: bool,
    /// The last good one that is not refused, checked.
    pub fallback: Option<Fingerprint>,
    /// What the source holds, if that is refused.
    pub refused: Option<Fingerprint>,
    /// For a person.
    pub warnings: Vec<String>,
}

impl RuntimeAsk {
    /// Does it. Blocks for as long as the source's disk and ours do.
    ///
    /// # Errors
    /// In a sentence. Trouble with the source is an answer and no error.
    pub fn answer(&self, progress: &Progress) -> Result<Said, String> {
        let cache = Cache::of(&self.state);
        let held = cache.hold().map_err(|trouble| trouble.to_string())?;
        let service = &self.service;
        let noted = match &self.deed {
            Deed::Offer {
                source,
                keep,
                others,
                look,
            } => {
                let mut warnings = Vec::new();
                let made = made_and_checked(&held, service, source, progress, &mut warnings);
                let mut offered = offer(&held, service, made, warnings);
                if *others {
                    open_to_others(&cache, &mut offered);
                }
                if let (Ok(made), Some(look)) = (&offered.source, look)
                    && let Err(obstacle) = preflight::look(&look.expand_runtime(&cache.path(made)))
                {
                    offered.source = Err(Trouble::Unfit(format!(
                        "cannot start it from its runtime: {}",
                        of_the_source(&obstacle.cause, &cache.path(made), source)
                    )));
                }
                let keep = usize::try_from(*keep).unwrap_or(1);
                match collect::collect(&held, &self.state, &|_| keep) {
                    Ok(freed) => offered.warnings.extend(freed.warnings()),
                    Err(error) => offered.warnings.push(format!(
                        "cannot collect runtimes that nobody needs: {error}"
                    )),
                }
                return Ok(Said::Offered(offered));
            }
            Deed::Fallback { trouble, others } => {
                let mut offered = offer(&held, service, Err(trouble.clone()), Vec::new());
                if *others {
                    open_to_others(&cache, &mut offered);
                }
                return Ok(Said::Offered(offered));
            }
            Deed::Compare { source, running } => {
                let holds = holds(&held, service, source, progress)?;
                return Ok(Said::Stale(holds != *running));
            }
            Deed::Holds { source } => {
                return holds(&held, service, source, progress).map(Said::Holds);
            }
            Deed::Praise(fingerprint) => held.change(service, |record| record.praise(fingerprint)),
            Deed::Refuse(refusal) => held.change(service, |record| record.refuse(refusal.clone())),
        };
        noted
            .map(|()| Said::Done)
            .map_err(|trouble| trouble.to_string())
    }
}

/// What the source holds; where that cannot be read, what a person has imported.
fn holds(
    held: &Held<'_>,
    service: &str,
    source: &Path,
    progress: &Progress,
) -> Result<Fingerprint, String> {
    let imported = |trouble| held.cache.record(service).imported.ok_or(trouble);
    let holds = held.fingerprint_of(service, source, progress);
    holds
        .or_else(imported)
        .map_err(|trouble: Trouble| trouble.to_string())
}

/// What there is, when `made` came of the source. Touches our own disk alone.
fn offer(
    held: &Held<'_>,
    service: &str,
    made: Result<Fingerprint, Trouble>,
    mut warnings: Vec<String>,
) -> Offered {
    let record = held.cache.record(service);
    if record.lost {
        let file = record::path(&held.cache.services(), service);
        warnings.push(format!(
            "what was remembered of its runtimes cannot be read ({}): none is removed until it is ready again",
            file.display()
        ));
    }
    let source = made.or_else(|trouble| {
        let imported = record.imported.as_ref();
        let imported = imported.filter(|one| is_usable(held, one, &mut warnings));
        let imported = imported.cloned().ok_or_else(|| trouble.clone())?;
        warnings.push(format!(
            "it was brought by `stayd runtime import`: {trouble}"
        ));
        Ok(imported)
    });
    let found = source.as_ref().ok();
    // A runtime that was never good is better than none, and no better than another that was never good.
    let last_resort = record.used.iter().filter(|_| source.is_err());
    let mut others = record.still_good().chain(last_resort);
    let fallback = others.find(|one| found == Some(*one) || is_usable(held, one, &mut warnings));
    Offered {
        good: found.is_some_and(|one| record.good.contains(one)),
        refused: found.filter(|one| record.is_refused(one)).cloned(),
        fallback: fallback.cloned(),
        source,
        warnings,
    }
}

/// Whether nothing in it is altered; a person is told where that is why it is passed over.
fn is_usable(held: &Held<'_>, one: &Fingerprint, warnings: &mut Vec<String>) -> bool {
    match held.check(one) {
        Ok(difference) if difference.altered.is_empty() => true,
        Ok(difference) => {
            warnings.push(format!(
                "the runtime {one} was changed behind our back ({}) and is not used",
                names(&difference.altered)
            ));
            false
        }
        Err(_) => false,
    }
}

/// The way to the copies, and into the one that is to be used.
fn open_to_others(cache: &Cache, offered: &mut Offered) {
    let mut used = offered.source.iter().chain(&offered.fallback);
    let opened = cache.open_the_way();
    if let Err(error) = opened.and_then(|()| used.try_for_each(|one| cache.open_copy(one))) {
        offered.warnings.push(format!(
            "cannot let its user search the way to its runtime: {error}"
        ));
    }
}

/// A sentence about `copy`, said of its source: that is where the cure is, for nothing is ever written into a copy, and one
/// that was would be made anew.
#[must_use]
pub fn of_the_source(cause: &str, copy: &Path, source: &Path) -> String {
    cause.replace(&copy.display().to_string(), &source.display().to_string())
}

/// What the source holds, made anew if the copy is not what it was.
fn made_and_checked(
    held: &Held<'_>,
    service: &str,
    source: &Path,
    progress: &Progress,
    warnings: &mut Vec<String>,
) -> Result<Fingerprint, Trouble> {
    let made = held.materialize(service, source, false, progress)?;
    let difference = held.check(&made.fingerprint)?;
    if difference.altered.is_empty() {
        warnings.extend(added(&made.fingerprint, &difference));
        return Ok(made.fingerprint);
    }
    warnings.push(format!(
        "the runtime {} was changed behind our back ({}) and is copied anew",
        made.fingerprint,
        names(&difference.altered)
    ));
    let anew = held.materialize(service, source, true, progress)?;
    Ok(anew.fingerprint)
}

fn added(fingerprint: &Fingerprint, difference: &Difference) -> Option<String> {
    // Bytecode that Python writes beside its source is its own affair.
    let is_news = |path: &&PathBuf| !collect::is_bytecode(path);
    let mut news: Vec<PathBuf> = difference.added.iter().filter(is_news).cloned().collect();
    news.sort_unstable();
    (!news.is_empty()).then(|| {
        format!(
            "there is more in the runtime {fingerprint} than was copied ({}): it stays, and will not be in the next \
             runtime; let the service write elsewhere",
            names(&news)
        )
    })
}

/// The first names, and how many more there are.
#[must_use]
pub fn names(paths: &[PathBuf]) -> String {
    let shown = paths.iter().take(SHOWN_MAX);
    let mut names: Vec<String> = shown.map(|path| text::shown(path)).collect();
    if paths.len() > SHOWN_MAX {
        names.push(format!("and {} more", paths.len() - SHOWN_MAX));
    }
    names.join(", ")
}
