//! What an sd_notify message says (sd_notify(3)).
//!
//! A field that cannot be read costs only itself, as in systemd: a program that puts Latin-1 text into STATUS= still sends a
//! valid WATCHDOG=1 beside it.

use crate::decide::event::ServiceMessage;
use std::fmt;
use std::time::Duration;

/// The longest quotation of a field, in bytes.
const QUOTED_BYTES_MAX: usize = 80;

/// The fields of one message that stayd supports. A repeated field counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// WATCHDOG=1
    pub(crate) is_heartbeat: bool,
    is_ready: bool,
    is_stopping: bool,
    is_trigger: bool,
    /// The longest one.
    extension: Option<Duration>,
    /// MAINPID=
    pub(crate) main_pid: Option<i32>,
    /// The first field that cannot be read.
    pub(crate) defect: Option<Defect<'a>>,
}

/// Why a field cannot be read. Printed as "cannot …" without what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect<'a> {
    /// The line has no `=`.
    NoName(&'a [u8]),
    /// The value of STATUS= is not UTF-8.
    NotUtf8(&'a [u8]),
    /// The value of EXTEND_TIMEOUT_USEC= is no number, or does not fit into 64 bits.
    NotMicroseconds(&'a [u8]),
    /// The value of MAINPID= is no pid.
    NotPid(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Reads the lines of a message. Empty lines, unknown names and unknown values of known names are ignored, and so is a NUL
    /// at the end.
    pub(crate) fn parse(bytes: &'a [u8]) -> Self {
        let mut message = Self::default();
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        for line in bytes.split(|byte| matches!(byte, b'\n' | b'\r')) {
            if let Err(defect) = message.add(line) {
                message.defect.get_or_insert(defect);
            }
        }
        message
    }

    fn add(&mut self, line: &'a [u8]) -> Result<(), Defect<'a>> {
        if line.is_empty() {
            return Ok(());
        }
        let equals_sign = line.iter().position(|&byte| byte == b'=');
        let (name, value) = line.split_at(equals_sign.ok_or(Defect::NoName(line))?);
        match (name, &value[1..]) {
            (b"READY", b"1") => self.is_ready = true,
            (b"WATCHDOG", b"1") => self.is_heartbeat = true,
            (b"WATCHDOG", b"trigger") => self.is_trigger = true,
            (b"STOPPING", b"1") => self.is_stopping = true,
            (b"EXTEND_TIMEOUT_USEC", value) => {
                let micros = std::str::from_utf8(value).ok();
                let micros = micros.and_then(|value| value.parse().ok());
                let micros = micros.ok_or(Defect::NotMicroseconds(value))?;
                self.extension = self.extension.max(Some(Duration::from_micros(micros)));
            }
            (b"MAINPID", value) => {
                let pid = std::str::from_utf8(value).ok();
                let pid = pid
                    .and_then(|value| value.parse().ok())
                    .filter(|&pid| pid > 1);
                self.main_pid = Some(pid.ok_or(Defect::NotPid(value))?);
            }
            (b"STATUS", text) if std::str::from_utf8(text).is_err() => {
                return Err(Defect::NotUtf8(text));
            }
            _ => {}
        }
        Ok(())
    }

    /// What the loop has to know of the message. It does not have to know of heartbeats.
    pub(crate) fn for_the_loop(&self) -> impl Iterator<Item = ServiceMessage> + use<> {
        let extension = self.extension.map(ServiceMessage::Extend);
        [
            extension,
            self.is_ready.then_some(ServiceMessage::Ready),
            self.is_stopping.then_some(ServiceMessage::Stopping),
            self.is_trigger.then_some(ServiceMessage::Trigger),
        ]
        .into_iter()
        .flatten()
    }
}

impl fmt::Display for Defect<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, problem) = match self {
            Self::NoName(line) => (line, "has no `=`"),
            Self::NotUtf8(text) => (text, "in STATUS= is not UTF-8"),
            Self::NotMicroseconds(value) => (
                value,
                "in EXTEND_TIMEOUT_USEC= is no number of microseconds",
            ),
            Self::NotPid(value) => (value, "in MAINPID= is no pid"),
        };
        let quoted = &found[..found.len().min(QUOTED_BYTES_MAX)];
        let more = if quoted.len() < found.len() {
            "…"
        } else {
            ""
        };
        write!(
            out,
            "cannot read a field of its sd_notify message: \"{}{more}\" {problem}",
            quoted.escape_ascii()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Defect, Message};
    use crate::decide::event::ServiceMessage::{self, Extend, Ready, Stopping, Trigger};
    use proptest::prelude::*;
    use std::time::Duration;

    fn for_the_loop(bytes: &[u8]) -> Vec<ServiceMessage> {
        Message::parse(bytes).for_the_loop().collect()
    }

    #[test]
    fn each_field_is_read_whatever_is_beside_it() {
        let seconds = |count| Extend(Duration::from_secs(count));
        let tries: &[(&[u8], &[ServiceMessage])] = &[
            (b"", &[]),
            (b"\n\r\n", &[]),
            (b"READY=1", &[Ready]),
            (b"READY=1\0", &[Ready]),
            (b"READY=1\r\n", &[Ready]),
            (b"READY=1\nREADY=1", &[Ready]),
            (b"READY=0", &[]),
            (b"READY=", &[]),
            (b" READY=1", &[]),
            (b"READY=1\0junk", &[]),
            (b"STATUS=pr\xe9t\nREADY=1", &[Ready]),
            (b"READY=1\nSTATUS=pr\xe9t", &[Ready]),
            (b"no field\nREADY=1\n=\n==\n\xff=1", &[Ready]),
            (b"X\0Y=1\nSTOPPING=1", &[Stopping]),
            (b"WATCHDOG=trigger", &[Trigger]),
            (b"WATCHDOG=2", &[]),
            (b"STATUS=READY=1", &[]),
            (b"MAINPID=77\nX_OWN=2\nFDSTORE=1\nBARRIER=1", &[]),
            (b"EXTEND_TIMEOUT_USEC=5000000", &[seconds(5)]),
            (
                b"EXTEND_TIMEOUT_USEC=1000000\nEXTEND_TIMEOUT_USEC=7000000\nEXTEND_TIMEOUT_USEC=2",
                &[seconds(7)],
            ),
            (b"EXTEND_TIMEOUT_USEC=x\nREADY=1", &[Ready]),
            (
                b"WATCHDOG=trigger\nSTOPPING=1\nREADY=1\nEXTEND_TIMEOUT_USEC=0",
                &[seconds(0), Ready, Stopping, Trigger],
            ),
        ];
        for (bytes, expected) in tries {
            assert_eq!(for_the_loop(bytes), *expected, "{}", bytes.escape_ascii());
        }
        let most = format!("EXTEND_TIMEOUT_USEC={}", u64::MAX);
        let longest = Extend(Duration::from_micros(u64::MAX));
        assert_eq!(for_the_loop(most.as_bytes()), [longest]);
    }

    #[test]
    fn the_first_field_that_cannot_be_read_is_named() {
        let tries: [(&[u8], Defect<'_>); 6] = [
            (b"nonsense\nSTATUS=\xe9", Defect::NoName(b"nonsense")),
            (b"STATUS=\xe9\nnonsense", Defect::NotUtf8(b"\xe9")),
            (b"EXTEND_TIMEOUT_USEC=-1", Defect::NotMicroseconds(b"-1")),
            (b"EXTEND_TIMEOUT_USEC=", Defect::NotMicroseconds(b"")),
            (
                b"EXTEND_TIMEOUT_USEC=18446744073709551616",
                Defect::NotMicroseconds(b"18446744073709551616"),
            ),
            (
                b"EXTEND_TIMEOUT_USEC=1\xe9",
                Defect::NotMicroseconds(b"1\xe9"),
            ),
        ];
        for (bytes, defect) in tries {
            assert_eq!(Message::parse(bytes).defect, Some(defect));
        }
        for fine in [
            &b"STATUS=pr\xc3\xaat"[..],
            b"X=\xff",
            b"\xff=1",
            b"\n",
            b"WATCHDOG=no",
        ] {
            assert_eq!(Message::parse(fine).defect, None);
        }
        let long = b"\x1b[31m".repeat(100);
        let sentence = Defect::NoName(&long).to_string();
        assert!(sentence.starts_with("cannot read a field of its sd_notify message: \"\\x1b[31m"));
        assert!(sentence.len() < 300 && !sentence.contains('\x1b'));
    }

    proptest! {
        /// Lines of random bytes, in which valid fields are inserted.
        #[test]
        fn valid_fields_are_found_among_random_bytes(
            lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
            place in any::<proptest::sample::Index>(),
        ) {
            let before = Message::parse(&lines.concat()).for_the_loop().count();
            prop_assert!(before <= 4);
            let mut lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let at = place.index(lines.len() + 1);
            lines.splice(at..at, [&b"WATCHDOG=1"[..], b"READY=1"]);
            let bytes = lines.join(&b'\n');
            let message = Message::parse(&bytes);
            prop_assert!(message.is_heartbeat);
            prop_assert!(message.for_the_loop().any(|each| each == Ready));
            if let Some(defect) = message.defect {
                prop_assert!(defect.to_string().is_ascii() || defect.to_string().contains('…'));
            }
        }
    }
}
