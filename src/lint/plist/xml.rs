//! Reads an XML property list as Apple's reader does (CFPropertyList), with line numbers.
//!
//! It accepts what Apple's reader accepts and a strict one does not: comments and blanks before the XML declaration, `--` in
//! comments, anything after the root. It refuses text between elements, unknown elements and empty integers.

use super::node::{Entry, Node, Value};
use quick_xml::Reader;
use quick_xml::events::Event;

/// How deep values may lie in each other. A job needs four levels.
const DEPTH_MAX: usize = 64;

/// Why the file is refused, and where.
#[derive(Debug)]
pub(super) struct Refusal {
    /// From 1.
    pub(super) line: usize,
    /// A clause.
    pub(super) why: String,
}

/// A property list, and what only a strict reader refuses.
#[derive(Debug)]
pub(super) struct Document {
    /// The outermost value.
    pub(super) root: Node,
    /// The line and the kind of each oddity.
    pub(super) oddities: Vec<(usize, &'static str)>,
}

/// An element that is not closed yet.
enum Open {
    Dictionary(Vec<Entry>, Option<(String, usize)>),
    Array(Vec<Node>),
    /// An element with text: its name and the text so far.
    Text(String, String),
}

struct Builder {
    stack: Vec<(usize, Open)>,
    root: Option<Node>,
}

/// Reads `text`.
pub(super) fn parse(text: &str) -> Result<Document, Refusal> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    let mut builder = Builder {
        stack: Vec::new(),
        root: None,
    };
    let mut oddities = Vec::new();
    let (mut line, mut counted) = (1, 0);
    let mut closed = false;
    loop {
        let position = usize::try_from(reader.buffer_position()).unwrap_or(text.len());
        let event = reader.read_event();
        // The line of an element is that of its `<`: text before it is an event of its own.
        let newlines = |from: usize, to: usize| {
            let part = text.as_bytes().get(from..to).unwrap_or_default();
            part.iter().filter(|byte| **byte == b'\n').count()
        };
        line += newlines(counted, position);
        counted = position;
        let at = |why: String| Refusal { line, why };
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                let position = usize::try_from(reader.error_position()).unwrap_or(counted);
                return Err(Refusal {
                    line: line + newlines(counted, position),
                    why: error.to_string(),
                });
            }
        };
        match event {
            Event::Eof => break,
            Event::Decl(_)
                if position > 0 && !text[..position].chars().all(|c| c == '\u{feff}') =>
            {
                oddities.push((line, "there is text before the XML declaration"));
            }
            Event::Comment(comment) if comment.contains("--") => {
                oddities.push((line, "a comment contains `--`"));
            }
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Start(element) => {
                builder.start(element.name().as_ref(), line).map_err(at)?;
            }
            Event::Empty(element) => {
                let name = element.name();
                builder.start(name.as_ref(), line).map_err(at)?;
                builder.end(name.as_ref(), line).map_err(at)?;
            }
            Event::End(element) => {
                let name = element.name();
                builder.end(name.as_ref(), line).map_err(at)?;
                closed |= name.as_ref() == "plist";
            }
            Event::Text(part) => {
                // The line of stray text is that of its first character, not of the blanks before it.
                let blanks = part.len() - part.trim_start().len();
                let line = line + newlines(counted, counted + blanks);
                builder.text(&part).map_err(|why| Refusal { line, why })?;
            }
            Event::CData(part) => builder.text(&part).map_err(at)?,
            Event::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref() {
                    Ok(Some(c)) => Some(c),
                    _ => entity(&reference),
                };
                let Some(c) = resolved else {
                    return Err(at(format!("the entity `&{};` is unknown", &*reference)));
                };
                builder.text(c.encode_utf8(&mut [0; 4])).map_err(at)?;
            }
        }
        // Apple's reader stops after the root.
        if closed || builder.root.is_some() && builder.stack.is_empty() && !text.contains("<plist")
        {
            break;
        }
    }
    if let Some((opened, _)) = builder.stack.last() {
        let why = format!("the file ends before the element of line {opened} is closed");
        return Err(Refusal { line, why });
    }
    let root = builder.root.ok_or(Refusal {
        line,
        why: "it has no value".to_owned(),
    })?;
    Ok(Document { root, oddities })
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => return None,
    })
}

impl Builder {
    fn start(&mut self, name: &str, line: usize) -> Result<(), String> {
        if let Some((_, Open::Text(outer, _))) = self.stack.last() {
            return Err(format!("`<{name}>` stands inside of `<{outer}>`"));
        }
        if name == "plist" {
            return Ok(());
        }
        if self.stack.len() >= DEPTH_MAX {
            return Err(format!(
                "values lie in each other more than {DEPTH_MAX} deep"
            ));
        }
        if self.stack.is_empty() && self.root.is_some() {
            return Err("there is a second outermost value".to_owned());
        }
        let is_key = name == "key";
        match self.stack.last() {
            Some((_, Open::Dictionary(_, pending))) if is_key != pending.is_none() => {
                return Err(match pending {
                    Some((key, _)) => format!("the key {key} has no value"),
                    None => format!("`<{name}>` stands in a dictionary without a key"),
                });
            }
            Some((_, Open::Dictionary(..))) => {}
            _ if is_key => return Err("`<key>` stands outside of a dictionary".to_owned()),
            _ => {}
        }
        let open = match name {
            "dict" => Open::Dictionary(Vec::new(), None),
            "array" => Open::Array(Vec::new()),
            "key" | "string" | "integer" | "real" | "true" | "false" | "date" | "data" => {
                Open::Text(name.to_owned(), String::new())
            }
            _ => return Err(format!("the element `<{name}>` is unknown")),
        };
        self.stack.push((line, open));
        Ok(())
    }

