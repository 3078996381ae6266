//! One life's output on its way from the FIFO into the file.

use super::file::LogFile;
use super::relief::Valve;
use super::screen::Lines;
use super::{InstanceKey, News, awake};
use crate::sys::pipe::{self, DrainRequest, Drained, FifoDrain};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Drained for one service before the next has its turn.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Thrown away at once.
const DISCARD_BYTES: usize = 64 * 1024;
/// Why bytes are lost while a turn hangs.
const SLOW: &str = "the disk is slow";
/// A disk that refused is tried again after this, twice as long each time …
const RETRY_MIN: Duration = Duration::from_millis(250);
/// … up to this.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// An ended life's FIFO that stays empty for this long is drained.
const QUIET: Duration = Duration::from_millis(20);
/// An ended life's FIFO is closed after this, whoever goes on writing.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// Bytes that never reached the file, and why.
#[derive(Debug)]
struct Loss {
    bytes: u64,
    cause: String,
    is_told: bool,
    /// Not tried before.
    retry_at: Duration,
    /// The next wait after that.
    retry_in: Duration,
}

/// How far the end of a life has come.
#[derive(Clone, Copy, Debug)]
struct Closing {
    quiet_at: Duration,
    give_up_at: Duration,
}

/// One life's stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) key: InstanceKey,
    valve: Arc<Valve>,
    log: LogFile,
    lines: Option<Lines>,
    loss: Option<Loss>,
    closing: Option<Closing>,
    /// No writer is left; nothing can come.
    is_ended: bool,
    /// It asked for its next turn.
    is_due: bool,
}

/// How full the FIFO was when its turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Load {
    /// Less than an eighth: the batch was hardly worth its system calls.
    Light,
    /// What it should be.
    Fair,
    /// More than half: the writer comes near to being held up.
    Heavy,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The next turn comes when something does.
    Calm(Load),
    /// There was so much that it wants the next turn at once.
    Busy,
    /// The life's output is over, and drained; `true` when somebody still holds a write end.
    Over(bool),
}

impl Stream {
    pub(super) fn new(
        key: InstanceKey,
        fifo: File,
        capacity: usize,
        log: LogFile,
        lines: Option<Lines>,
    ) -> Self {
        Self {
            key,
            valve: Arc::new(Valve::new(fifo, capacity)),
            log,
            lines,
            loss: None,
            closing: None,
            is_ended: false,
            is_due: true,
        }
    }

    /// Where its bytes come from.
    pub(super) const fn valve(&self) -> &Arc<Valve> {
        &self.valve
    }

    /// The life is over: drain until quiet, then close.
    pub(super) fn close_at(&mut self, now: Duration) {
        self.closing = Some(Closing {
            quiet_at: now + QUIET,
            give_up_at: now + DRAIN_MAX,
        });
    }

    /// Whether new bytes can wake us.
    pub(super) fn is_awaited(&self) -> bool {
        !self.is_ended
    }

    /// Something came.
    pub(super) fn wake(&mut self) {
        self.is_due = true;
    }

