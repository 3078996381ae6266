//! Copies services' output to stayd's own stdout, each line with the service's name before it.
//!
//! Control characters are escaped, so that a service cannot write over the line of another one. Colors stay: the reader is a
//! terminal, or a container's log that people read in one. The log file has the bytes.
//!
//! Writing to stdout can block: a terminal can be stopped with Ctrl-S, and the reader of a pipe can sleep. So a thread
//! of its own writes. Lines that it cannot take in time are dropped and counted.

use crate::sys::{signal, terminal};
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

/// The largest number of chunks that wait for stdout. A chunk is the lines of one batch.
const CHUNKS_MAX: usize = 64;
/// The longest line, in bytes; a longer one is cut.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// The end of a line that was cut.
const CUT: &[u8] = b" [cut]";
/// The stack size of the thread, which needs little to copy bytes.
const STACK_BYTES: usize = 64 * 1024;

/// The handle to the thread that writes to stdout. All services share the thread.
#[derive(Clone, Debug)]
pub(super) struct StdoutWriter {
    chunks: SyncSender<Vec<u8>>,
}

impl StdoutWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system cannot create a thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (chunks, received) = sync_channel(CHUNKS_MAX);
        thread::Builder::new()
            .name("stdout".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                signal::block_all(); // the loop handles signals
                write_chunks(&received, std::io::stdout());
            })?;
        Ok(Self { chunks })
    }
}

/// Writes until all senders are dropped, or stdout is closed; the senders then notice that the receiver is gone.
fn write_chunks(chunks: &Receiver<Vec<u8>>, mut out: impl Write) {
    for chunk in chunks {
        if out.write_all(&chunk).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// Splits the output of one instance into lines and puts the service's name before each.
#[derive(Debug)]
pub(super) struct PrefixedLines {
    stdout: StdoutWriter,
    prefix: Vec<u8>,
    unfinished: Vec<u8>,
    is_cut: bool,
    dropped: u64,
}

impl PrefixedLines {
    pub(super) fn new(stdout: StdoutWriter, service: &str) -> Self {
        let prefix = format!("{service} | ").into_bytes();
        Self {
            stdout,
            prefix,
            unfinished: Vec::new(),
            is_cut: false,
            dropped: 0,
        }
    }

    /// Writes the lines that end in `bytes`, and keeps the rest for the next call. Never waits.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let mut chunk = Vec::with_capacity(bytes.len() + self.prefix.len());
        let mut lines = 0;
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.keep(end);
                    self.finish_line(&mut chunk);
                    lines += 1;
                }
                None => self.keep(piece),
            }
        }
        self.send(chunk, lines);
    }

    /// Writes the unfinished last line, if there is one.
    pub(super) fn finish(&mut self) {
        if self.unfinished.is_empty() {
            return;
        }
        let mut chunk = Vec::new();
        self.finish_line(&mut chunk);
        self.send(chunk, 1);
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.unfinished.len());
        self.is_cut |= piece.len() > room;
        self.unfinished
            .extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn finish_line(&mut self, chunk: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.unfinished);
        let is_cut = std::mem::take(&mut self.is_cut);
        // "\r\n" is a line end too.
        let (line, end) = match line.strip_suffix(b"\r") {
            Some(line) if !is_cut => (line, "\r\n"),
            _ => (line.as_slice(), "\n"),
        };
        chunk.extend_from_slice(&self.prefix);
        chunk.extend_from_slice(terminal::escape_output(line, true).as_bytes());
        if is_cut {
            chunk.extend_from_slice(CUT);
        }
        chunk.extend_from_slice(end.as_bytes());
    }

    fn send(&mut self, chunk: Vec<u8>, lines: u64) {
        if lines == 0 {
            return;
        }
        let chunk = if self.dropped == 0 {
            chunk
        } else {
            self.after_dropped_lines(chunk)
        };
        match self.stdout.chunks.try_send(chunk) {
            Ok(()) => self.dropped = 0,
            Err(TrySendError::Full(_)) => self.dropped += lines,
            // stdout is closed; the file has everything.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// `chunk` after a line that says how many lines were dropped.
    fn after_dropped_lines(&self, chunk: Vec<u8>) -> Vec<u8> {
        let notice = format!(
            "stayd: {} lines not shown: the terminal is slow\n",
            self.dropped
        );
        [self.prefix.clone(), notice.into_bytes(), chunk].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> (PrefixedLines, Receiver<Vec<u8>>) {
        let (chunks, received) = sync_channel(1);
        (PrefixedLines::new(StdoutWriter { chunks }, "db"), received)
    }

    fn next(received: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(received.try_recv().unwrap_or_default()).expect("text")
    }

    #[test]
    fn each_line_gets_the_service_name_and_a_long_line_is_cut() {
        let (mut lines, received) = lines();
        lines.write(b"one\ntwo");
        assert_eq!(next(&received), "db | one\n");
        lines.write(b"-and-a-half\n");
        assert_eq!(next(&received), "db | two-and-a-half\n");
        lines.write(&vec![b'x'; 3 * LINE_BYTES_MAX]);
        lines.write(b"\n");
        let long = next(&received);
        assert_eq!(long.len(), "db | ".len() + LINE_BYTES_MAX + CUT.len() + 1);
        lines.write(b"end");
        lines.finish();
        assert_eq!(next(&received), "db | end\n");
    }

    #[test]
    fn a_service_cannot_write_over_the_line_of_another_one() {
        let (mut lines, received) = lines();
        lines.write(b"\rweb | FAKE\x1b[2J\n\x1b[31mred\tx\r\n\xff\n");
        assert_eq!(
            next(&received),
            "db | \\rweb | FAKE\\x1b[2J\ndb | \x1b[31mred\tx\x1b[0m\r\ndb | \\xff\n"
        );
        lines.write(&vec![b'\r'; LINE_BYTES_MAX + 1]);
        lines.write(b"\n");
        assert!(!next(&received).contains('\r'));
    }

    #[test]
    fn a_slow_terminal_loses_lines_and_shows_how_many() {
        let (mut lines, received) = lines();
        for text in ["1\n", "2\n", "3\n"] {
            lines.write(text.as_bytes());
        }
        assert_eq!(next(&received), "db | 1\n");
        lines.write(b"4\n");
        assert_eq!(
            next(&received),
            "db | stayd: 2 lines not shown: the terminal is slow\ndb | 4\n"
        );
    }
}
