//! Reads the files of the repository, and separates code from comments, strings and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) struct Source {
    /// Relative to the repository, with slashes.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// A file for the test of a rule; it is not in the repository.
    pub(crate) fn example(path: &str, text: &str) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// The layer of a file below `src`: its first folder, or its own name for `src/config.rs`.
    pub(crate) fn layer(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// The code alone: comments, strings and `#[cfg(test)]` items are replaced by blanks, and line numbers stay the same.
    pub(crate) fn code(&self) -> String {
        without_tests(&blanked(&self.text))
    }
}

/// The root folder of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folders` whose name ends with one of `endings`, sorted by path.
pub(crate) fn below(folders: &[&str], endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), endings, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, endings: &[&str], found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, endings, found);
        } else if endings
            .iter()
            .any(|end| path.to_str().unwrap().ends_with(end))
        {
            found.push(Source {
                path: path.strip_prefix(root()).unwrap().to_str().unwrap().into(),
                text: fs::read_to_string(&path).unwrap(),
            });
        }
    }
}

/// `text` with comments, strings and character literals replaced by blanks.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => find(bytes, at, b"*/") + 2,
            b'r' if raw_string_hashes(bytes, at).is_some() => {
                let hashes = raw_string_hashes(bytes, at).unwrap();
                let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
                find(bytes, at + hashes + 2, &close) + close.len()
            }
            b'"' => quoted_end(bytes, at),
            b'\'' => character_end(bytes, at),
            _ => at,
        };
        let end = end.min(bytes.len());
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    bytes[from.min(bytes.len())..]
        .windows(what.len())
        .position(|window| window == what)
        .map_or(bytes.len(), |offset| from + offset)
}

/// The number of hashes of a raw string that begins at `at` (`r"`, `r#"` …); none if the `r` is the end of a longer word.
fn raw_string_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    if at > 0
        && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
        && bytes[at - 1] != b'b'
    {
        return None;
    }
    let hashes = bytes[at + 1..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn quoted_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of the character literal at `at`; `at` itself if it is a lifetime.
fn character_end(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at + 1) {
        Some(b'\\') => find(bytes, at + 3, b"'") + 1,
        Some(first) => {
            let width = match first {
                0..=0x7f => 1,
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            let close = at + 1 + width;
            if bytes.get(close) == Some(&b'\'') {
                close + 1
            } else {
                at
            }
        }
        None => at,
    }
}

/// Replaces each item after `#[cfg(test)]` by blanks, up to its closing brace or semicolon.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let end = item_end(&out, start);
        let blank: String = out[start..end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        out.replace_range(start..end, &blank);
    }
    out
}

fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_u32;
    for (offset, byte) in code[start..].bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return start + offset + 1,
            b'}' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return start + offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// The line number of a byte offset, from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// The offsets at which `word` occurs in `code` as a whole word or path.
pub(crate) fn places_of(code: &str, word: &str) -> Vec<usize> {
    let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .map(|(offset, _)| offset)
        .filter(|offset| !code[..*offset].ends_with(part_of_a_word))
        .filter(|offset| {
            word.ends_with(':') || !code[offset + word.len()..].starts_with(part_of_a_word)
        })
        .collect()
}

#[test]
fn comments_strings_and_tests_are_not_code() {
    let source = Source::example(
        "src/x.rs",
        "fn a<'a>() { let b = \"unsafe \\\" x\"; let c = '\"'; } // unsafe\n/* unsafe */ let d = r#\"unsafe\"#;\n\
         #[cfg(test)]\nmod tests { fn e() { unsafe {} } }\nfn f() {}\n",
    );
    let code = source.code();
    assert!(!code.contains("unsafe"), "{code}");
    assert!(code.contains("fn a<'a>()") && code.contains("let c =") && code.contains("fn f() {}"));
    assert_eq!(code.lines().count(), source.text.lines().count());
}

#[test]
fn only_whole_words_are_found() {
    assert_eq!(places_of("unsafe_code unsafe {", "unsafe"), [12]);
    assert_eq!(places_of("mycrate::x crate::x", "crate::"), [11]);
}
