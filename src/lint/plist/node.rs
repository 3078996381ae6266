//! A value of a property list, with the line where it stands.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: usize,
    /// What it is.
    pub(super) value: Value,
}

/// The kinds of values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A dictionary, in the order of the file.
    Dictionary(Vec<Entry>),
    /// An array.
    Array(Vec<Node>),
    /// A string.
    String(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Real,
    /// `true` or `false`.
    Boolean(bool),
    /// A date.
    Date,
    /// Bytes.
    Data,
}

/// A key of a dictionary, with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// The line of the key.
    pub(super) line: usize,
    /// The value.
    pub(super) node: Node,
}

/// No dictionary in it.
const NOTHING: &[Entry] = &[];

impl Node {
    /// What the file calls this kind of value.
    pub(super) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Dictionary(_) => "a dictionary",
            Value::Array(_) => "an array",
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Real => "a real",
            Value::Boolean(_) => "a boolean",
            Value::Date => "a date",
            Value::Data => "data",
        }
    }

    /// The entries of a dictionary; none for every other value.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Dictionary(entries) => entries,
            _ => NOTHING,
        }
    }

    /// The last entry with this key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().rev().find(|entry| entry.key == key)
    }

    /// The value of this key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The string of this key.
    pub(super) fn string(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// The boolean of this key.
    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        match self.get(key)?.value {
            Value::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// The integer of this key.
    pub(super) fn integer(&self, key: &str) -> Option<i64> {
        match self.get(key)?.value {
            Value::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array; none for every other value.
    pub(super) fn elements(&self) -> &[Self] {
        match &self.value {
            Value::Array(elements) => elements,
            _ => &[],
        }
    }
}
