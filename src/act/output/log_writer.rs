//! The output thread: the one thread that moves the output of all services from their FIFOs into their log files.
//!
//! It sleeps in poll(2) until a FIFO has bytes, and then a short time more, so that it moves batches. Idle services do
//! not wake it.

use super::disk_stall::DiskStallGuard;
use super::stream::{FillLevel, InstanceStream, TurnOutcome};
use super::{InstanceKey, NoticeHandler, OutputNotice, awake};
use crate::sys::clock;
use crate::sys::pipe::{self, Drained, FifoDrain};
use crate::sys::process::Stat;
use crate::sys::signal;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The largest number of commands that wait for the thread. More means that the thread hangs in a disk operation.
const COMMANDS_MAX: usize = 1024;
/// The longest time from the first byte until the batch is moved.
const GATHER_MAX: Duration = Duration::from_millis(3);
/// The shortest such time: less than a process that writes pages at full speed needs to fill half of a 1 MiB FIFO.
const GATHER_MIN: Duration = Duration::from_micros(50);
/// The stack size of the thread, which needs little to move bytes.
const STACK_BYTES: usize = 256 * 1024;

#[derive(Debug)]
enum WriterCommand {
    Add(Box<InstanceStream>),
    Retire(InstanceKey),
    Stop,
}

/// The handle to the output thread.
#[derive(Debug)]
pub(super) struct LogWriter {
    commands: SyncSender<WriterCommand>,
    /// One byte is written to this pipe for each command; it wakes the thread from poll(2).
    wake_pipe: PipeWriter,
    thread: JoinHandle<()>,
    ended: Receiver<()>,
}

impl LogWriter {
    pub(super) fn start(on_notice: NoticeHandler) -> io::Result<Self> {
        let (commands, received) = sync_channel(COMMANDS_MAX);
        let (end, ended) = sync_channel(1);
        let (wake_reader, wake_pipe) = io::pipe()?;
        let state = LogWriterThread {
            commands: received,
            wake_pipe: wake_reader,
            on_notice,
            streams: Vec::new(),
            fifo_drain: FifoDrain::default(),
            gather: GATHER_MAX,
            guard: DiskStallGuard::start()?,
        };
        let thread = thread::Builder::new()
            .name("output".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                signal::block_all(); // the loop handles signals
                state.run();
                // The receiver is gone when `stop` has timed out.
                let _ = end.try_send(());
            })?;
        Ok(Self {
            commands,
            wake_pipe,
            thread,
            ended,
        })
    }

    /// Starts to move the output of `stream`.
    pub(super) fn add(&self, stream: InstanceStream) -> io::Result<()> {
        self.send(WriterCommand::Add(Box::new(stream)))
    }

    /// Drains and closes the stream of an instance that has ended.
    pub(super) fn retire(&self, key: InstanceKey) -> io::Result<()> {
        self.send(WriterCommand::Retire(key))
    }

    /// Moves what the FIFOs contain and ends the thread. Returns false when that takes longer than `timeout`.
    pub(super) fn stop(self, timeout: Duration) -> bool {
        if self.send(WriterCommand::Stop).is_err() || self.ended.recv_timeout(timeout).is_err() {
            return false;
        }
        self.thread.join().is_ok()
    }

    fn send(&self, command: WriterCommand) -> io::Result<()> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(_) => {
                    io::Error::other("the output thread hangs in a disk operation")
                }
                TrySendError::Disconnected(_) => io::Error::other("the output thread has ended"),
            })?;
        // One byte for each accepted command: far fewer than a pipe holds, so this never blocks.
        (&self.wake_pipe).write_all(&[0])
    }
}

/// The state of the output thread.
struct LogWriterThread {
    commands: Receiver<WriterCommand>,
    wake_pipe: PipeReader,
    on_notice: NoticeHandler,
    /// In the order in which they were added, so that an older instance of a service comes before a newer one.
    streams: Vec<InstanceStream>,
    fifo_drain: FifoDrain,
    /// The time that services get to fill their FIFOs before a batch is moved.
    gather: Duration,
    guard: Arc<DiskStallGuard>,
}

impl LogWriterThread {
    fn run(mut self) {
        let mut is_more_waiting = false;
        loop {
            let has_command = self.wait(is_more_waiting);
            let continues = !has_command || self.execute_commands();
            is_more_waiting = self.move_due();
            if !continues {
                return self.finish_all();
            }
        }
    }

    /// Sleeps until there is something to do. Returns true when a command came.
    fn wait(&mut self, is_more_waiting: bool) -> bool {
        // poll(2) fails with EINTR or ENOMEM. Pause, so that the loop does not spin.
        let ready = self
            .poll(self.timeout(is_more_waiting))
            .inspect_err(|_| clock::sleep(GATHER_MAX));
        let (has_command, ready) = ready.unwrap_or_default();
        if !ready.is_empty() && !is_more_waiting {
            clock::sleep(self.gather);
        }
        for index in ready {
            self.streams[index].wake();
        }
        has_command
    }

    /// Adjusts the gather time so that a batch is about a quarter of a FIFO. splice(2) locks out the process that
    /// writes, so moving one byte costs as much as moving a hundred, and a full FIFO blocks that process.
    fn adapt_gather_time(&mut self, level: FillLevel) {
        self.gather = match level {
            FillLevel::Low => (self.gather * 2).min(GATHER_MAX),
            FillLevel::Medium => self.gather,
            FillLevel::High => (self.gather / 2).max(GATHER_MIN),
        };
    }

