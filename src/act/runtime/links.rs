//! Links that lead out of a tree.

use super::listing::{Kind, Listing};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// More links on one way than this are a circle (path_resolution(7) says 40).
const LINKS_MAX: u32 = 40;

impl Listing {
    /// The first link that leads out of the tree, and where to. A copy of it would lead to the source's surroundings, or
    /// to nothing.
    #[must_use]
    pub fn link_that_leaves(&self) -> Option<(&Path, &Path)> {
        let links: BTreeMap<&Path, &Path> = self
            .entries
            .iter()
            .filter_map(|entry| match &entry.kind {
                Kind::Link(target) => Some((entry.path.as_path(), target.as_path())),
                Kind::Folder | Kind::File { .. } => None,
            })
            .collect();
        let leaves = |(link, target): &(&Path, &Path)| {
            let folder = link.parent().unwrap_or(Path::new(""));
            resolve(folder, target, &links, &mut 0).is_none()
        };
        let mut found = links.iter().map(|(&link, &target)| (link, target));
        found.find(leaves)
    }
}

/// Where `target` leads from the real folder `from`, as the kernel would walk it; none where that is outside, or a circle.
fn resolve(
    from: &Path,
    target: &Path,
    links: &BTreeMap<&Path, &Path>,
    followed: &mut u32,
) -> Option<PathBuf> {
    let mut at = from.to_owned();
    for part in target.components() {
        match part {
            Component::RootDir | Component::Prefix(_) => return None,
            Component::CurDir => {}
            Component::ParentDir => {
                if !at.pop() {
                    return None;
                }
            }
            Component::Normal(name) => {
                let next = at.join(name);
                at = match links.get(next.as_path()) {
                    None => next,
                    Some(target) => {
                        *followed += 1;
                        if *followed > LINKS_MAX {
                            return None;
                        }
                        resolve(&at, target, links, followed)?
                    }
                };
            }
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::super::listing::Entry;
    use super::super::listing::tests::link;
    use super::*;

    fn leaves(entries: Vec<Entry>) -> Option<String> {
        let listing = Listing::of(entries);
        let (link, _) = listing.link_that_leaves()?;
        Some(link.display().to_string())
    }

    #[test]
    fn links_are_followed_as_the_kernel_would() {
        assert_eq!(
            leaves(vec![link("a/l", "../b"), link("l", "./gone/x")]),
            None
        );
        assert_eq!(
            leaves(vec![link("l", "/usr/bin/python3")]),
            Some("l".into())
        );
        assert_eq!(leaves(vec![link("a/l", "../../b")]), Some("a/l".into()));
        // by its text alone it stays inside; the kernel goes through `d` to the top first
        let through = vec![link("a/b/d", "../../x"), link("a/b/l", "d/../../etc")];
        assert_eq!(leaves(through), Some("a/b/l".into()));
        assert_eq!(
            leaves(vec![link("l", "m"), link("m", "l")]),
            Some("l".into())
        );
    }
}
