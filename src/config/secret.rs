//! Resolves references to values outside the configuration: `${NAME}`, `${file:PATH}` and `file:PATH`.
//!
//! References are replaced last and separately, so that a value is never parsed as syntax and never appears in an error.

use super::text_file::{self, OwnerCheck};
use super::value::{ValueError, shorten};
use std::path::Path;

/// The prefix of a value that is read from a file.
const FILE: &str = "file:";

/// The sources of referenced values.
pub(super) struct Secrets<'a> {
    /// The environment of stayd.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// The folder that relative paths start from.
    pub(super) folder: &'a Path,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// Literal text.
    Plain(&'t str),
    /// The inside of `${…}`.
    Reference(&'t str),
}

/// Splits a text into literal parts and references.
///
/// # Errors
/// A `${` is not closed, or contains neither a name nor `file:PATH`.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, ValueError> {
    const HINT: &str = "write `${NAME}` or `${file:PATH}`; a value that contains a literal `${` can be set in an env_file";
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((plain, after_open)) = rest.split_once("${") {
        let Some((inside, after)) = after_open.split_once('}') else {
            return Err(ValueError::new("a `${` is not closed", HINT));
        };
        if !is_reference(inside) {
            return Err(ValueError::new(
                "a `${…}` contains neither a variable name nor `file:PATH`",
                HINT,
            ));
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

/// The names of the variables that a text refers to; none if it is not well formed.
pub(super) fn variables(text: &str) -> Vec<String> {
    let pieces = pieces(text).unwrap_or_default().into_iter();
    let names = pieces.filter_map(|piece| match piece {
        Piece::Reference(inside) if is_variable(inside) => Some(inside.to_owned()),
        Piece::Reference(_) | Piece::Plain(_) => None,
    });
    names.collect()
}

/// Whether the inside of `${…}` names a variable or a file.
fn is_reference(inside: &str) -> bool {
    match inside.strip_prefix(FILE) {
        Some(path) => !path.is_empty(),
        None => is_variable(inside),
    }
}

/// Whether `name` is a valid variable name: `[A-Za-z_][A-Za-z0-9_]*`.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a text contains a reference.
pub(super) fn has_reference(text: &str) -> bool {
    text.split("${").skip(1).any(|rest| {
        rest.split_once('}')
            .is_some_and(|(name, _)| is_reference(name))
    })
}

/// Whether a text consists only of references, or is empty: it contains no literal secret.
pub(super) fn only_references(text: &str) -> bool {
    pieces(text).is_ok_and(|all| all.iter().all(|piece| matches!(piece, Piece::Reference(_))))
}

/// The position of the first of the characters `wanted` outside of every `${…}`.
pub(super) fn find_outside(text: &str, wanted: &[char]) -> Option<usize> {
    chars_outside(text)
        .find(|(_, c)| wanted.contains(c))
        .map(|(at, _)| at)
}

/// The position of the last `wanted` outside of every `${…}`.
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
    /// The value of a text that is a single reference: `file:PATH`, or one `${…}`; none for any other text.
    pub(super) fn whole(&self, text: &str) -> Result<Option<String>, ValueError> {
        if let Some(path) = text.strip_prefix(FILE) {
            return self.file(path).map(Some);
        }
        match pieces(text)?.as_slice() {
            [Piece::Reference(inside)] => self.look_up(inside).map(Some),
            _ => Ok(None),
        }
    }

    /// The text with every reference replaced; a text `file:PATH` becomes the content of the file.
    pub(super) fn value(&self, text: &str) -> Result<String, ValueError> {
        match self.whole(text)? {
            Some(value) => Ok(value),
            None => self.fill(text, |plain| Ok(plain.to_owned())),
        }
    }

    /// The text with every reference replaced by its value, and `plain` applied to the literal parts.
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
            let cause = format!("the environment variable `{}` is not set", shorten(inside));
            ValueError::new(cause, "set it where stayd is started (a unit or plist does not get the environment of your shell), or use `file:PATH`")
        })?;
        no_nul(value, inside)
    }

    /// The content of a file without its last line break.
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
        let cause = format!(
            "the value of `{}` contains a NUL character",
            shorten(origin)
        );
        return Err(ValueError::new(cause, "remove the NUL character"));
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
    fn the_value_of_a_reference_is_not_parsed_again() {
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
    fn a_missing_variable_is_named_without_any_value() {
        let secrets = Secrets {
            env: &env,
            folder: Path::new("/"),
        };
        let error = secrets
            .value("${PW}${NOPE}")
            .expect_err("unset")
            .to_string();
        assert!(
            error.starts_with("the environment variable `NOPE` is not set; "),
            "{error}"
        );
        assert!(!error.contains("p@ss"), "{error}");
    }

    #[test]
    fn a_secret_file_is_read_without_its_last_line_break() {
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
    fn an_incomplete_reference_is_an_error() {
        for text in ["${", "a${b", "${}", "${a-b}", "${file:}"] {
            assert!(pieces(text).is_err(), "{text}");
        }
    }

    #[test]
    fn syntax_is_searched_outside_of_references() {
        assert_eq!(find_outside("${file:/x@y}@h", &['@']), Some(12));
        assert_eq!(rfind_outside("a@b${x@}@c${@}", '@'), Some(8));
        assert!(only_references("${A}${B}") && only_references("") && !only_references("${A}b"));
    }
}
