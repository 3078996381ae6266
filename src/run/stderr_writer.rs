//! Writes log lines to stderr on a thread of its own, so that a blocked reader does not block the loop.
//!
//! A log line contains text from outside, such as the command line of a process. It is escaped here, where every line passes,
//! so that it cannot forge a second line.
//!
//! The reader of stderr can stop reading: a terminal stopped with Ctrl-S, a full pipe, a stuck journald. Lines that the
//! reader does not take in time are dropped and counted.

use crate::sys::{signal, terminal};
use std::borrow::Cow;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

/// Lines that may wait for the reader.
const LINES_MAX: usize = 1024;
/// Copying bytes needs little stack.
const STACK_BYTES: usize = 64 * 1024;
/// Time for the last lines to be written before the process ends.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// The writer of this process, once logging has started.
static WRITER: OnceLock<StderrWriter> = OnceLock::new();

enum Message {
    Line(Vec<u8>),
    /// Answered when all lines before it have been written.
    Flush(SyncSender<()>),
}

/// Queues lines for the thread; it never waits.
#[derive(Debug)]
struct StderrWriter {
    queue: SyncSender<Message>,
    /// Lines dropped since the last line that was written.
    dropped: Arc<AtomicU64>,
}

/// Starts the thread. Without a thread, lines go to stderr directly.
pub(super) fn start() {
    if let Ok(writer) = StderrWriter::start(std::io::stderr()) {
        // A second start, in tests, keeps the first writer.
        let _ = WRITER.set(writer);
    }
}

/// How text from outside in a line is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The line is text.
    Text,
    /// The line is a JSON object.
    Json,
}

/// A writer for one log line of this form.
pub(super) fn writer(form: Form) -> impl Write {
    LineWriter {
        writer: WRITER.get(),
        form,
    }
}

/// Waits, up to [`FLUSH_MAX`], until all queued lines have been written. Call it before the process ends.
pub(super) fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSH_MAX);
    }
}

impl StderrWriter {
    fn start(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        thread::Builder::new()
            .name("stderr".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || write_lines(&messages, &counted, out))?;
        Ok(Self { queue, dropped })
    }

    fn write(&self, line: &[u8]) {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Line(line.to_vec())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self, within: Duration) {
        let (written, wait) = sync_channel(1);
        if self.queue.try_send(Message::Flush(written)).is_ok() {
            // The process ends in any case.
            let _ = wait.recv_timeout(within);
        }
    }
}

/// Escapes and queues one line. The logger writes each line with one call.
struct LineWriter {
    /// None if there is no thread.
    writer: Option<&'static StderrWriter>,
    form: Form,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let escaped = escape_line(line, self.form);
        match self.writer {
            Some(writer) => writer.write(escaped.as_bytes()),
            None => std::io::stderr().write_all(escaped.as_bytes())?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The line, escaped, with one line end.
fn escape_line(line: &[u8], form: Form) -> String {
    let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
    let escaped: Cow<'_, str> = match form {
        Form::Text => terminal::escape(&text),
        Form::Json => terminal::escape_json(&text),
    };
    format!("{escaped}\n")
}

/// The thread: writes line by line. It ignores write errors and keeps emptying the queue, for example after the reader has
/// closed the pipe.
fn write_lines(messages: &Receiver<Message>, dropped: &AtomicU64, mut out: impl Write) {
    // Only the loop's thread takes signals. This thread survives until execve(2) in an upgrade.
    signal::block_all();
    for message in messages {
        match message {
            Message::Line(line) => {
                let _closed = out.write_all(&line);
                let lost = dropped.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _closed = writeln!(
                        out,
                        "{lost} messages were dropped: the reader of stderr did not take them"
                    );
                }
            }
            // The receiver may have given up at its deadline.
            Message::Flush(written) => drop(written.try_send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, LINES_MAX, StderrWriter, escape_line};
    use std::io::{BufRead, BufReader, pipe};
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_blocked_reader_does_not_block_the_writer_and_dropped_lines_are_counted() {
        let (reader, out) = pipe().expect("a pipe");
        let writer = StderrWriter::start(out).expect("a thread");
        let line = [vec![b'x'; 4095], vec![b'\n']].concat();
        // More than the pipe and the queue hold. If a write blocked, the test would not end.
        for _ in 0..2 * LINES_MAX {
            writer.write(&line);
        }
        let mut lines = BufReader::new(reader).lines();
        let dropped = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("dropped")));
        assert!(dropped.is_some(), "the gap is reported");
    }

    #[test]
    fn text_from_outside_forges_no_second_line_and_json_keeps_its_value() {
        let line = "db: held by a\x1b[2J\r\n<3>forged\u{202e}\n";
        assert_eq!(
            escape_line(line.as_bytes(), Form::Text),
            "db: held by a\\x1b[2J\\r\\n<3>forged\\u{202e}\n"
        );
        let json = "{\"message\":\"a\\n\u{9b}31m\"}\n";
        assert_eq!(
            escape_line(json.as_bytes(), Form::Json),
            "{\"message\":\"a\\n\\u009b31m\"}\n"
        );
    }

    #[test]
    fn a_flush_waits_until_queued_lines_are_written() {
        let (reader, out) = pipe().expect("a pipe");
        let writer = StderrWriter::start(out).expect("a thread");
        writer.write(b"last line\n");
        writer.flush(LONG);
        drop(writer);
        let written: Vec<_> = BufReader::new(reader)
            .lines()
            .map_while(Result::ok)
            .collect();
        assert_eq!(written, ["last line"]);
    }
}
