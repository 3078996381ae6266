//! Converts the Markdown that the documents use to the roff of manual pages (man(7)).

use std::fmt::Write as _;

/// A paragraph: backquoted words become bold, a link becomes its text, all other characters are escaped.
pub(super) fn paragraph(text: &str) -> String {
    let text = without_links(text);
    let pieces: Vec<_> = text.split('`').collect();
    if pieces.len().is_multiple_of(2) {
        return verbatim(&text);
    }
    let piece = |(index, piece): (usize, &&str)| match index % 2 {
        0 => escaped(piece),
        _ => format!("\\fB{}\\fR", escaped(piece)),
    };
    guarded(&pieces.iter().enumerate().map(piece).collect::<String>())
}

/// Text without markup: a sample, a name.
pub(super) fn verbatim(text: &str) -> String {
    guarded(&escaped(text))
}

/// A tagged paragraph: a name in bold and its description.
pub(super) fn item(name: &str, text: &str) -> String {
    format!(".TP\n\\fB{}\\fR\n{}\n", verbatim(name), paragraph(text))
}

/// A Markdown document without its title: paragraphs, lists, tables of two or more columns, code blocks, headings.
pub(super) fn document(markdown: &str) -> String {
    let mut out = String::new();
    let mut blocks = markdown.split("\n\n").peekable();
    while let Some(block) = blocks.next() {
        if let Some(sample) = block.trim_start().strip_prefix("```") {
            let mut sample = sample.to_owned();
            while !sample.trim_end().ends_with("```") {
                let Some(more) = blocks.next() else { break };
                let _always = write!(sample, "\n\n{more}");
            }
            let lines = sample.trim_end().trim_end_matches("```");
            let lines = lines.split_once('\n').map_or("", |(_language, rest)| rest);
            let _always = write!(out, ".PP\n.nf\n{}\n.fi\n", verbatim(lines.trim_end()));
        } else {
            out += &plain_block(block.trim());
        }
    }
    out
}

fn plain_block(block: &str) -> String {
    if block.is_empty() || block.starts_with("# ") {
        String::new()
    } else if let Some(heading) = block.strip_prefix("## ") {
        format!(".SS \"{}\"\n", verbatim(&heading.replace('`', "")))
    } else if block.starts_with('|') {
        block.lines().skip(2).map(row).collect()
    } else if let Some(list) = block.strip_prefix("- ") {
        let entries = list.split("\n- ");
        entries
            .map(|entry| format!(".IP \\(bu 2\n{}\n", paragraph(&joined(entry))))
            .collect()
    } else {
        format!(".PP\n{}\n", paragraph(&joined(block)))
    }
}

fn row(line: &str) -> String {
    let cells = line.trim().trim_matches('|').split(" | ");
    let mut cells = cells.map(|cell| cell.trim().replace("\\|", "|"));
    let name = cells.next().unwrap_or_default().replace('`', "");
    item(&name, &cells.collect::<Vec<_>>().join(". "))
}

fn joined(block: &str) -> String {
    block
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
        .replace("**", "")
}

/// Replaces each `[text](target)` by `text`.
fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let Some((start, (_target, tail))) = before.rfind('[').zip(after.split_once(')')) else {
            break;
        };
        out += &before[..start];
        out += &before[start + 1..];
        rest = tail;
    }
    out + rest
}

/// Escapes the characters that groff would replace by others (groff_char(7)).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out += "\\e",
            '-' => out += "\\-",
            '\'' => out += "\\(aq",
            '`' => out += "\\(ga",
            '~' => out += "\\(ti",
            '^' => out += "\\(ha",
            '"' => out += "\\(dq",
            other => out.push(other),
        }
    }
    out
}

/// Prevents that a line that begins with a dot is taken for a request.
fn guarded(text: &str) -> String {
    let lines = text.split('\n').map(|line| match line.strip_prefix('.') {
        Some(rest) => format!("\\&.{rest}"),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{document, paragraph};

    #[test]
    fn characters_and_markup_are_escaped_for_groff() {
        for (markdown, roff) in [
            ("a `-c` b", "a \\fB\\-c\\fR b"),
            ("~/.x isn't \\n", "\\(ti/.x isn\\(aqt \\en"),
            (".TH is no request", "\\&.TH is no request"),
            (
                "see [exit status](exit-status.md), [b](c)",
                "see exit status, b",
            ),
            ("one ` alone", "one \\(ga alone"),
        ] {
            assert_eq!(paragraph(markdown), roff, "{markdown}");
        }
    }

    #[test]
    fn a_markdown_document_becomes_roff() {
        let markdown = "# Title\n\nA paragraph\nof two lines.\n\n## Part `one`\n\n| a | b |\n|---|---|\n| `x` | why |\n\n\
                        ```sh\nls -l\n\npwd\n```\n\n- one\n- two\n  lines\n";
        assert_eq!(
            document(markdown),
            ".PP\nA paragraph of two lines.\n.SS \"Part one\"\n.TP\n\\fBx\\fR\nwhy\n\
             .PP\n.nf\nls \\-l\n\npwd\n.fi\n.IP \\(bu 2\none\n.IP \\(bu 2\ntwo lines\n"
        );
    }
}
