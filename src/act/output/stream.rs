//! Moves the output of one instance from its FIFO into the log file, and counts what is lost when the disk refuses it.

use super::disk_stall::SharedFifo;
use super::log_file::LogFile;
use super::stdout::PrefixedLines;
use super::{InstanceKey, OutputNotice, awake};
use crate::sys::pipe::{self, DrainRequest, Drained, FifoDrain};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The most bytes that are moved for one service before the next one gets its turn.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes read and discarded at a time.
const DISCARD_BYTES: usize = 64 * 1024;
/// The cause of a loss during a stall of the disk.
const SLOW: &str = "the disk is slow";
/// The first pause after the disk refused a write. It doubles with each further failure.
const RETRY_MIN: Duration = Duration::from_millis(250);
/// The longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The FIFO of an ended instance counts as drained when it stays empty for this long.
const QUIET: Duration = Duration::from_millis(20);
/// The FIFO of an ended instance is closed after this time, even if a process still writes to it.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// Bytes that did not reach the file, and the retry of the write.
#[derive(Debug)]
struct LostBytes {
    count: u64,
    cause: String,
    is_reported: bool,
    /// The time of the next attempt to write.
    retry_at: Duration,
    /// The pause after that attempt if it fails.
    retry_in: Duration,
}

/// When to close the FIFO of an ended instance.
#[derive(Clone, Copy, Debug)]
struct DrainDeadlines {
    quiet_at: Duration,
    give_up_at: Duration,
}

/// The output of one instance.
#[derive(Debug)]
pub(super) struct InstanceStream {
    pub(super) key: InstanceKey,
    fifo: Arc<SharedFifo>,
    log: LogFile,
    /// Copies the output to stayd's own stdout, if configured.
    lines: Option<PrefixedLines>,
    lost: Option<LostBytes>,
    closing: Option<DrainDeadlines>,
    /// The FIFO is empty and has no writer, so no more bytes can come.
    is_ended: bool,
    /// The stream takes a turn as soon as possible.
    is_due: bool,
}

/// How full the FIFO was at the start of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FillLevel {
    /// Less than an eighth: the batch was too small for the cost of its system calls.
    Low,
    /// The intended level.
    Medium,
    /// More than half: the writing process will soon block.
    High,
}

/// The outcome of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnOutcome {
    /// The FIFO is drained; the next turn comes when there are new bytes.
    Idle(FillLevel),
    /// There are more bytes, so the stream needs the next turn at once.
    MoreWaiting,
    /// The instance has ended and its FIFO is drained. The stream can be removed.
    Finished {
        /// A process still holds a write end of the FIFO.
        is_still_held: bool,
    },
}

impl InstanceStream {
    pub(super) fn new(
        key: InstanceKey,
        fifo: File,
        capacity: usize,
        log: LogFile,
        lines: Option<PrefixedLines>,
    ) -> Self {
        Self {
            key,
            fifo: Arc::new(SharedFifo::new(fifo, capacity)),
            log,
            lines,
            lost: None,
            closing: None,
            is_ended: false,
            is_due: true,
        }
    }

    /// The FIFO that the bytes come from.
    pub(super) const fn fifo(&self) -> &Arc<SharedFifo> {
        &self.fifo
    }

    /// Starts to close the stream of an ended instance: it is drained until no more bytes come.
    pub(super) fn start_closing(&mut self, now: Duration) {
        self.closing = Some(DrainDeadlines {
            quiet_at: now + QUIET,
            give_up_at: now + DRAIN_MAX,
        });
    }

    /// Whether no more bytes can come.
    pub(super) const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Makes the stream due.
    pub(super) fn wake(&mut self) {
        self.is_due = true;
    }

