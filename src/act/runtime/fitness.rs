//! What a source must be to be copied.

use super::copy::Source;
use super::listing::Listing;
use super::text::shown;
use super::trouble::Trouble;
use super::walk;
use std::path::Path;

/// There is something in it, and everything in it stays in it.
pub(super) fn is_a_runtime(seen: &Listing, path: &Path) -> Result<(), Trouble> {
    if seen.size().0 == 0 {
        return Err(Trouble::Gone(format!(
            "cannot copy {}: there is no file in it; its disk may not be mounted",
            path.display()
        )));
    }
    match seen.link_that_leaves() {
        None => Ok(()),
        Some((link, target)) => Err(Trouble::Refused(format!(
            "cannot copy {}: the link leads out of the runtime or in a circle, to {}; put what it means into the source, or make it \
             relative",
            shown(&path.join(link)),
            shown(target)
        ))),
    }
}

/// It is as it was before it was copied.
pub(super) fn has_not_changed(source: Source<'_>, before: &Listing) -> Result<(), Trouble> {
    if walk::walk(source.root, source.path)?.looks_like(before) {
        return Ok(());
    }
    Err(Trouble::Unsteady(format!(
        "cannot copy {}: it changes while it is copied",
        source.path.display()
    )))
}

/// The copies are not in what is copied: each would be in the next one.
pub(super) fn lies_apart(source: &Path, copies: &Path) -> Result<(), Trouble> {
    let places = source.canonicalize().and_then(|source| {
        let copies = copies.canonicalize()?;
        Ok(copies.starts_with(source))
    });
    // Where that cannot be seen the copy fails by itself, if it does.
    if !places.unwrap_or(false) {
        return Ok(());
    }
    Err(Trouble::Refused(format!(
        "cannot copy {}: the copies are kept in it ({}); keep the state elsewhere (--state-dir), or let `source` name the \
         runtime alone",
        shown(source),
        shown(copies)
    )))
}
