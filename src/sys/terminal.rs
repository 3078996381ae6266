//! Makes text harmless for a terminal and for a log: a character that a terminal would execute, or that breaks or reorders a
//! line, is shown as an escape such as `\x1b`, `\n` or `\u{202e}`.
//!
//! Everything that stayd prints or logs goes through these functions, because most of it contains text from outside: command
//! lines, names, answers, output. The escapes are for the eye: a backslash stays as it is, so they cannot be read back. What
//! programs read is JSON, which is exact.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The most bytes of the parameters of a color sequence that is kept. Colors need up to 16 for each of foreground and
/// background.
const COLOR_BYTES_MAX: usize = 64;
/// Resets all colors (ECMA-48, 8.3.117: SGR).
const RESET: &str = "\x1b[0m";

/// The number of rows of the terminal on stdout; `None` if it is no terminal, or does not report it.
#[must_use]
#[expect(unsafe_code, reason = "TIOCGWINSZ")]
pub fn window_rows() -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the call writes to one winsize, the local variable.
    let answered = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (answered == 0 && size.ws_row > 0).then_some(size.ws_row.into())
}

/// Escapes a text for one line.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + text.len() / 2);
    for c in text.chars() {
        push(c, &mut escaped);
    }
    Cow::Owned(escaped)
}

/// Escapes bytes for one line. A byte that is not UTF-8 is shown as `\xff`.
#[must_use]
pub fn escape_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return escape(text);
    }
    let mut escaped = String::with_capacity(2 * bytes.len());
    for chunk in bytes.utf8_chunks() {
        escaped.push_str(&escape(chunk.valid()));
        push_invalid(chunk.invalid(), &mut escaped);
    }
    Cow::Owned(escaped)
}

/// Escapes a line that a service wrote, without its line end. Tabs stay, and with `colors` also the color sequences: SGR, in
/// the form `ESC [ digits m`. After a line with colors they are reset, so that they do not reach the next line.
#[must_use]
pub fn escape_output(line: &[u8], colors: bool) -> Cow<'_, str> {
    let is_plain = |c: char| c == '\t' || !is_unprintable(c);
    if let Ok(text) = std::str::from_utf8(line)
        && text.chars().all(is_plain)
    {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(2 * line.len());
    let mut colored = false;
    for chunk in line.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(c) = rest.chars().next() {
            let taken = match color_sequence(rest).filter(|_| colors) {
                Some(sequence) => {
                    escaped.push_str(sequence);
                    colored = !matches!(sequence, RESET | "\x1b[m");
                    sequence.len()
                }
                None if c == '\t' => {
                    escaped.push(c);
                    c.len_utf8()
                }
                None => {
                    push(c, &mut escaped);
                    c.len_utf8()
                }
            };
            rest = &rest[taken..];
        }
        push_invalid(chunk.invalid(), &mut escaped);
    }
    if colored {
        escaped.push_str(RESET);
    }
    Cow::Owned(escaped)
}