    /// Whether the stream needs a turn at `now`.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.is_due || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// When the stream needs a turn even if no new bytes come.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let drained = self
            .closing
            .map(|closing| closing.quiet_at.min(closing.give_up_at));
        let retry = self.lost.as_ref().map(|lost| lost.retry_at);
        drained.into_iter().chain(retry).min()
    }

    /// Moves the bytes in the FIFO into the file. Never waits for the child.
    pub(super) fn take_turn(
        &mut self,
        fifo_drain: &mut FifoDrain,
        on_notice: &dyn Fn(OutputNotice),
    ) -> TurnOutcome {
        self.count_stall_losses();
        let moved = if self.may_write() {
            self.report_loss(on_notice)
                .and_then(|()| self.move_batch(fifo_drain))
        } else {
            self.discard()
        };
        let moved = moved.or_else(|error| {
            self.write_failed(&error, on_notice);
            self.discard()
        });
        // No failure of reading an open FIFO is known. If it fails, treat the stream as ended.
        let (bytes, state) = moved.unwrap_or((0, Drained::Ended));
        self.is_ended = state == Drained::Ended;
        self.outcome(bytes, state)
    }

    fn outcome(&mut self, bytes: usize, state: Drained) -> TurnOutcome {
        let now = awake();
        if let Some(closing) = &mut self.closing {
            let is_quiet = bytes == 0 && now >= closing.quiet_at;
            if self.is_ended || is_quiet || now >= closing.give_up_at {
                return TurnOutcome::Finished {
                    is_still_held: !self.is_ended,
                };
            }
            if bytes > 0 {
                closing.quiet_at = now + QUIET;
            }
        }
        self.is_due = matches!(state, Drained::Bytes(_)) || self.fifo.has_discarded();
        if self.is_due {
            TurnOutcome::MoreWaiting
        } else {
            TurnOutcome::Idle(self.fill_level(bytes))
        }
    }

    fn fill_level(&self, bytes: usize) -> FillLevel {
        if bytes < self.fifo.capacity() / 8 {
            FillLevel::Low
        } else if bytes > self.fifo.capacity() / 2 {
            FillLevel::High
        } else {
            FillLevel::Medium
        }
    }

    fn may_write(&self) -> bool {
        self.lost
            .as_ref()
            .is_none_or(|lost| awake() >= lost.retry_at)
    }

    /// Moves what the FIFO contained at the start of the turn, but no more than [`BATCH_BYTES_MAX`]. Returns the number
    /// of bytes and why it stopped. Bytes that come meanwhile wait for the next batch: following a process that writes
    /// all the time would move its single writes.
    fn move_batch(&mut self, fifo_drain: &mut FifoDrain) -> io::Result<(usize, Drained)> {
        let mut total = 0;
        loop {
            let (moved, is_all) = self.move_once(fifo_drain)?;
            let Drained::Bytes(count) = moved else {
                return Ok((total, moved));
            };
            total += count;
            if is_all {
                return Ok((total, Drained::Empty));
            }
            if total >= BATCH_BYTES_MAX {
                return Ok((total, moved));
            }
        }
    }

    /// Makes one transfer. Also returns whether it moved everything that was in the FIFO when it began.
    fn move_once(&mut self, fifo_drain: &mut FifoDrain) -> io::Result<(Drained, bool)> {
        let fifo = self.fifo.fifo();
        // If the number of bytes cannot be read, assume that there are some.
        let is_more = || pipe::bytes_waiting(fifo).map_or(true, |bytes| bytes > 0);
        let position = self.log.write_position(is_more)?;
        let mut copy = Vec::new();
        let max = usize::try_from(position.bytes_max)
            .unwrap_or(usize::MAX)
            .min(BATCH_BYTES_MAX);
        let is_bounded = position.to_newline || self.lines.is_some();
        let want = DrainRequest {
            max,
            to_newline: position.to_newline,
            copy: self.lines.is_some().then_some(&mut copy),
        };
        let moved = fifo_drain.transfer(fifo, position.file, position.offset, want);
        if let Some(lines) = &mut self.lines {
            lines.write(&copy);
        }
        let moved = moved.map_err(|failed| {
            self.count_loss(failed.lost as u64, &failed.error.to_string());
            failed.error
        })?;
        let is_all = matches!(moved, Drained::Bytes(count) if count < max) && !is_bounded;
        Ok((moved, is_all))
    }

    /// Reads and discards the bytes in the FIFO, and counts them. They are still copied to stayd's stdout.
    fn discard(&mut self) -> io::Result<(usize, Drained)> {
        let mut buffer = vec![0; DISCARD_BYTES];
        let mut total = 0;
        while total < BATCH_BYTES_MAX {
            let moved = pipe::read(self.fifo.fifo(), &mut buffer)?;
            let Drained::Bytes(count) = moved else {
                return Ok((total, moved));
            };
            total += count;
            if let Some(lost) = &mut self.lost {
                lost.count += count as u64;
            }
            if let Some(lines) = &mut self.lines {
                lines.write(&buffer[..count]);
            }
        }
        Ok((total, Drained::Bytes(total)))
    }

    /// Adds `bytes` to the loss. `cause` is stored only when this is the first loss since the last report.
    fn count_loss(&mut self, bytes: u64, cause: &str) -> &mut LostBytes {
        let lost = self.lost.get_or_insert_with(|| LostBytes {
            count: 0,
            cause: cause.to_owned(),
            is_reported: false,
            retry_at: awake(),
            retry_in: RETRY_MIN,
        });
        lost.count += bytes;
        lost
    }

    /// Counts the bytes that were discarded while a turn hung in the disk.
    fn count_stall_losses(&mut self) {
        let bytes = self.fifo.take_discarded();
        if bytes > 0 {
            self.count_loss(bytes, SLOW);
        }
    }

    fn write_failed(&mut self, error: &io::Error, on_notice: &dyn Fn(OutputNotice)) {
        let lost = self.count_loss(0, &error.to_string());
        lost.retry_at = awake() + lost.retry_in;
        lost.retry_in = (lost.retry_in * 2).min(RETRY_MAX);
        if !std::mem::replace(&mut lost.is_reported, true) {
            on_notice(OutputNotice::WriteFailed {
                key: self.key.clone(),
                cause: error.to_string(),
            });
        }
    }

    /// Writes the number of lost bytes into the file, now that a write may succeed again.
    fn report_loss(&mut self, on_notice: &dyn Fn(OutputNotice)) -> io::Result<()> {
        let Some(lost) = &self.lost else {
            return Ok(());
        };
        let (bytes, cause) = (lost.count, lost.cause.clone());
        if bytes > 0 {
            self.log
                .append_line(&format!("stayd: {bytes} bytes lost: {cause}"))?;
            on_notice(OutputNotice::BytesLost {
                key: self.key.clone(),
                bytes,
                cause,
            });
        }
        self.lost = None;
        Ok(())
    }

    /// Writes an unfinished line to stayd's stdout, and an unreported loss into the file.
    pub(super) fn finish(&mut self, on_notice: &dyn Fn(OutputNotice)) {
        if let Some(lines) = &mut self.lines {
            lines.finish();
        }
        self.count_stall_losses();
        // If the disk still refuses, `WriteFailed` was sent when that began.
        drop(self.report_loss(on_notice));
    }
}
