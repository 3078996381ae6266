//! `${NAME}`, `${file:PATH}` and `file:PATH`: values that stand elsewhere.
//!
//! They are filled in last, piece by piece, so that what they hold is never read as syntax
//! and never appears in an error.

use super::text_file::{self, OwnerCheck};
use super::value::{ValueError, shorten};
use std::path::Path;

/// Prefix of a value that is read from a file.
const FILE: &str = "file:";

/// Where values come from.
pub(super) struct Secrets<'a> {
    /// The environment of stayd.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// What relative paths are relative to.
    pub(super) folder: &'a Path,
}

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// As it stands.
    Plain(&'t str),
    /// The inside of `${…}`.
    Reference(&'t str),
}

/// Splits a text at its references.
///
/// # Errors
/// A `${` that is not closed, or holds neither a name nor `file:PATH`.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, ValueError> {
    const CURE: &str =
        "write `${NAME}` or `${file:PATH}`; text that only looks so can stand in an env_file";
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((plain, behind)) = rest.split_once("${") {
        let Some((inside, after)) = behind.split_once('}') else {
            return Err(ValueError::new("a `${` is not closed", CURE));
        };
        if !is_reference(inside) {
            return Err(ValueError::new("a `${…}` holds no name", CURE));
        }
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        pieces.push(Piece::Reference(inside));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Plain(rest));
    }
    Ok(pieces)
}

/// Whether the inside of `${…}` names a variable or a file.
fn is_reference(inside: &str) -> bool {
    match inside.strip_prefix(FILE) {
        Some(path) => !path.is_empty(),
        None => is_variable(inside),
    }
}

/// Whether a name of a variable: `[A-Za-z_][A-Za-z0-9_]*`.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a text holds a `${NAME}`.
pub(super) fn has_reference(text: &str) -> bool {
    text.split("${").skip(1).any(|rest| {
        rest.split_once('}')
            .is_some_and(|(name, _)| is_reference(name))
    })
}

/// Whether a text is nothing but references (or empty): no secret stands in it by itself.
pub(super) fn only_references(text: &str) -> bool {
    pieces(text).is_ok_and(|all| all.iter().all(|piece| matches!(piece, Piece::Reference(_))))
}

/// Where `wanted` first stands outside of every `${…}`.
pub(super) fn find_outside(text: &str, wanted: &[char]) -> Option<usize> {
    chars_outside(text)
        .find(|(_, c)| wanted.contains(c))
        .map(|(at, _)| at)
}

/// Where `wanted` last stands outside of every `${…}`.
pub(super) fn rfind_outside(text: &str, wanted: char) -> Option<usize> {
    chars_outside(text)
        .filter(|(_, c)| *c == wanted)
        .last()
        .map(|(at, _)| at)
}

fn chars_outside(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut inside = false;
    text.char_indices().filter(move |(at, c)| {
        if !inside && text[*at..].starts_with("${") {
            inside = true;
        }
        let keep = !inside;
        if *c == '}' {
            inside = false;
        }
        keep
    })
}

impl Secrets<'_> {
    /// The text's whole value where all of it stands elsewhere: `file:PATH`, or one `${…}` alone.
    pub(super) fn whole(&self, text: &str) -> Result<Option<String>, ValueError> {
        if let Some(path) = text.strip_prefix(FILE) {
            return self.file(path).map(Some);
        }
        match pieces(text)?.as_slice() {
            [Piece::Reference(inside)] => self.look_up(inside).map(Some),
            _ => Ok(None),
        }
    }

    /// The text with every reference filled in; `file:PATH` as a whole is the file's content.
    pub(super) fn value(&self, text: &str) -> Result<String, ValueError> {
        match self.whole(text)? {
            Some(value) => Ok(value),
            None => self.fill(text, |plain| Ok(plain.to_owned())),
        }
    }

    /// The text with every reference filled in as it is, and `plain` applied to what stands between.
    pub(super) fn fill(
        &self,
        text: &str,
        plain: impl Fn(&str) -> Result<String, ValueError>,
    ) -> Result<String, ValueError> {
        let mut filled = String::new();
        for piece in pieces(text)? {
            filled += &match piece {
                Piece::Plain(text) => plain(text)?,
                Piece::Reference(inside) => self.look_up(inside)?,
            };
        }
        Ok(filled)
    }

    fn look_up(&self, inside: &str) -> Result<String, ValueError> {
        if let Some(path) = inside.strip_prefix(FILE) {
            return self.file(path);
        }
        let value = (self.env)(inside).ok_or_else(|| {
            let cause = format!("the environment has no `{}`", shorten(inside));
            ValueError::new(cause, "set it where stayd is started (a unit or plist does not see your shell's), or use `file:PATH`")
        })?;
        no_nul(value, inside)
    }

    /// A file's content without its last line end.
    fn file(&self, path: &str) -> Result<String, ValueError> {
        let whole = text_file::read(&self.folder.join(path), OwnerCheck::Skip)
            .map_err(|error| error.within(&format!("the secret's file `{}`", shorten(path))))?;
        let value = whole.strip_suffix('\n').unwrap_or(&whole);
        let value = value.strip_suffix('\r').unwrap_or(value);
        no_nul(value.to_owned(), path)
    }
}

fn no_nul(value: String, origin: &str) -> Result<String, ValueError> {
    if value.contains('\0') {
        let cause = format!("what `{}` gives holds a NUL character", shorten(origin));
        return Err(ValueError::new(cause, "give it as plain text"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "PW").then(|| "p@ss/${PW}%41".to_owned())
    }

    #[test]
    fn what_a_reference_gives_is_not_read_again() {
        let secrets = Secrets {
            env: &env,
            folder: Path::new("/"),
        };
        assert_eq!(
            secrets.value("a ${PW} b").expect("value"),
            "a p@ss/${PW}%41 b"
        );
        assert_eq!(secrets.value("$PW $$ {x}").expect("value"), "$PW $$ {x}");
    }

    #[test]
    fn a_missing_variable_is_named_and_nothing_else() {
        let secrets = Secrets {
            env: &env,
            folder: Path::new("/"),
        };
        let error = secrets
            .value("${PW}${NOPE}")
            .expect_err("unset")
            .to_string();
        assert!(
            error.starts_with("the environment has no `NOPE`; "),
            "{error}"
        );
        assert!(!error.contains("p@ss"), "{error}");
    }

    #[test]
    fn a_file_is_read_without_its_last_newline() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("pw"), "geheim\n").expect("write");
        let secrets = Secrets {
            env: &env,
            folder: folder.path(),
        };
        assert_eq!(secrets.value("file:pw").expect("file"), "geheim");
        assert_eq!(secrets.value("x${file:pw}").expect("file"), "xgeheim");
        let error = secrets.value("file:nope").expect_err("missing").to_string();
        assert!(
            error.starts_with("the secret's file `nope`: no such file"),
            "{error}"
        );
    }

    #[test]
    fn a_half_reference_is_an_error() {
        for text in ["${", "a${b", "${}", "${a-b}", "${file:}"] {
            assert!(pieces(text).is_err(), "{text}");
        }
    }

    #[test]
    fn syntax_is_sought_outside_of_references() {
        assert_eq!(find_outside("${file:/x@y}@h", &['@']), Some(12));
        assert_eq!(rfind_outside("a@b${x@}@c${@}", '@'), Some(8));
        assert!(only_references("${A}${B}") && only_references("") && !only_references("${A}b"));
    }
}
