//! Showing services' output on our own stdout, each line behind its service's name.
//!
//! A terminal can be stopped with Ctrl-S and a pipe's reader can sleep; so a thread of its own writes, and
//! what it cannot take in time is dropped and counted.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

/// Chunks waiting for the terminal; each is what one batch brought.
const CHUNKS_MAX: usize = 64;
/// A longer line is cut.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// What ends a cut line.
const CUT: &[u8] = b" [cut]";
/// Copying bytes needs little stack.
const STACK_BYTES: usize = 64 * 1024;

/// Our stdout, shared by all services.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    chunks: SyncSender<Vec<u8>>,
}

impl Screen {
    /// Starts the thread that writes to our stdout.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start() -> std::io::Result<Self> {
        Self::start_on(std::io::stdout())
    }

    fn start_on(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (chunks, waiting) = sync_channel(CHUNKS_MAX);
        thread::Builder::new()
            .name("screen".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || show(&waiting, out))?;
        Ok(Self { chunks })
    }
}

/// Writes until the last service has gone or nobody reads any more; the senders then drop by themselves.
fn show(waiting: &Receiver<Vec<u8>>, mut out: impl Write) {
    for chunk in waiting {
        if out.write_all(&chunk).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// One life's lines on their way to the screen.
#[derive(Debug)]
pub(super) struct Lines {
    screen: Screen,
    prefix: Vec<u8>,
    unfinished: Vec<u8>,
    is_cut: bool,
    dropped: u64,
}

impl Lines {
    pub(super) fn new(screen: Screen, service: &str) -> Self {
        let prefix = format!("{service} | ").into_bytes();
        Self {
            screen,
            prefix,
            unfinished: Vec::new(),
            is_cut: false,
            dropped: 0,
        }
    }

    /// Shows the lines that `bytes` end; keeps the rest for the next call. Never waits.
    pub(super) fn show(&mut self, bytes: &[u8]) {
        let mut chunk = Vec::with_capacity(bytes.len() + self.prefix.len());
        let mut lines = 0;
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.keep(end);
                    self.finish_into(&mut chunk);
                    lines += 1;
                }
                None => self.keep(piece),
            }
        }
        self.send(chunk, lines);
    }

    /// Shows what was begun and never ended.
    pub(super) fn finish(&mut self) {
        if self.unfinished.is_empty() {
            return;
        }
        let mut chunk = Vec::new();
        self.finish_into(&mut chunk);
        self.send(chunk, 1);
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.unfinished.len());
        self.is_cut |= piece.len() > room;
        self.unfinished
            .extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn finish_into(&mut self, chunk: &mut Vec<u8>) {
        chunk.extend_from_slice(&self.prefix);
        chunk.append(&mut self.unfinished);
        if std::mem::take(&mut self.is_cut) {
            chunk.extend_from_slice(CUT);
        }
        chunk.push(b'\n');
    }

    fn send(&mut self, chunk: Vec<u8>, lines: u64) {
        if lines == 0 {
            return;
        }
        let chunk = if self.dropped == 0 {
            chunk
        } else {
            self.behind_gap(chunk)
        };
        match self.screen.chunks.try_send(chunk) {
            Ok(()) => self.dropped = 0,
            Err(TrySendError::Full(_)) => self.dropped += lines,
            // Nobody looks any more (stdout is closed): the file has it all.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    fn behind_gap(&self, chunk: Vec<u8>) -> Vec<u8> {
        let gap = format!(
            "stayd: {} lines not shown: the terminal is slow\n",
            self.dropped
        );
        [self.prefix.clone(), gap.into_bytes(), chunk].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> (Lines, Receiver<Vec<u8>>) {
        let (chunks, waiting) = sync_channel(1);
        (Lines::new(Screen { chunks }, "db"), waiting)
    }

    fn next(waiting: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(waiting.try_recv().unwrap_or_default()).expect("text")
    }

    #[test]
    fn lines_are_named_whole_and_cut() {
        let (mut lines, waiting) = lines();
        lines.show(b"one\ntwo");
        assert_eq!(next(&waiting), "db | one\n");
        lines.show(b"-and-a-half\n");
        assert_eq!(next(&waiting), "db | two-and-a-half\n");
        lines.show(&vec![b'x'; 3 * LINE_BYTES_MAX]);
        lines.show(b"\n");
        let long = next(&waiting);
        assert_eq!(long.len(), "db | ".len() + LINE_BYTES_MAX + CUT.len() + 1);
        lines.show(b"end");
        lines.finish();
        assert_eq!(next(&waiting), "db | end\n");
    }

    #[test]
    fn a_slow_terminal_loses_lines_and_is_told_how_many() {
        let (mut lines, waiting) = lines();
        for text in ["1\n", "2\n", "3\n"] {
            lines.show(text.as_bytes());
        }
        assert_eq!(next(&waiting), "db | 1\n");
        lines.show(b"4\n");
        assert_eq!(
            next(&waiting),
            "db | stayd: 2 lines not shown: the terminal is slow\ndb | 4\n"
        );
    }
}
