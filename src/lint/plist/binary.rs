//! Reads a binary property list. It has no lines, so all its values are in line 1.

use super::node::{Entry, Node, Value};
use plist::stream::{BinaryReader, Event};
use std::io::Cursor;

/// The most values. Objects of the format can be shared, so that a file of 1 KiB can stand for 2^30 values.
const VALUES_MAX: usize = 100_000;
/// The most bytes of all strings together, for the same reason.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// How deep values may lie in each other.
const DEPTH_MAX: usize = 64;

enum Open {
    Dictionary(Vec<Entry>, Option<String>),
    Array(Vec<Node>),
}

/// Reads the values; an error is a clause.
pub(super) fn parse(bytes: &[u8]) -> Result<Node, String> {
    let mut stack: Vec<Open> = Vec::new();
    let mut text_bytes = 0;
    for (count, event) in BinaryReader::new(Cursor::new(bytes)).enumerate() {
        let event = event.map_err(|error| error.to_string())?;
        if count >= VALUES_MAX || text_bytes > TEXT_BYTES_MAX || stack.len() > DEPTH_MAX {
            return Err("it has more values than a job can have".to_owned());
        }
        let value = match event {
            Event::StartArray(_) => {
                stack.push(Open::Array(Vec::new()));
                continue;
            }
            Event::StartDictionary(_) => {
                stack.push(Open::Dictionary(Vec::new(), None));
                continue;
            }
            Event::EndCollection => match stack.pop() {
                Some(Open::Array(elements)) => Value::Array(elements),
                Some(Open::Dictionary(entries, None)) => Value::Dictionary(entries),
                _ => return Err("a key has no value".to_owned()),
            },
            Event::String(text) => {
                text_bytes += text.len();
                if let Some(Open::Dictionary(_, key @ None)) = stack.last_mut() {
                    *key = Some(text.into_owned());
                    continue;
                }
                Value::String(text.into_owned())
            }
            Event::Boolean(value) => Value::Boolean(value),
            Event::Integer(value) => Value::Integer(value.as_signed().unwrap_or(i64::MAX)),
            Event::Real(_) => Value::Real,
            Event::Date(_) => Value::Date,
            Event::Data(_) | Event::Uid(_) => Value::Data,
            _ => return Err("it has a value of an unknown kind".to_owned()),
        };
        let node = Node { line: 1, value };
        match stack.last_mut() {
            None => return Ok(node),
            Some(Open::Array(elements)) => elements.push(node),
            Some(Open::Dictionary(entries, key)) => {
                let key = key.take().ok_or("a key is no string")?;
                entries.push(Entry { key, line: 1, node });
            }
        }
    }
    Err("it has no value".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_binary_list_is_read_and_garbage_is_refused() {
        let mut dictionary = plist::Dictionary::new();
        dictionary.insert("Label".into(), "a".into());
        dictionary.insert("Nice".into(), plist::Value::Integer(3.into()));
        let mut bytes = Vec::new();
        let written = plist::Value::Dictionary(dictionary).to_writer_binary(&mut bytes);
        assert!(written.is_ok());
        let root = parse(&bytes).expect("good");
        assert_eq!(
            (root.string("Label"), root.integer("Nice")),
            (Some("a"), Some(3))
        );
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end]).is_err(), "{end}");
        }
    }

    /// Thirty arrays, each with the next one twice.
    #[test]
    fn shared_values_do_not_multiply_without_end() {
        let mut bytes = b"bplist00".to_vec();
        let mut offsets = Vec::new();
        for index in 0..30_u8 {
            offsets.push(u8::try_from(bytes.len()).expect("small"));
            bytes.extend([0xa2, index + 1, index + 1]);
        }
        offsets.push(u8::try_from(bytes.len()).expect("small"));
        bytes.push(0x09);
        let table = bytes.len() as u64;
        bytes.extend(&offsets);
        bytes.extend([0, 0, 0, 0, 0, 0, 1, 1]);
        for number in [offsets.len() as u64, 0, table] {
            bytes.extend(number.to_be_bytes());
        }
        assert!(parse(&bytes).expect_err("too many").contains("more values"));
    }
}
