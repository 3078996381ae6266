//! Names of instances and services, and splitting of command lines without a shell.

use std::fmt;

/// The longest name of an instance or service in bytes: a name is part of socket paths, whose length is limited.
const NAME_BYTES_MAX: usize = 64;

/// Whether `text` is a valid name of an instance or a service.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && !text.starts_with(['-', '.'])
        && text.chars().all(safe)
}

/// Makes a valid name of `text`: characters that are not allowed become `-`. Returns `stayd` if nothing is left.
#[must_use]
pub fn name_from(text: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' || c == '.' {
            c
        } else {
            '-'
        }
    };
    let name: String = text.chars().map(safe).collect();
    let name: String = name
        .trim_start_matches(['-', '.'])
        .chars()
        .take(NAME_BYTES_MAX)
        .collect();
    let name = name.trim_end_matches('-');
    if name.is_empty() {
        "stayd".into()
    } else {
        name.to_owned()
    }
}

/// The reason why a command line cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitError {
    /// A quote is not closed.
    OpenQuote(char),
    /// The text ends with a single backslash.
    TrailingBackslash,
}

impl fmt::Display for SplitError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenQuote(quote) => write!(out, "the quote {quote} is not closed"),
            Self::TrailingBackslash => out.write_str("it ends with a single backslash"),
        }
    }
}

/// Splits a command line as a POSIX shell splits words: blanks, quotes and backslashes. Variables, patterns and operators
/// have no special meaning.
///
/// # Errors
/// A quote is not closed, or the text ends with a backslash.
pub fn split_words(text: &str) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => single_quoted(&mut rest, word.get_or_insert_default())?,
            '"' => double_quoted(&mut rest, word.get_or_insert_default())?,
            '\\' => {
                let next = rest.next().ok_or(SplitError::TrailingBackslash)?;
                word.get_or_insert_default().push(next);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single_quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), SplitError> {
    for c in rest.by_ref() {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err(SplitError::OpenQuote('\''))
}

/// Within double quotes a backslash escapes only characters that have a special meaning there.
fn double_quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), SplitError> {
    let open = SplitError::OpenQuote('"');
    while let Some(c) = rest.next() {
        match c {
            '"' => return Ok(()),
            '\\' => {
                let next = rest.next().ok_or(open)?;
                if !matches!(next, '"' | '\\' | '$' | '`') {
                    word.push('\\');
                }
                word.push(next);
            }
            c => word.push(c),
        }
    }
    Err(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_names_are_safe_in_paths() {
        for good in ["db", "a.b-c_d", "_x", "9"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".db",
            "-db",
            "a/b",
            "a b",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn any_text_is_converted_to_a_valid_name() {
        assert_eq!(name_from("my project"), "my-project");
        assert_eq!(name_from(".hidden"), "hidden");
        assert_eq!(name_from("…"), "stayd");
        assert!(is_name(&name_from(&"é".repeat(300))));
        assert!(is_name(&name_from(&"-a".repeat(300))));
    }

    #[test]
    fn words_are_split_without_a_shell() {
        let split = |text| split_words(text).expect(text);
        assert_eq!(split(r#"a 'b c' "d\"e" f\ g"#), ["a", "b c", "d\"e", "f g"]);
        assert_eq!(split(r#"a"b"'c' '' "\n""#), ["abc", "", "\\n"]);
        assert_eq!(split("a; b | c $X *"), ["a;", "b", "|", "c", "$X", "*"]);
        assert!(split("  ").is_empty());
    }

    #[test]
    fn an_unclosed_quote_or_a_trailing_backslash_is_an_error() {
        assert_eq!(split_words("a 'b"), Err(SplitError::OpenQuote('\'')));
        assert_eq!(split_words("a \"b\\"), Err(SplitError::OpenQuote('"')));
        assert_eq!(split_words("a\\"), Err(SplitError::TrailingBackslash));
    }
}
