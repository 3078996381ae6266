//! stderr, written to by a thread of its own: whoever reads it may sleep (a terminal stopped with Ctrl-S, a full pipe, a
//! stuck journald), and the loop waits for nobody. What is not taken in time is dropped and counted.

use crate::sys::signal;
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
/// How long an end waits for the last lines to be taken.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// The one voice of this process, once it has begun to log.
static VOICE: OnceLock<Voice> = OnceLock::new();

enum Order {
    Line(Vec<u8>),
    /// To be answered when all lines before it have been taken.
    Flushed(SyncSender<()>),
}

/// Takes lines for stderr; never waits.
#[derive(Debug)]
struct Voice {
    orders: SyncSender<Order>,
    /// Lines dropped since the last that was written.
    dropped: Arc<AtomicU64>,
}

/// Starts the thread; where none can be had, lines go to stderr directly.
pub(super) fn start() {
    if let Ok(voice) = Voice::start_on(std::io::stderr()) {
        // A second start (tests) keeps the first voice.
        let _ = VOICE.set(voice);
    }
}

/// A place for one line.
pub(super) fn writer() -> Box<dyn Write> {
    match VOICE.get() {
        Some(voice) => Box::new(Mouth(voice)),
        None => Box::new(std::io::stderr()),
    }
}

/// Waits until what was said has been taken, or nobody takes it in time. For the end of the process.
pub(super) fn flush() {
    if let Some(voice) = VOICE.get() {
        voice.flush(FLUSH_MAX);
    }
}

impl Voice {
    fn start_on(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (orders, waiting) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&dropped);
        thread::Builder::new()
            .name("voice".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || speak(&waiting, &told, out))?;
        Ok(Self { orders, dropped })
    }

    fn say(&self, line: &[u8]) {
        if let Err(TrySendError::Full(_)) = self.orders.try_send(Order::Line(line.to_vec())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self, within: Duration) {
        let (taken, wait) = sync_channel(1);
        if self.orders.try_send(Order::Flushed(taken)).is_ok() {
            // Late is the same as never: we end all the same.
            let _ = wait.recv_timeout(within);
        }
    }
}

/// A line on its way; the logger writes each at once.
struct Mouth(&'static Voice);

impl Write for Mouth {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes line by line. A reader that has gone is no reason to stop: the queue is emptied all the same.
fn speak(waiting: &Receiver<Order>, dropped: &AtomicU64, mut out: impl Write) {
    // Signals are for the loop's thread: this one outlives it when another version takes over.
    signal::block_all();
    for order in waiting {
        match order {
            Order::Line(line) => {
                let _gone = out.write_all(&line);
                let lost = dropped.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _gone = writeln!(out, "{lost} messages were dropped: nobody took them");
                }
            }
            // Whoever waited may have given up.
            Order::Flushed(taken) => drop(taken.try_send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, Voice};
    use std::io::{BufRead, BufReader, pipe};
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn nobody_is_waited_for_and_what_was_dropped_is_counted() {
        let (reader, writer) = pipe().expect("a pipe");
        let voice = Voice::start_on(writer).expect("a thread");
        let line = [vec![b'x'; 4095], vec![b'\n']].concat();
        // More than the pipe and the queue hold: comes back at once, or this test never ends.
        for _ in 0..2 * LINES_MAX {
            voice.say(&line);
        }
        let mut lines = BufReader::new(reader).lines();
        let dropped = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("dropped")));
        assert!(dropped.is_some(), "the gap is told");
    }

    #[test]
    fn a_flush_waits_for_what_was_said() {
        let (reader, writer) = pipe().expect("a pipe");
        let voice = Voice::start_on(writer).expect("a thread");
        voice.say(b"last words\n");
        voice.flush(LONG);
        drop(voice);
        let said: Vec<_> = BufReader::new(reader)
            .lines()
            .map_while(Result::ok)
            .collect();
        assert_eq!(said, ["last words"]);
    }
}
