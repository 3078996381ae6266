//! Requests about a service's runtimes, and what a helper process does for each.

use super::cache::{Cache, LockedCache};
use super::copy::Progress;
use super::display::list_paths;
use super::error::SourceError;
use super::gc;
use super::listing::Fingerprint;
use super::record::{self, RefusedRuntime};
use super::source::Source;
use crate::act::helper::{self, HelperRequest, Reporter};
use crate::act::preflight::{self, ProgramLookup};
use crate::act::spawn::run_as;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// A request about the runtimes of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeRequest {
    /// The state folder.
    pub state: PathBuf,
    /// The name of the service.
    pub service: String,
    /// What to do.
    pub operation: RuntimeOperation,
}

/// What to do with the runtimes of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeOperation {
    /// Copy the source if its content is new, verify the copy, and report which runtimes the next instance can use. Then
    /// remove runtimes that are no longer needed.
    Materialize {
        /// The folder that is copied.
        source: PathBuf,
        /// How many of the newest runtimes are kept.
        keep: u32,
        /// The user that the service runs as, as configured; none: that of stayd.
        user: Option<String>,
        /// The program that will be started from the runtime, as configured; `None` where it is not known yet.
        program: Option<ProgramLookup>,
    },
    /// Report which runtimes the next instance can use, without access to the source, because its disk does not answer.
    Fallback {
        /// Why the source is not used.
        error: SourceError,
        /// The user that the service runs as, as configured; none: that of stayd.
        user: Option<String>,
    },
    /// Compare the content of the source with the runtime that the service runs from.
    IsStale {
        /// The folder that is copied.
        source: PathBuf,
        /// The runtime that the service runs from.
        running: Fingerprint,
        /// The user that the service runs as, as configured; none: that of stayd.
        user: Option<String>,
    },
    /// Return the fingerprint of the source.
    FingerprintSource {
        /// The folder that is copied.
        source: PathBuf,
        /// The user that the service runs as, as configured; none: that of stayd.
        user: Option<String>,
    },
    /// Store that the service became ready under this runtime.
    MarkGood(Fingerprint),
    /// Store that this runtime must not be used again until the source changes.
    MarkBad(RefusedRuntime),
}

/// The reply to a [`RuntimeOperation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuntimeReply {
    /// To [`RuntimeOperation::MarkGood`] and [`RuntimeOperation::MarkBad`]: it is written.
    Done,
    /// To [`RuntimeOperation::Materialize`] and [`RuntimeOperation::Fallback`].
    Offer(RuntimeOffer),
    /// To [`RuntimeOperation::FingerprintSource`].
    SourceFingerprint(Fingerprint),
    /// To [`RuntimeOperation::IsStale`]: whether the content differs.
    Stale(bool),
}

/// The runtimes that the next instance can use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeOffer {
    /// The runtime with the content of the source, verified. Where the source cannot be copied: the imported runtime, or
    /// why there is none.
    pub source: Result<Fingerprint, SourceError>,
    /// The service became ready under `source` before.
    pub good: bool,
    /// The last good runtime that is not refused, verified.
    pub fallback: Option<Fingerprint>,
    /// `source` again, if it is refused.
    pub refused: Option<Fingerprint>,
    /// Sentences for the user.
    pub warnings: Vec<String>,
}

impl HelperRequest for RuntimeRequest {
    const NAME: &'static str = "runtime";
    type Reply = RuntimeReply;

    fn carry_out(self, reporter: &Reporter<'_>) -> Result<RuntimeReply, String> {
        let progress = Progress::default();
        let sample = || {
            let now = helper::Progress {
                files: progress.files.load(Ordering::Relaxed),
                bytes: progress.bytes.load(Ordering::Relaxed),
            };
            (now, progress.waits_for_disk.load(Ordering::Relaxed))
        };
        reporter.report_during(sample, || self.answer(&progress))
    }
}