    /// Returns whether a command came, and the indices of the streams that have bytes or have ended.
    fn poll(&self, timeout: PollTimeout) -> nix::Result<(bool, Vec<usize>)> {
        let polled: Vec<usize> = (0..self.streams.len())
            .filter(|&index| !self.streams[index].is_ended())
            .collect();
        let mut fds: Vec<PollFd<'_>> = std::iter::once(self.wake_pipe.as_fd())
            .chain(
                polled
                    .iter()
                    .map(|&index| self.streams[index].fifo().fifo().as_fd()),
            )
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        poll(&mut fds, timeout)?;
        let mut ready = fds.iter().map(|fd| fd.any().unwrap_or(false));
        let has_command = ready.next().unwrap_or(false);
        let streams = polled
            .into_iter()
            .zip(ready)
            .filter(|&(_, is_ready)| is_ready);
        Ok((has_command, streams.map(|(index, _)| index).collect()))
    }

    fn timeout(&self, is_more_waiting: bool) -> PollTimeout {
        if is_more_waiting {
            return PollTimeout::ZERO;
        }
        let next = self
            .streams
            .iter()
            .filter_map(InstanceStream::deadline)
            .min();
        next.map_or(PollTimeout::NONE, |deadline| {
            // Rounded up to whole milliseconds, so that the stream is due after the wait.
            let left = deadline.saturating_sub(awake()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        })
    }

    /// Executes the commands that came. Returns false when one of them is to stop.
    fn execute_commands(&mut self) -> bool {
        let mut bytes = [0; 64];
        // poll(2) has reported that the pipe is readable, so this returns at once, with 0 bytes when the handle was
        // dropped.
        let Ok(count) = self.wake_pipe.read(&mut bytes) else {
            return true;
        };
        for command in self.commands.try_iter().take(count) {
            match command {
                WriterCommand::Add(stream) => {
                    self.guard.register(Arc::clone(stream.fifo()));
                    wake_older_instances(&mut self.streams, &stream.key.0);
                    self.streams.push(*stream);
                }
                WriterCommand::Retire(key) => {
                    let retired = self.streams.iter_mut().filter(|stream| stream.key == key);
                    retired.for_each(|stream| stream.start_closing(awake()));
                }
                WriterCommand::Stop => {
                    self.streams.iter_mut().for_each(InstanceStream::wake);
                    return false;
                }
            }
        }
        count > 0
    }

    /// Gives a turn to every stream that is due, the oldest first. Returns true when one has more bytes waiting.
    fn move_due(&mut self) -> bool {
        let now = awake();
        let mut is_more_waiting = false;
        let mut level = FillLevel::Low;
        let mut finished = Vec::new();
        for index in 0..self.streams.len() {
            if !self.streams[index].is_due(now) {
                continue;
            }
            match self.take_turn(index) {
                TurnOutcome::Idle(stream_level) => level = level.max(stream_level),
                TurnOutcome::MoreWaiting => is_more_waiting = true,
                TurnOutcome::Finished { is_still_held } => finished.push((index, is_still_held)),
            }
        }
        for (index, is_still_held) in finished.into_iter().rev() {
            let stream = self.streams.remove(index);
            self.finish(stream, is_still_held);
        }
        self.adapt_gather_time(level);
        is_more_waiting
    }

    fn take_turn(&mut self, index: usize) -> TurnOutcome {
        let stream = &mut self.streams[index];
        let fifo = Arc::clone(stream.fifo());
        self.guard.run_turn(&fifo, || {
            stream.take_turn(&mut self.fifo_drain, &*self.on_notice)
        })
    }

    /// Finishes a removed stream. If another process still holds the FIFO open, reports it.
    fn finish(&self, mut stream: InstanceStream, is_still_held: bool) {
        let fifo = Arc::clone(stream.fifo());
        self.guard.unregister(&fifo);
        self.guard
            .run_turn(&fifo, || stream.finish(&*self.on_notice));
        if !is_still_held {
            return;
        }
        let holder = holder_of(fifo.fifo());
        let is_transient = match &holder {
            // Before exec, a child of stayd has all descriptors of stayd; exec closes them.
            Some(holder) => holder.before_exec,
            // stayd may not see the holder, or it has ended. A byte read here would be discarded with the FIFO anyway.
            None => matches!(pipe::read(fifo.fifo(), &mut [0]), Ok(Drained::Ended)),
        };
        if is_transient {
            return;
        }
        (self.on_notice)(OutputNotice::HeldOpen {
            key: stream.key.clone(),
            holder: holder.map(|holder| holder.process.pid),
        });
    }

    fn finish_all(&mut self) {
        for stream in &mut self.streams {
            stream.finish(&*self.on_notice);
        }
        self.guard.stop();
    }
}

/// The process that holds `fifo` open, as far as stayd may see it.
fn holder_of(fifo: &File) -> Option<Stat> {
    let meta = fifo.metadata().ok()?;
    pipe::find_holder(meta.dev(), meta.ino()).ok()?
}

/// Makes the older streams of `service` due. A new instance begins after the old one has ended, so the bytes that are
/// left in the old FIFO go into the file first. Otherwise a line of the new instance could split a line of the old one.
fn wake_older_instances(streams: &mut [InstanceStream], service: &str) {
    streams
        .iter_mut()
        .filter(|stream| stream.key.0 == service)
        .for_each(InstanceStream::wake);
}
