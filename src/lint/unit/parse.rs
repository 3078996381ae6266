//! Splits a unit file into sections and assignments (systemd.syntax(7)).

use crate::lint::codes;
use crate::lint::finding::Findings;
use crate::lint::text::quoted;

/// The longest part of a line that a finding shows.
const LINE_SHOWN_MAX: usize = 40;

/// A line `key=value`, with what continues it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    /// The section; empty before the first one.
    pub(super) section: String,
    /// The key.
    pub(super) key: String,
    /// The value, without blanks around it.
    pub(super) value: String,
    /// Its first line, from 1.
    pub(super) line: usize,
}

/// A unit file.
#[derive(Clone, Debug, Default)]
pub(super) struct Syntax {
    /// The sections, with their lines.
    pub(super) sections: Vec<(String, usize)>,
    /// The assignments, in their order.
    pub(super) assignments: Vec<Assignment>,
}

/// Splits the bytes of a unit file. What systemd ignores becomes a finding.
pub(super) fn parse(bytes: &[u8], findings: &mut Findings) -> Syntax {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut syntax = Syntax::default();
    let mut section = String::new();
    let mut pending: Option<(usize, String)> = None;
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(line) = std::str::from_utf8(line) else {
            findings.add(
                number,
                &codes::FILE_NOT_TEXT,
                "the line is not UTF-8, so systemd ignores it",
                "save the file as UTF-8",
            );
            continue;
        };
        let trimmed = line.trim();
        let is_comment = trimmed.starts_with(['#', ';']);
        // A comment between continued lines does not end them.
        if is_comment || trimmed.is_empty() && pending.is_none() {
            continue;
        }
        let (start, mut whole) = pending.take().unwrap_or((number, String::new()));
        if let Some(part) = line.strip_suffix('\\') {
            whole.push_str(part);
            whole.push(' ');
            pending = Some((start, whole));
            continue;
        }
        whole.push_str(line);
        logical_line(whole.trim(), start, &mut section, &mut syntax, findings);
    }
    if let Some((start, whole)) = pending {
        logical_line(whole.trim(), start, &mut section, &mut syntax, findings);
    }
    syntax
}

fn logical_line(
    line: &str,
    number: usize,
    section: &mut String,
    syntax: &mut Syntax,
    findings: &mut Findings,
) {
    if line.is_empty() {
        return;
    }
    if let Some(name) = line.strip_prefix('[') {
        let Some(name) = name.strip_suffix(']') else {
            let message = format!(
                "{} does not end with `]`, so systemd refuses the file",
                shown(line)
            );
            findings.add(
                number,
                &codes::UNIT_NOT_ASSIGNMENT,
                message,
                "write the section alone on its line, as in [Service]",
            );
            if let Some((name, _)) = name.split_once(']') {
                name.clone_into(section);
                syntax.sections.push((section.clone(), number));
            }
            return;
        };
        name.clone_into(section);
        syntax.sections.push((section.clone(), number));
        return;
    }
    let Some((key, value)) = line.split_once('=') else {
        let message = format!("{} is no assignment, so systemd ignores it", shown(line));
        let cure = "write KEY=VALUE, a comment with #, or end the line before it with a backslash";
        findings.add(number, &codes::UNIT_NOT_ASSIGNMENT, message, cure);
        return;
    };
    if section.is_empty() {
        let message = format!(
            "{} stands before the first section, so systemd ignores it",
            shown(line)
        );
        findings.add(
            number,
            &codes::UNIT_NO_SECTION,
            message,
            "move it below [Unit], [Service] or [Install]",
        );
    }
    syntax.assignments.push(Assignment {
        section: section.clone(),
        key: key.trim_end().to_owned(),
        value: value.trim_start().to_owned(),
        line: number,
    });
}

fn shown(line: &str) -> String {
    let cut: String = line.chars().take(LINE_SHOWN_MAX).collect();
    quoted(&cut)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::lint::finding::Findings;
    use std::path::Path;

    #[test]
    fn lines_are_continued_and_comments_between_them_are_skipped() {
        let mut findings = Findings::new(Path::new("x"));
        let text = b"# a\n[Unit]\r\nDescription = b \n\n[Service]\nExecStart=/x \\\n  # no\n  y \\\nz\n; c\nlost\nLast=\\";
        let syntax = parse(text, &mut findings);
        let all: Vec<_> = syntax
            .assignments
            .iter()
            .map(|one| {
                (
                    one.section.as_str(),
                    one.key.as_str(),
                    one.value.as_str(),
                    one.line,
                )
            })
            .collect();
        assert_eq!(
            all,
            [
                ("Unit", "Description", "b", 3),
                ("Service", "ExecStart", "/x    y  z", 6),
                ("Service", "Last", "", 12)
            ]
        );
        assert_eq!(findings.into_list()[0].line, 11);
    }
}