impl RuntimeRequest {
    /// Does what the request asks for. Blocks for as long as the source's disk and ours do.
    ///
    /// # Errors
    /// A sentence. An error of the source is part of a [`RuntimeOffer`] instead.
    pub fn answer(&self, progress: &Progress) -> Result<RuntimeReply, String> {
        let cache = Cache::of(&self.state);
        let locked = cache.lock().map_err(|error| error.to_string())?;
        let service = &self.service;
        let written = match &self.operation {
            RuntimeOperation::Materialize {
                source,
                keep,
                user,
                program,
            } => {
                let mut warnings = Vec::new();
                let made = Source::read_as_service(source, user.as_deref()).and_then(|source| {
                    materialize_and_verify(&locked, service, &source, progress, &mut warnings)
                });
                let mut offer = offer(&locked, service, made, warnings);
                allow_user(&locked, service, &mut offer, user.as_deref());
                if let (Ok(made), Some(program)) = (&offer.source, program)
                    && let Err(error) = preflight::check(&program.expand_runtime(&cache.path(made)))
                {
                    offer.source = Err(SourceError::NotStartable(format!(
                        "cannot start it from its runtime: {}",
                        with_source_path(&error.cause, &cache.path(made), source)
                    )));
                }
                let keep = usize::try_from(*keep).unwrap_or(1);
                match gc::collect(&locked, &self.state, &|_| keep) {
                    Ok(outcome) => offer.warnings.extend(outcome.warnings()),
                    Err(error) => offer.warnings.push(format!(
                        "cannot remove runtimes that are no longer needed: {error}"
                    )),
                }
                return Ok(RuntimeReply::Offer(offer));
            }
            RuntimeOperation::Fallback { error, user } => {
                let mut offer = offer(&locked, service, Err(error.clone()), Vec::new());
                allow_user(&locked, service, &mut offer, user.as_deref());
                return Ok(RuntimeReply::Offer(offer));
            }
            RuntimeOperation::IsStale {
                source,
                running,
                user,
            } => {
                let source = Source::read_as_service(source, user.as_deref());
                let content = source_or_import(&locked, service, source, progress)?;
                return Ok(RuntimeReply::Stale(content != *running));
            }
            RuntimeOperation::FingerprintSource { source, user } => {
                let source = Source::read_as_service(source, user.as_deref());
                return source_or_import(&locked, service, source, progress)
                    .map(RuntimeReply::SourceFingerprint);
            }
            RuntimeOperation::MarkGood(fingerprint) => {
                locked.change(service, |record| record.mark_good(fingerprint))
            }
            RuntimeOperation::MarkBad(bad) => {
                locked.change(service, |record| record.mark_bad(bad.clone()))
            }
        };
        written
            .map(|()| RuntimeReply::Done)
            .map_err(|error| error.to_string())
    }
}

/// The fingerprint of the source, or that of the imported runtime where the source cannot be read.
fn source_or_import(
    locked: &LockedCache<'_>,
    service: &str,
    source: Result<Source, SourceError>,
    progress: &Progress,
) -> Result<Fingerprint, String> {
    let imported = |error| locked.cache.record(service).imported.ok_or(error);
    let content = source.and_then(|source| locked.fingerprint_of(service, &source, progress));
    content
        .or_else(imported)
        .map_err(|error: SourceError| error.to_string())
}

