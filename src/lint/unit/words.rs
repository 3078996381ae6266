//! Splits values into words: quotation marks, escapes, and the prefixes of a program (systemd.service(5), systemd.syntax(7)).

use crate::lint::text::template_placeholder;

/// A word, and whether a part of it was quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Its text, without quotation marks.
    pub(super) text: String,
    /// Whether it had quotation marks.
    pub(super) is_quoted: bool,
}

/// Splits a value at blanks.
///
/// # Errors
/// A quotation mark is not closed.
pub(super) fn split(value: &str) -> Result<Vec<Word>, ()> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        if quote.is_none() && c.is_ascii_whitespace() {
            words.extend(word.take());
            continue;
        }
        let current = word.get_or_insert_with(|| Word {
            text: String::new(),
            is_quoted: false,
        });
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            // A quotation mark inside a word is an ordinary character.
            ('"' | '\'', None) if current.text.is_empty() || current.text.ends_with('=') => {
                quote = Some(c);
                current.is_quoted = true;
            }
            ('\\', _) => match characters.next() {
                Some(escaped @ ('"' | '\'' | '\\' | ' ')) => current.text.push(escaped),
                Some('n') => current.text.push('\n'),
                Some('t') => current.text.push('\t'),
                Some('s') => current.text.push(' '),
                Some(other) => current.text.extend(['\\', other]),
                None => {}
            },
            (c, _) => current.text.push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { Err(()) } else { Ok(words) }
}

/// A command of an `Exec…=` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExecCommand {
    /// The program and its arguments.
    pub(super) words: Vec<Word>,
    /// Whether `-` makes systemd ignore its failure.
    pub(super) ignores_failure: bool,
}

impl ExecCommand {
    /// The texts of the words.
    pub(super) fn texts(&self) -> Vec<String> {
        self.words.iter().map(|word| word.text.clone()).collect()
    }
}

/// The commands of an `Exec…=` line; a `;` of its own separates them.
///
/// # Errors
/// A quotation mark is not closed.
pub(super) fn commands(value: &str) -> Result<Vec<ExecCommand>, ()> {
    let words = split(value)?;
    let parts = words.split(|word| word.text == ";" && !word.is_quoted);
    Ok(parts.filter(|part| !part.is_empty()).map(command).collect())
}

fn command(words: &[Word]) -> ExecCommand {
    let mut words = words.to_vec();
    let program = &mut words[0].text;
    // `@prefix@/bin/x` is a placeholder, not the prefix `@`.
    if template_placeholder(program).is_some() {
        return ExecCommand {
            words,
            ignores_failure: false,
        };
    }
    let bare = program.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let prefix = program[..program.len() - bare.len()].to_owned();
    *program = bare.to_owned();
    // After `@`, the second word is the name that the program sees.
    if prefix.contains('@') && words.len() > 1 {
        words.remove(1);
    }
    if words[0].text.is_empty() && words.len() > 1 {
        words.remove(0);
    }
    ExecCommand {
        words,
        ignores_failure: prefix.contains('-'),
    }
}

#[cfg(test)]
mod tests {
    use super::{commands, split};

    #[test]
    fn values_are_split_as_systemd_does() {
        let texts = |value| {
            let words = split(value).expect("closed");
            words.into_iter().map(|word| word.text).collect::<Vec<_>>()
        };
        assert_eq!(
            texts("a 'b c' \"d 'e'\" f\\ g"),
            ["a", "b c", "d 'e'", "f g"]
        );
        assert_eq!(texts("A=\"b c\" it's"), ["A=b c", "it's"]);
        assert_eq!(texts("''"), [""]);
        assert!(split("a 'b").is_err() && split("\"").is_err());
    }

    #[test]
    fn prefixes_are_removed_and_commands_separated() {
        let found = commands("-@/bin/x y z ; +/bin/w \";\"").expect("closed");
        let texts: Vec<_> = found.iter().map(super::ExecCommand::texts).collect();
        assert_eq!(texts, [vec!["/bin/x", "z"], vec!["/bin/w", ";"]]);
        assert!(found[0].ignores_failure && !found[1].ignores_failure);
        assert!(commands("  ").expect("closed").is_empty());
        assert_eq!(commands("-").expect("closed")[0].texts(), [""]);
    }
}
