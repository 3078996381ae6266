//! Splits a script for a POSIX shell into its commands, as far as the checks need it (POSIX.1-2017, Shell Command Language, 2).

/// The commands of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// The words of each simple command, without redirections.
    pub(super) commands: Vec<Vec<String>>,
    /// Whether one of them is a part of a pipeline.
    pub(super) has_pipe: bool,
    /// Whether the last command runs in the background.
    pub(super) ends_in_background: bool,
    /// Whether it has a loop or a branch, so that the last command says little about it.
    pub(super) is_compound: bool,
}

/// The words by which a shell recognizes a compound command.
const KEYWORDS: [&str; 14] = [
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "{",
    "}",
];

/// Splits `text`.
pub(super) fn parse(text: &str) -> Script {
    let mut reader = Reader::default();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if reader.in_quotes(c, &mut characters) {
            continue;
        }
        match c {
            ' ' | '\t' | '\r' => reader.end_word(),
            '\n' | ';' => reader.end_command(false),
            '#' if !reader.in_word => while characters.next_if(|c| *c != '\n').is_some() {},
            '|' => {
                let is_or = characters.next_if_eq(&'|').is_some();
                reader.script.has_pipe |= !is_or;
                reader.end_command(false);
            }
            '&' if reader.after_redirection => reader.push(c),
            '&' if characters.peek() == Some(&'>') => reader.end_word(),
            '&' => {
                let is_and = characters.next_if_eq(&'&').is_some();
                reader.end_command(!is_and);
            }
            '<' | '>' => reader.redirection(),
            '(' | ')' => reader.end_command(false),
            _ => reader.push(c),
        }
    }
    reader.end_command(false);
    reader.script
}

#[derive(Default)]
struct Reader {
    script: Script,
    words: Vec<String>,
    word: String,
    in_word: bool,
    quote: Option<char>,
    /// The depth of `$(…)`, which counts as a part of the word.
    depth: usize,
    /// The next word is the target of a redirection.
    skip_word: bool,
    /// The last character was `<` or `>`.
    after_redirection: bool,
}

impl Reader {
    /// Handles a character that is quoted or begins a quotation; false if it is an ordinary one.
    fn in_quotes(&mut self, c: char, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> bool {
        if let Some(quote) = self.quote {
            if c == quote {
                self.quote = None;
                // A backquote stays in the word: the word is not literal.
                if quote == '`' {
                    self.word.push(c);
                }
            } else if c == '\\' && quote == '"' {
                self.word.extend(rest.next());
            } else {
                self.word.push(c);
            }
            return true;
        }
        match c {
            '\'' | '"' | '`' => {
                self.quote = Some(c);
                self.in_word = true;
                if c == '`' {
                    self.word.push(c);
                }
            }
            '\\' => match rest.next() {
                Some('\n') | None => {}
                Some(escaped) => self.push(escaped),
            },
            '$' if rest.peek() == Some(&'(') => {
                rest.next();
                self.depth += 1;
                self.push(c);
                self.push('(');
            }
            '(' if self.depth > 0 => {
                self.depth += 1;
                self.push(c);
            }
            ')' if self.depth > 0 => {
                self.depth -= 1;
                self.push(c);
            }
            _ if self.depth > 0 => self.push(c),
            _ => return false,
        }
        true
    }

    fn push(&mut self, c: char) {
        self.after_redirection = false;
        self.in_word = true;
        self.word.push(c);
    }

    fn redirection(&mut self) {
        let is_descriptor = !self.word.is_empty() && self.word.chars().all(|c| c.is_ascii_digit());
        if is_descriptor {
            self.word.clear();
            self.in_word = false;
        }
        self.end_word();
        self.skip_word = true;
        self.after_redirection = true;
    }

    fn end_word(&mut self) {
        self.after_redirection = false;
        if !self.in_word {
            return;
        }
        let word = std::mem::take(&mut self.word);
        self.in_word = false;
        if std::mem::take(&mut self.skip_word) {
            return;
        }
        if self.words.is_empty() && KEYWORDS.contains(&word.as_str()) {
            self.script.is_compound = true;
        } else {
            self.words.push(word);
        }
    }

    fn end_command(&mut self, in_background: bool) {
        self.end_word();
        self.skip_word = false;
        if !self.words.is_empty() {
            self.script.commands.push(std::mem::take(&mut self.words));
            self.script.ends_in_background = in_background;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn commands(text: &str) -> Vec<String> {
        let script = parse(text);
        script
            .commands
            .iter()
            .map(|words| words.join("|"))
            .collect()
    }

    #[test]
    fn commands_are_split_at_operators_and_not_in_quotations() {
        assert_eq!(
            commands("cd /a && exec ./b --c 'd; e'"),
            ["cd|/a", "exec|./b|--c|d; e"]
        );
        assert_eq!(commands("a > /x 2>&1 < y; b &>/dev/null"), ["a", "b"]);
        assert_eq!(
            commands("exec $(which x) --y \"$A B\" # z; w"),
            ["exec|$(which x)|--y|$A B"]
        );
        assert_eq!(commands("a | b\nc &"), ["a", "b", "c"]);
        assert!(parse("a | b").has_pipe && !parse("a || b").has_pipe);
        assert!(parse("a; b &").ends_in_background && !parse("a & b").ends_in_background);
        assert!(!parse("a >&2").ends_in_background);
        assert!(parse("while true; do a; done").is_compound && !parse("echo if").is_compound);
        assert_eq!(commands("'unclosed \\"), ["unclosed \\"]);
        assert_eq!(commands("$((("), ["$((("]);
    }
}