/// Collects the runtimes that the next instance can use. `made` is the outcome for the source. Accesses only our own disk.
fn offer(
    locked: &LockedCache<'_>,
    service: &str,
    made: Result<Fingerprint, SourceError>,
    mut warnings: Vec<String>,
) -> RuntimeOffer {
    let record = locked.cache.record(service);
    if record.lost {
        let file = record::path(&locked.cache.services(), service);
        warnings.push(format!(
            "the record of its runtimes cannot be read ({}): no runtime is removed until the service is ready again",
            file.display()
        ));
    }
    let source = made.or_else(|error| {
        let imported = record.imported.as_ref();
        let imported = imported.filter(|one| is_usable(locked, one, &mut warnings));
        let imported = imported.cloned().ok_or_else(|| error.clone())?;
        warnings.push(format!(
            "the runtime of `stayd runtime import` is used, because stayd itself {error}"
        ));
        Ok(imported)
    });
    let from_source = source.as_ref().ok();
    // A runtime that was never good is better than none, but not better than another one that was never good.
    let last_resort = record.used.iter().filter(|_| source.is_err());
    let mut others = record.usable_good().chain(last_resort);
    let fallback =
        others.find(|one| from_source == Some(*one) || is_usable(locked, one, &mut warnings));
    RuntimeOffer {
        good: from_source.is_some_and(|one| record.good.contains(one)),
        refused: from_source.filter(|one| record.is_refused(one)).cloned(),
        fallback: fallback.cloned(),
        source,
        warnings,
    }
}

/// Whether a runtime exists and nothing in it was altered. Adds a warning if it is not used because it was altered.
fn is_usable(locked: &LockedCache<'_>, one: &Fingerprint, warnings: &mut Vec<String>) -> bool {
    match locked.verify(one) {
        Ok(difference) if difference.altered.is_empty() => true,
        Ok(difference) => {
            warnings.push(format!(
                "the runtime {one} was altered ({}) and is not used",
                list_paths(&difference.altered)
            ));
            false
        }
        Err(_) => false,
    }
}

/// Notes the user of the service. Where that is not the user of stayd, lets other users pass through the folders above the
/// runtimes, and this user into the two that may be used.
fn allow_user(
    locked: &LockedCache<'_>,
    service: &str,
    offer: &mut RuntimeOffer,
    user: Option<&str>,
) {
    let user = match user.map(run_as::look_up) {
        None => None,
        Some(Ok(found)) => run_as::to_change_to(found),
        // A user that does not exist, or that stayd cannot change to, blocks the service when it starts.
        Some(Err(_)) => return,
    };
    let uid = user.as_ref().map(|user| user.uid);
    let cache = locked.cache;
    let noted = locked.change(service, |record| record.uid = uid);
    let mut used = offer.source.iter().chain(&offer.fallback);
    let allowed = user.map_or(Ok(()), |user| {
        cache.allow_search()?;
        used.try_for_each(|one| cache.allow_search_in_copy(one, user.gid))
    });
    if let Err(error) = noted {
        offer.warnings.push(error.to_string());
    }
    if let Err(error) = allowed {
        offer.warnings.push(format!(
            "cannot give its user access to the folder of its runtime: {error}"
        ));
    }
}

/// Replaces the path of the copy by that of the source in a sentence. The user must fix the source: nothing may be written
/// into a copy, and an altered copy is made again.
#[must_use]
pub fn with_source_path(sentence: &str, copy: &Path, source: &Path) -> String {
    sentence.replace(&copy.display().to_string(), &source.display().to_string())
}

/// Materializes the source. If the runtime exists already and was altered, it is copied again.
fn materialize_and_verify(
    locked: &LockedCache<'_>,
    service: &str,
    source: &Source,
    progress: &Progress,
    warnings: &mut Vec<String>,
) -> Result<Fingerprint, SourceError> {
    let made = locked.materialize(service, source, false, progress)?;
    let difference = locked.verify(&made.fingerprint)?;
    if difference.altered.is_empty() {
        let added = difference.added_without_bytecode();
        if !added.is_empty() {
            warnings.push(format!(
                "the runtime {} contains files that were not copied ({}): they stay, and will not be in the next runtime; \
                 let the service write elsewhere",
                made.fingerprint,
                list_paths(&added)
            ));
        }
        return Ok(made.fingerprint);
    }
    warnings.push(format!(
        "the runtime {} was altered ({}) and is copied again",
        made.fingerprint,
        list_paths(&difference.altered)
    ));
    let anew = locked.materialize(service, source, true, progress)?;
    Ok(anew.fingerprint)
}
