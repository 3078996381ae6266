//! Expands the patterns of `include`: `*` and `?` within the components of a path.

use std::io;
use std::path::{Component, Path, PathBuf};

/// The most entries of a folder that are searched; a larger folder is an error.
const ENTRIES_MAX: usize = 10_000;

/// The files that match, sorted. A path without `*` and `?` is returned as it is, whether it exists or not.
///
/// As in a shell, `*` and `?` do not match a leading dot.
///
/// # Errors
/// An existing folder cannot be listed, or has too many entries.
pub(super) fn expand(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![folder.to_owned()];
    for part in Path::new(pattern).components() {
        found = match part {
            Component::Normal(name) if name.to_string_lossy().contains(['*', '?']) => {
                expand_part(&found, &name.to_string_lossy())?
            }
            part @ (Component::Normal(_)
            | Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir) => found.into_iter().map(|path| path.join(part)).collect(),
        };
    }
    Ok(found)
}

/// The entries of `folders` whose names match `pattern`.
fn expand_part(folders: &[PathBuf], pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in folders {
        let entries = match folder.read_dir() {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for (index, entry) in entries.enumerate() {
            if index >= ENTRIES_MAX {
                return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries")));
            }
            names.push(entry?.file_name());
        }
        names.sort();
        let matching = names
            .iter()
            .filter(|name| matches(pattern, &name.to_string_lossy()));
        found.extend(matching.map(|name| folder.join(name)));
    }
    Ok(found)
}

/// Whether `name` matches `pattern`. The time is at most the product of the two lengths.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let name: Vec<char> = name.chars().collect();
    // reachable[n]: the pattern so far matches the first n characters of the name.
    let mut reachable = vec![false; name.len() + 1];
    reachable[0] = true;
    for p in pattern.chars() {
        let mut next = vec![false; name.len() + 1];
        next[0] = p == '*' && reachable[0];
        for (at, c) in name.iter().enumerate() {
            next[at + 1] = match p {
                '*' => reachable[at + 1] || next[at],
                '?' => reachable[at],
                p => reachable[at] && p == *c,
            };
        }
        reachable = next;
    }
    reachable[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        assert!(matches("*.toml", "a.toml"));
        assert!(matches("a?c*", "abc"));
        assert!(!matches("*.toml", "a.toml~"));
        assert!(!matches("*", ".hidden"));
        assert!(matches(".*", ".hidden"));
        assert!(!matches("?", ""));
        assert!(!matches(&"*a".repeat(500), &"b".repeat(500)));
    }

    #[test]
    fn files_are_sorted_and_a_missing_folder_matches_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        for name in ["b.toml", "a.toml", "c.txt"] {
            std::fs::write(folder.path().join(name), "").expect("write");
        }
        let names = |pattern| -> Vec<_> {
            let found = expand(folder.path(), pattern).expect(pattern);
            found
                .iter()
                .map(|path| path.file_name().expect("name").to_owned())
                .collect()
        };
        assert_eq!(names("*.toml"), ["a.toml", "b.toml"]);
        assert_eq!(names("nowhere/*.toml"), [""; 0]);
        assert_eq!(names("plain.toml"), ["plain.toml"]);
    }
}
