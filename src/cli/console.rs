//! Writes to stdout and stderr: plain text in pipes, colors on a terminal, JSON on request.
//!
//! Most text that is printed contains text from outside: names, command lines, answers of services. It is escaped here, at the
//! only place where the verbs can print, so that none of it can execute control sequences or forge a line.

use super::exit::{Exit, Failure};
use crate::sys::terminal::{escape, escape_json, escape_output, window_rows};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// The rows of a terminal that does not report its size.
const ROWS_DEFAULT: usize = 24;

/// What the color of a word conveys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// All is well.
    Good,
    /// Needs attention.
    Warning,
    /// Broken.
    Bad,
    /// Less important than the rest.
    Dim,
    /// More important than the rest.
    Bold,
}

impl Style {
    /// Its SGR parameter (ECMA-48, 8.3.117).
    const fn sgr(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }
}

/// stdout, and whether it takes colors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Console {
    color: bool,
    terminal: bool,
}

impl Console {
    /// stdout of this process. It gets colors on a terminal only, and not if NO_COLOR is set (no-color.org) or TERM is
    /// `dumb`.
    pub(super) fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            color: terminal && may_draw(),
            terminal,
        }
    }

    /// Without colors, for tests.
    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self {
            color: false,
            terminal: false,
        }
    }

    /// Whether stdout is a terminal.
    pub(super) const fn is_terminal(self) -> bool {
        self.terminal
    }

    /// An empty text, to be built and printed.
    pub(super) const fn text(self) -> Text {
        Text {
            color: self.color,
            text: String::new(),
        }
    }

    /// Writes a text and flushes. A closed pipe is [`Failure::reader_gone`].
    pub(super) fn print(self, text: &Text) -> Result<(), Failure> {
        self.write_unescaped(text.text.as_bytes())
    }

    /// Writes one line.
    pub(super) fn line(self, line: &str) -> Result<(), Failure> {
        let mut text = self.text();
        text.plain(line).end_line();
        self.print(&text)
    }

    /// Writes a value as indented JSON.
    pub(super) fn json<T: Serialize>(self, value: &T) -> Result<(), Failure> {
        self.json_text(serde_json::to_string_pretty(value))
    }

    /// Writes a value as JSON on one line, for output that is a stream of values.
    pub(super) fn json_line<T: Serialize>(self, value: &T) -> Result<(), Failure> {
        self.json_text(serde_json::to_string(value))
    }

    fn json_text(self, text: serde_json::Result<String>) -> Result<(), Failure> {
        let text =
            text.map_err(|error| Failure::new(Exit::Bug, format!("cannot write JSON: {error}")))?;
        self.write_unescaped(format!("{}\n", escape_json(&text)).as_bytes())
    }

    /// Switches the terminal to its alternate screen, which has no scrollback, until the result is dropped.
    pub(super) fn alternate_screen(self) -> Result<AlternateScreen, Failure> {
        self.write_unescaped(ENTER_ALTERNATE_SCREEN)?;
        Ok(AlternateScreen(self))
    }

    /// Writes these bytes without any escape: a file for another program, or output that the user wants raw.
    pub(super) fn write_unescaped(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        written.map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                Failure::reader_gone()
            } else {
                Failure::system("write to stdout", &error)
            }
        })
    }
}

/// Enters the alternate screen, hides the cursor, and cuts lines at the right margin (xterm: private modes 1049, 25, 7).
const ENTER_ALTERNATE_SCREEN: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
/// Undoes that.
const LEAVE_ALTERNATE_SCREEN: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The alternate screen of the terminal. Dropping it shows the former screen again.
#[derive(Debug)]
pub(super) struct AlternateScreen(Console);

impl AlternateScreen {
    /// Replaces what the screen shows. Lines that do not fit are left out, and counted in the last one.
    pub(super) fn show(&self, text: &Text) -> Result<(), Failure> {
        let rows = window_rows().unwrap_or(ROWS_DEFAULT);
        self.0.write_unescaped(screen(&text.text, rows).as_bytes())
    }
}

impl Drop for AlternateScreen {
    fn drop(&mut self) {
        // A closed terminal shows nothing any more.
        let _reader_gone = self.0.write_unescaped(LEAVE_ALTERNATE_SCREEN);
    }
}

/// `text` on a screen of this many rows: from its upper left corner on, each line replaces the one that was there, and what is
/// below the last one is erased (ECMA-48: CUP, EL, ED).
fn screen(text: &str, rows: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    let fitting = if lines.len() > rows {
        rows.saturating_sub(1)
    } else {
        lines.len()
    };
    let mut shown = lines[..fitting].join("\x1b[K\r\n");
    if fitting < lines.len() {
        shown.push_str(&format!(
            "\x1b[K\r\n... and {} more lines",
            lines.len() - fitting
        ));
    }
    format!("\x1b[H{shown}\x1b[K\x1b[J")
}

/// A text for stdout. Everything that is added is escaped, line breaks too; only the functions add line breaks and colors.
#[derive(Debug, Default)]
pub(super) struct Text {
    color: bool,
    text: String,
}