/// Escapes JSON as JSON does, which changes no value. A serializer itself escapes only the characters below U+0020.
#[must_use]
pub fn escape_json(json: &str) -> Cow<'_, str> {
    // The others are the layout, and stand outside of strings.
    let is_escaped = |c: char| c >= '\x7f' && is_unprintable(c);
    if !json.contains(is_escaped) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + json.len() / 2);
    for c in json.chars() {
        if is_escaped(c) {
            // None of them is beyond U+FFFF, so each is one unit of UTF-16 (RFC 8259, section 7).
            append(&mut escaped, format_args!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a terminal executes the character (C0, DEL, C1), or it breaks a line (line and paragraph separator) or reorders it
/// (embeddings, overrides and isolates of the bidirectional algorithm, Unicode Standard Annex 9, section 2).
const fn is_unprintable(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

fn push(c: char, escaped: &mut String) {
    match c {
        '\n' => escaped.push_str("\\n"),
        '\r' => escaped.push_str("\\r"),
        '\t' => escaped.push_str("\\t"),
        '\0'..='\x1f' | '\x7f' => append(escaped, format_args!("\\x{:02x}", u32::from(c))),
        // `\x9b` would be the byte, which is not UTF-8.
        c if is_unprintable(c) => append(escaped, format_args!("\\u{{{:x}}}", u32::from(c))),
        c => escaped.push(c),
    }
}

fn push_invalid(bytes: &[u8], escaped: &mut String) {
    for byte in bytes {
        append(escaped, format_args!("\\x{byte:02x}"));
    }
}

fn append(text: &mut String, escape: std::fmt::Arguments<'_>) {
    let _cannot_fail = text.write_fmt(escape);
}

/// The color sequence at the beginning of `text`.
fn color_sequence(text: &str) -> Option<&str> {
    const START: &str = "\x1b[";
    let parameters = text.strip_prefix(START)?;
    let is_parameter = |byte: &u8| matches!(byte, b'0'..=b'9' | b';' | b':');
    let length = parameters.bytes().take_while(is_parameter).count();
    let is_color = length <= COLOR_BYTES_MAX && parameters[length..].starts_with('m');
    is_color.then(|| &text[..START.len() + length + 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Text with many characters that need an escape.
    fn hostile_text() -> impl Strategy<Value = String> {
        let special = prop::sample::select(vec![
            '\x1b', '[', ']', 'm', '2', ';', '\n', '\r', '\t', '\0', '\x07', '\x7f', '\u{80}',
            '\u{9b}', '\u{2028}', '\u{202e}', '\u{2066}', '\\', '"',
        ]);
        let c = prop_oneof![special, any::<char>()];
        prop::collection::vec(c, 0..40).prop_map(|all| all.into_iter().collect())
    }

    #[test]
    fn each_unprintable_character_has_its_escape_and_all_others_stay() {
        for (text, expected) in [
            ("", ""),
            (
                "plain text, \\n and \\x1b as typed",
                "plain text, \\n and \\x1b as typed",
            ),
            (
                "żółć, 日本語, 🦀, e\u{301}, \u{a0}",
                "żółć, 日本語, 🦀, e\u{301}, \u{a0}",
            ),
            ("a\u{200d}b\u{feff}", "a\u{200d}b\u{feff}"),
            ("\0\x01\x07\x08\x0b\x1f", "\\x00\\x01\\x07\\x08\\x0b\\x1f"),
            ("a\nb\rc\td", "a\\nb\\rc\\td"),
            ("\x1b[2J\x1b]0;x\x07", "\\x1b[2J\\x1b]0;x\\x07"),
            (
                "~\x7f\u{80}\u{85}\u{9b}\u{9f}\u{a0}",
                "~\\x7f\\u{80}\\u{85}\\u{9b}\\u{9f}\u{a0}",
            ),
            ("\u{2027}\u{2028}\u{2029}", "\u{2027}\\u{2028}\\u{2029}"),
            ("\u{202a}\u{202e}\u{202f}", "\\u{202a}\\u{202e}\u{202f}"),
            (
                "\u{2065}\u{2066}\u{2069}\u{206a}",
                "\u{2065}\\u{2066}\\u{2069}\u{206a}",
            ),
        ] {
            assert_eq!(escape(text), expected, "{text:?}");
            assert_eq!(escape_bytes(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(escape_bytes(b"a\xffb\xc3\n\x9b"), "a\\xffb\\xc3\\n\\x9b");
    }

    #[test]
    fn output_keeps_tabs_and_if_wanted_colors() {
        for (line, with_colors, without) in [
            ("\tat x", "\tat x", "\tat x"),
            (
                "\x1b[31mred\x1b[0m",
                "\x1b[31mred\x1b[0m",
                "\\x1b[31mred\\x1b[0m",
            ),
            (
                "\x1b[1;38:2::1:2:3mred",
                "\x1b[1;38:2::1:2:3mred\x1b[0m",
                "\\x1b[1;38:2::1:2:3mred",
            ),
            (
                "\x1b[8mhidden\x1b[m",
                "\x1b[8mhidden\x1b[m",
                "\\x1b[8mhidden\\x1b[m",
            ),
            ("\rdb | FAKE", "\\rdb | FAKE", "\\rdb | FAKE"),
            ("\x1b[2J\x1b[31", "\\x1b[2J\\x1b[31", "\\x1b[2J\\x1b[31"),
            (
                "\x1b[>4;1m\x1b[?1m\x1b[ m",
                "\\x1b[>4;1m\\x1b[?1m\\x1b[ m",
                "\\x1b[>4;1m\\x1b[?1m\\x1b[ m",
            ),
            ("\u{9b}31m", "\\u{9b}31m", "\\u{9b}31m"),
        ] {
            assert_eq!(
                escape_output(line.as_bytes(), true),
                with_colors,
                "{line:?}"
            );
            assert_eq!(escape_output(line.as_bytes(), false), without, "{line:?}");
        }
        let long = format!("\x1b[{}m", "1".repeat(COLOR_BYTES_MAX + 1));
        assert!(escape_output(long.as_bytes(), true).starts_with("\\x1b["));
        // Not UTF-8, and a sequence that such a byte interrupts.
        assert_eq!(
            escape_output(b"\xff\x1b[3\xff1m", true),
            "\\xff\\x1b[3\\xff1m"
        );
    }

    proptest! {
        #[test]
        fn no_escaped_text_has_an_unprintable_character_and_escaping_it_again_changes_nothing(text in hostile_text()) {
            let escaped = escape(&text);
            prop_assert!(!escaped.chars().any(is_unprintable), "{:?}", escaped);
            prop_assert!(!escaped.contains(char::is_control), "{:?}", escaped);
            prop_assert_eq!(escape(&escaped), escaped.clone());
            let kept: String = text.chars().filter(|c| !is_unprintable(*c)).collect();
            prop_assert!(is_part(&kept, &escaped), "{:?} of {:?}", kept, escaped);
        }

        #[test]
        fn any_bytes_become_printable(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(!escape_bytes(&bytes).chars().any(is_unprintable));
            let output = escape_output(&bytes, false).replace('\t', "");
            prop_assert!(!output.chars().any(is_unprintable), "{:?}", output);
        }

        #[test]
        fn colored_output_has_no_other_control_sequence_than_colors(text in hostile_text()) {
            let escaped = escape_output(text.as_bytes(), true);
            let mut rest = escaped.as_ref();
            while let Some(at) = rest.find(|c| c != '\t' && is_unprintable(c)) {
                let sequence = color_sequence(&rest[at..]);
                prop_assert!(sequence.is_some(), "{:?}", escaped);
                rest = &rest[at + sequence.map_or(0, str::len)..];
            }
        }

        #[test]
        fn escaped_json_is_printable_and_has_the_same_value(text in hostile_text(), pretty in any::<bool>()) {
            let value = serde_json::json!({ text.clone(): [text] });
            let json = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let json = json.expect("JSON");
            let escaped = escape_json(&json);
            prop_assert!(!escaped.chars().any(|c| c != '\n' && is_unprintable(c)), "{:?}", escaped);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).expect("JSON"), value);
        }
    }

    /// Whether the characters of `part` occur in `whole`, in this order.
    fn is_part(part: &str, whole: &str) -> bool {
        let mut whole = whole.chars();
        part.chars().all(|c| whole.any(|other| other == c))
    }
}