    /// Whether it wants a turn now.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.is_due || self.deadline().is_some_and(|at| at <= now)
    }

    /// When it wants a turn though nothing came.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let drained = self
            .closing
            .map(|closing| closing.quiet_at.min(closing.give_up_at));
        let retry = self.loss.as_ref().map(|loss| loss.retry_at);
        drained.into_iter().chain(retry).min()
    }

    /// Moves what is there. Never waits for the child.
    pub(super) fn take_turn(&mut self, fifo_drain: &mut FifoDrain, tell: &dyn Fn(News)) -> Turn {
        self.own_up();
        let moved = if self.may_write() {
            self.mend(tell).and_then(|()| self.move_batch(fifo_drain))
        } else {
            self.discard()
        };
        let moved = moved.or_else(|error| {
            self.refused(&error, tell);
            self.discard()
        });
        // Reading an open FIFO fails in no known way; if it does, the stream has ended.
        let (bytes, state) = moved.unwrap_or((0, Drained::Ended));
        self.is_ended = state == Drained::Ended;
        self.judge(bytes, state)
    }

    fn judge(&mut self, bytes: usize, state: Drained) -> Turn {
        let now = awake();
        if let Some(closing) = &mut self.closing {
            let is_quiet = bytes == 0 && now >= closing.quiet_at;
            if self.is_ended || is_quiet || now >= closing.give_up_at {
                return Turn::Over(!self.is_ended);
            }
            if bytes > 0 {
                closing.quiet_at = now + QUIET;
            }
        }
        self.is_due = matches!(state, Drained::Bytes(_)) || self.valve.was_opened();
        if self.is_due {
            Turn::Busy
        } else {
            Turn::Calm(self.load(bytes))
        }
    }

    fn load(&self, bytes: usize) -> Load {
        if bytes < self.valve.capacity() / 8 {
            Load::Light
        } else if bytes > self.valve.capacity() / 2 {
            Load::Heavy
        } else {
            Load::Fair
        }
    }

    fn may_write(&self) -> bool {
        self.loss
            .as_ref()
            .is_none_or(|loss| awake() >= loss.retry_at)
    }

    /// Moves what the FIFO held when its turn came, or as much as others can wait for. Returns how much, and what
    /// stopped it. What comes meanwhile gathers for the next batch: to chase a writer is to move its single writes.
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

    /// One transfer, and whether it left nothing behind but what has come since.
    fn move_once(&mut self, fifo_drain: &mut FifoDrain) -> io::Result<(Drained, bool)> {
        let fifo = self.valve.fifo();
        // What cannot be counted is tried.
        let is_more = || pipe::bytes_waiting(fifo).map_or(true, |bytes| bytes > 0);
        let place = self.log.place(is_more)?;
        let mut copy = Vec::new();
        let max = usize::try_from(place.room)
            .unwrap_or(usize::MAX)
            .min(BATCH_BYTES_MAX);
        let is_bounded = place.to_newline || self.lines.is_some();
        let want = DrainRequest {
            max,
            to_newline: place.to_newline,
            copy: self.lines.is_some().then_some(&mut copy),
        };
        let moved = fifo_drain.transfer(fifo, place.file, place.offset, want);
        if let Some(lines) = &mut self.lines {
            lines.show(&copy);
        }
        let moved = moved.map_err(|refused| {
            self.lose(refused.lost as u64, &refused.error.to_string());
            refused.error
        })?;
        let is_all = matches!(moved, Drained::Bytes(count) if count < max) && !is_bounded;
        Ok((moved, is_all))
    }

    /// Reads and throws away what is there, counting; the screen still gets it.
    fn discard(&mut self) -> io::Result<(usize, Drained)> {
        let mut buffer = vec![0; DISCARD_BYTES];
        let mut total = 0;
        while total < BATCH_BYTES_MAX {
            let moved = pipe::read(self.valve.fifo(), &mut buffer)?;
            let Drained::Bytes(count) = moved else {
                return Ok((total, moved));
            };
            total += count;
            if let Some(loss) = &mut self.loss {
                loss.bytes += count as u64;
            }
            if let Some(lines) = &mut self.lines {
                lines.show(&buffer[..count]);
            }
        }
        Ok((total, Drained::Bytes(total)))
    }

    /// Begins to count, or goes on counting, what is lost for `cause`.
    fn lose(&mut self, bytes: u64, cause: &str) -> &mut Loss {
        let loss = self.loss.get_or_insert_with(|| Loss {
            bytes: 0,
            cause: cause.to_owned(),
            is_told: false,
            retry_at: awake(),
            retry_in: RETRY_MIN,
        });
        loss.bytes += bytes;
        loss
    }

    /// Takes over what was thrown away while a turn hung.
    fn own_up(&mut self) {
        let bytes = self.valve.taken();
        if bytes > 0 {
            self.lose(bytes, SLOW);
        }
    }

    fn refused(&mut self, error: &io::Error, tell: &dyn Fn(News)) {
        let loss = self.lose(0, &error.to_string());
        loss.retry_at = awake() + loss.retry_in;
        loss.retry_in = (loss.retry_in * 2).min(RETRY_MAX);
        if !std::mem::replace(&mut loss.is_told, true) {
            tell(News::Refused {
                key: self.key.clone(),
                cause: error.to_string(),
            });
        }
    }

    /// Says in the file what is missing from it, now that it may take bytes again.
    fn mend(&mut self, tell: &dyn Fn(News)) -> io::Result<()> {
        let Some(loss) = &self.loss else {
            return Ok(());
        };
        let (bytes, cause) = (loss.bytes, loss.cause.clone());
        if bytes > 0 {
            self.log
                .append_line(&format!("stayd: {bytes} bytes lost: {cause}"))?;
            tell(News::Lost {
                key: self.key.clone(),
                bytes,
                cause,
            });
        }
        self.loss = None;
        Ok(())
    }

    /// The last of it: an unfinished line for the screen, an unsaid loss for the file.
    pub(super) fn finish(&mut self, tell: &dyn Fn(News)) {
        if let Some(lines) = &mut self.lines {
            lines.finish();
        }
        self.own_up();
        // A disk that still refuses was named when it began to.
        drop(self.mend(tell));
    }
}