impl Text {
    /// Adds `text`, without line breaks.
    pub(super) fn plain(&mut self, text: &str) -> &mut Self {
        self.text.push_str(&escape(text));
        self
    }

    /// Adds `text` in this style, if there are colors.
    pub(super) fn styled(&mut self, style: Style, text: &str) -> &mut Self {
        let text = escape(text);
        if self.color {
            let styled = format!("\x1b[{}m{text}\x1b[0m", style.sgr());
            self.text.push_str(&styled);
        } else {
            self.text.push_str(&text);
        }
        self
    }

    /// Adds a line that a service wrote. On a terminal its colors stay.
    pub(super) fn output(&mut self, line: &str) -> &mut Self {
        self.text
            .push_str(&escape_output(line.as_bytes(), self.color));
        self
    }

    /// Adds the cells of a table's row, with two blanks between them, in the style that `style_of` has for the cell's column.
    pub(super) fn row(
        &mut self,
        cells: &[String],
        style_of: impl Fn(usize) -> Option<Style>,
    ) -> &mut Self {
        for (column, cell) in cells.iter().enumerate() {
            self.plain(if column == 0 { "" } else { "  " });
            match style_of(column) {
                Some(style) => self.styled(style, cell),
                None => self.plain(cell),
            };
        }
        self.end_line()
    }

    /// Adds lines. Only for a text whose line breaks are all of stayd: text from outside in it must be escaped already.
    pub(super) fn lines(&mut self, lines: &str) -> &mut Self {
        for line in lines.lines() {
            self.plain(line).end_line();
        }
        self
    }

    /// Ends the line.
    pub(super) fn end_line(&mut self) -> &mut Self {
        self.text.push('\n');
        self
    }

    /// The text so far, as it is printed.
    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whether the environment allows colors and cursor movement: NO_COLOR is unset or empty, and TERM is not `dumb`.
fn may_draw() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !no_color && !dumb
}

/// Whether stderr is a terminal that may get colors and cursor movement.
pub(super) fn stderr_draws() -> bool {
    io::stderr().is_terminal() && may_draw()
}

/// Writes one line to stderr. A closed stderr is ignored: the exit status still tells the result.
pub(super) fn print_stderr(line: &str) {
    let _reader_gone = writeln!(io::stderr(), "{}", escape(line));
}

/// Writes the message of a failure to stderr, unless it has none.
pub(super) fn print_failure(failure: &Failure) {
    if !failure.message.is_empty() {
        print_stderr(&format!("stayd: {}", failure.message));
    }
    for line in &failure.more {
        print_stderr(line);
    }
}

/// Replaces the current line of the terminal on stderr by the first `columns` characters of `text`; the cursor moves behind
/// them.
pub(super) fn overwrite_stderr_line(text: &str, columns: usize) {
    let text = escape(text);
    // A closed stderr is ignored; the work goes on.
    let _reader_gone = write!(
        io::stderr(),
        "\r{text:<columns$.columns$}\r{text:.columns$}"
    );
}

/// Writes help to stdout, or a usage error to stderr, in clap's words.
pub(super) fn print_help_or_usage(error: &clap::Error) {
    // A usage error repeats words of the caller's own command line.
    let mut escaped = Text::default();
    escaped.lines(&error.render().to_string());
    // The reader of the output may have closed it.
    let _reader_gone = if error.use_stderr() {
        io::stderr().write_all(escaped.text.as_bytes())
    } else {
        io::stdout().write_all(escaped.text.as_bytes())
    };
}

#[cfg(test)]
mod tests {
    use super::{Console, Style, screen};

    const HOSTILE: &str = "a\x1b[2J\nb\r\u{202e}";

    #[test]
    fn everything_in_a_text_is_escaped_except_its_own_styles_and_line_ends() {
        let mut text = Console::plain().text();
        text.plain(HOSTILE).styled(Style::Bad, HOSTILE).end_line();
        text.output("\x1b[31mred\tx").end_line();
        text.row(&[HOSTILE.into(), "c".into()], |_| None);
        text.lines("one\x1b\ntwo\n");
        let escaped = "a\\x1b[2J\\nb\\r\\u{202e}";
        assert_eq!(
            text.as_str(),
            format!("{escaped}{escaped}\n\\x1b[31mred\tx\n{escaped}  c\none\\x1b\ntwo\n")
        );
    }

    #[test]
    fn a_screen_is_overwritten_line_by_line_and_never_scrolls() {
        assert_eq!(screen("a\nb\n", 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(
            screen("a\nb\nc\n", 2),
            "\x1b[Ha\x1b[K\r\n... and 2 more lines\x1b[K\x1b[J"
        );
    }

    #[test]
    fn a_terminal_gets_colors_that_end_with_their_text() {
        let console = Console {
            color: true,
            terminal: true,
        };
        let mut text = console.text();
        text.styled(Style::Good, "\x1b[31mok")
            .plain(" x")
            .end_line();
        text.output("\x1b[31mred\x1b[2J");
        assert_eq!(
            text.as_str(),
            "\x1b[32m\\x1b[31mok\x1b[0m x\n\x1b[31mred\\x1b[2J\x1b[0m"
        );
    }
}