    fn end(&mut self, name: &str, line: usize) -> Result<(), String> {
        if name == "plist" {
            return Ok(());
        }
        let Some((line, open)) = self.stack.pop() else {
            return Err(format!("`</{name}>` closes nothing (line {line})"));
        };
        let value = match open {
            Open::Dictionary(_, Some((key, _))) => {
                return Err(format!("the key {key} has no value"));
            }
            Open::Dictionary(entries, None) => Value::Dictionary(entries),
            Open::Array(elements) => Value::Array(elements),
            Open::Text(name, text) if name == "key" => {
                if let Some((_, Open::Dictionary(_, pending))) = self.stack.last_mut() {
                    *pending = Some((text, line));
                }
                return Ok(());
            }
            Open::Text(name, text) => scalar(&name, text)?,
        };
        self.add(Node { line, value });
        Ok(())
    }

    fn add(&mut self, node: Node) {
        match self.stack.last_mut() {
            Some((_, Open::Dictionary(entries, pending))) => {
                if let Some((key, line)) = pending.take() {
                    entries.push(Entry { key, line, node });
                }
            }
            Some((_, Open::Array(elements))) => elements.push(node),
            Some((_, Open::Text(..))) => {}
            None => self.root = Some(node),
        }
    }

    fn text(&mut self, part: &str) -> Result<(), String> {
        if let Some((_, Open::Text(_, text))) = self.stack.last_mut() {
            text.push_str(part);
            return Ok(());
        }
        let stray = part.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{feff}');
        if stray.is_empty() {
            return Ok(());
        }
        let shown: String = stray.chars().take(30).collect();
        Err(format!("there is text outside of the values: `{shown}`"))
    }
}

fn scalar(name: &str, text: String) -> Result<Value, String> {
    let trimmed = text.trim();
    Ok(match name {
        "string" => Value::String(text),
        "true" | "false" if trimmed.is_empty() => Value::Boolean(name == "true"),
        "true" | "false" => return Err(format!("`<{name}>` contains text")),
        "integer" => Value::Integer(
            integer(trimmed)
                .ok_or_else(|| format!("`<integer>{trimmed}</integer>` is no integer"))?,
        ),
        "real" if trimmed.parse::<f64>().is_ok() => Value::Real,
        "real" => return Err(format!("`<real>{trimmed}</real>` is no number")),
        "date" => Value::Date,
        _ => Value::Data,
    })
}

/// Decimal, or hexadecimal with `0x`.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits.trim_start()),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let number = match hexadecimal {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    number
        .ok()
        .map(|number| if negative { -number } else { number })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::lint::plist::node::Value;

    #[test]
    fn values_have_the_lines_of_their_elements() {
        let text = "<?xml version=\"1.0\"?>\n<plist>\n<dict>\n  <key>A</key>\n  <integer>0x10</integer>\n\
                    <key>B</key><array>\n<string>a &amp; &#98;</string></array>\n</dict>\n</plist>\nrest";
        let document = parse(text).expect("good");
        let root = &document.root;
        assert_eq!((root.line, root.integer("A")), (3, Some(16)));
        assert_eq!(
            root.entry("A").map(|entry| (entry.line, entry.node.line)),
            Some((4, 5))
        );
        let element = &root.get("B").expect("B").elements()[0];
        assert_eq!((element.line, element.as_str()), (7, Some("a & b")));
        assert!(document.oddities.is_empty());
    }

    #[test]
    fn what_only_a_strict_reader_refuses_is_an_oddity() {
        let text = "\n<!-- a -- b -->\n<?xml version=\"1.0\"?><!DOCTYPE plist whatever ><plist><true/></plist>";
        let document = parse(text).expect("accepted");
        assert_eq!(document.root.value, Value::Boolean(true));
        let lines: Vec<_> = document.oddities.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3]);
    }

    #[test]
    fn what_apple_refuses_is_refused_with_its_line() {
        for (text, line, part) in [
            ("CTYPE plist>\n<plist><dict/></plist>", 1, "text outside"),
            ("<plist>\n<dict>\nx\n</dict></plist>", 3, "text outside"),
            (
                "<plist><dict>\n<key>A</key></dict></plist>",
                2,
                "A has no value",
            ),
            (
                "<plist><dict>\n<string>A</string></dict></plist>",
                2,
                "without a key",
            ),
            ("<plist>\n<foo/></plist>", 2, "`<foo>` is unknown"),
            ("<plist><integer></integer></plist>", 1, "no integer"),
            ("<plist><dict>\n<key>A</key>\n", 3, "ends before"),
            ("<plist><dict></array></plist>", 1, ""),
            (
                "<plist><string>&nope;</string></plist>",
                1,
                "`&nope;` is unknown",
            ),
            ("<plist/>", 1, "no value"),
            ("<plist><true/><true/></plist>", 1, "second"),
            ("<plist><true>x</true></plist>", 1, "contains text"),
        ] {
            let refusal = parse(text).expect_err(text);
            assert!(refusal.why.contains(part), "{text}: {refusal:?}");
            assert_eq!(refusal.line, line, "{text}: {refusal:?}");
        }
        let deep = format!("<plist>{}", "<array>".repeat(100_000));
        assert!(parse(&deep).expect_err("deep").why.contains("deep"));
    }
}
