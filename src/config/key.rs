//! The description of a configuration key: path, kind of value, default, documentation.

use std::time::Duration;

/// The kind of value that a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name: letters, digits, `-`, `_`, `.`.
    Name,
    /// Any text that is not empty.
    Text,
    /// A path, relative to the folder of the configuration.
    Path,
    /// Text that may contain secrets; an error never quotes it.
    Secret,
    /// A probe URL; an error never quotes it.
    Url,
    /// A command: the program and its arguments.
    Words,
    /// A list of texts, which may be empty.
    Texts,
    /// Names and values of environment variables; an error never quotes a value.
    Env,
    /// `true` or `false`.
    Flag,
    /// `true`, `false`, or a list of texts.
    FlagOrTexts,
    /// A TCP port.
    Port,
    /// A whole number, with minimum and maximum.
    Count(u32, u32),
    /// A duration, with its minimum.
    Duration(Duration),
    /// A number of bytes, with its minimum.
    Size(u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A signal's name.
    Signal,
    /// HTTP statuses.
    Expect,
    /// A table of further keys.
    Table,
    /// Named tables, each with further keys.
    Named,
}

/// The value of a key that is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Default {
    /// This text, parsed as if it had been written.
    Is(&'static str),
    /// A value that depends on other settings; described in words.
    Described(&'static str),
    /// No value: the key has no effect.
    Unset,
    /// None: it is an error if the key is not written.
    Required,
}

/// Whether this version supports the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The key works.
    Supported,
    /// The key is parsed and checked, but has no effect yet; the text says what this version does instead.
    CheckedOnly(&'static str),
    /// The key is an error; the text says what to do instead.
    NotSupported(&'static str),
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Its path; `*` stands for the name of a service.
    pub(super) path: &'static str,
    /// The kind of its value.
    pub(super) kind: Kind,
    /// Its value when it is not written.
    pub(super) default: Default,
    /// Whether this version supports it.
    pub(super) state: State,
    /// Its documentation, one or more sentences.
    pub(super) doc: &'static str,
}

impl Key {
    /// A supported key.
    pub(super) const fn new(
        path: &'static str,
        kind: Kind,
        default: Default,
        doc: &'static str,
    ) -> Self {
        Self {
            path,
            kind,
            default,
            state: State::Supported,
            doc,
        }
    }

    /// Marks the key as parsed and checked only; `what` says what this version does instead.
    pub(super) const fn checked_only(self, what: &'static str) -> Self {
        Self {
            state: State::CheckedOnly(what),
            ..self
        }
    }

    /// A table that this version does not support; `alternative` says what to do instead.
    pub(super) const fn not_supported(
        path: &'static str,
        doc: &'static str,
        alternative: &'static str,
    ) -> Self {
        let state = State::NotSupported(alternative);
        Self {
            path,
            kind: Kind::Table,
            default: Default::Unset,
            state,
            doc,
        }
    }

    /// The last component of its path.
    pub(super) fn leaf(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The path of the table that contains it; empty for the top level of the file.
    pub(super) fn parent(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }
}
