//! The one thread that moves all services' output. It sleeps in poll(2) until something comes, and then a
//! moment more, so that it moves batches; an idle service wakes it for nothing.

use super::relief::Relief;
use super::stream::{Load, Stream, Turn};
use super::{InstanceKey, News, Tell, awake};
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

/// Orders waiting for the thread; more means that it is stuck in the disk.
const ORDERS_MAX: usize = 1024;
/// From the first byte to the batch, at most …
const GATHER_MAX: Duration = Duration::from_millis(3);
/// … and at least: less than a writer of pages at full speed takes to fill half a FIFO of 1 MiB.
const GATHER_MIN: Duration = Duration::from_micros(50);
/// Moving bytes needs little stack.
const STACK_BYTES: usize = 256 * 1024;

#[derive(Debug)]
enum Order {
    Watch(Box<Stream>),
    Retire(InstanceKey),
    Stop,
}

/// Our end of the thread.
#[derive(Debug)]
pub(super) struct Pump {
    orders: SyncSender<Order>,
    bell: PipeWriter,
    thread: JoinHandle<()>,
    ended: Receiver<()>,
}

impl Pump {
    pub(super) fn start(tell: Tell) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let (end, ended) = sync_channel(1);
        let (door, bell) = io::pipe()?;
        let worker = Worker {
            inbox,
            door,
            tell,
            streams: Vec::new(),
            fifo_drain: FifoDrain::default(),
            gather: GATHER_MAX,
            relief: Relief::start()?,
        };
        let thread = thread::Builder::new()
            .name("output".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                signal::block_all(); // they are for the loop
                worker.run();
                // Nobody listens when we were given up.
                let _ = end.try_send(());
            })?;
        Ok(Self {
            orders,
            bell,
            thread,
            ended,
        })
    }

    pub(super) fn watch(&self, stream: Stream) -> io::Result<()> {
        self.order(Order::Watch(Box::new(stream)))
    }

    pub(super) fn retire(&self, key: InstanceKey) -> io::Result<()> {
        self.order(Order::Retire(key))
    }

    /// Moves what is there and ends the thread; false when it was stuck for longer than `within`.
    pub(super) fn stop(self, within: Duration) -> bool {
        if self.order(Order::Stop).is_err() || self.ended.recv_timeout(within).is_err() {
            return false;
        }
        self.thread.join().is_ok()
    }

    fn order(&self, order: Order) -> io::Result<()> {
        self.orders
            .try_send(order)
            .map_err(|refused| match refused {
                TrySendError::Full(_) => io::Error::other("the disk holds up all output"),
                TrySendError::Disconnected(_) => io::Error::other("the output thread has ended"),
            })?;
        // One byte for each accepted order: far fewer than a pipe holds, so this never blocks.
        (&self.bell).write_all(&[0])
    }
}

struct Worker {
    inbox: Receiver<Order>,
    door: PipeReader,
    tell: Tell,
    /// In the order in which they came: of one service's lives the elder before the younger.
    streams: Vec<Stream>,
    fifo_drain: FifoDrain,
    /// How long the writers are left to fill their FIFOs before a batch is moved.
    gather: Duration,
    relief: Arc<Relief>,
}

impl Worker {
    fn run(mut self) {
        let mut is_busy = false;
        loop {
            let is_rung = self.wait(is_busy);
            let goes_on = !is_rung || self.obey();
            is_busy = self.move_due();
            if !goes_on {
                return self.finish_all();
            }
        }
    }

    /// Sleeps until there is something to do; true when it is an order.
    fn wait(&mut self, is_busy: bool) -> bool {
        // EINTR, ENOMEM at worst: no reason to spin.
        let woken = self
            .poll(self.timeout(is_busy))
            .inspect_err(|_| clock::sleep(GATHER_MAX));
        let (is_rung, woken) = woken.unwrap_or_default();
        if !woken.is_empty() && !is_busy {
            clock::sleep(self.gather);
        }
        for at in woken {
            self.streams[at].wake();
        }
        is_rung
    }

    /// A batch of a quarter of a FIFO, more or less, is what to wait for: splice(2) locks the writer out while it moves,
    /// so that one byte costs as much as a hundred, and a full FIFO holds the writer up.
    fn adapt(&mut self, load: Load) {
        self.gather = match load {
            Load::Light => (self.gather * 2).min(GATHER_MAX),
            Load::Fair => self.gather,
            Load::Heavy => (self.gather / 2).max(GATHER_MIN),
        };
    }

    /// Whether an order came, and which streams have something.
    fn poll(&self, timeout: PollTimeout) -> nix::Result<(bool, Vec<usize>)> {
        let awaited: Vec<usize> = (0..self.streams.len())
            .filter(|&at| self.streams[at].is_awaited())
            .collect();
        let mut fds: Vec<PollFd<'_>> = std::iter::once(self.door.as_fd())
            .chain(
                awaited
                    .iter()
                    .map(|&at| self.streams[at].valve().fifo().as_fd()),
            )
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        poll(&mut fds, timeout)?;
        let mut ready = fds.iter().map(|fd| fd.any().unwrap_or(false));
        let is_rung = ready.next().unwrap_or(false);
        let woken = awaited
            .into_iter()
            .zip(ready)
            .filter(|&(_, is_ready)| is_ready);
        Ok((is_rung, woken.map(|(at, _)| at).collect()))
    }

    fn timeout(&self, is_busy: bool) -> PollTimeout {
        if is_busy {
            return PollTimeout::ZERO;
        }
        let next = self.streams.iter().filter_map(Stream::deadline).min();
        next.map_or(PollTimeout::NONE, |at| {
            // Rounded up: a millisecond late, never a turn for nothing.
            let left = at.saturating_sub(awake()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        })
    }

    /// Does what was ordered; false when that is to stop.
    fn obey(&mut self) -> bool {
        let mut bytes = [0; 64];
        // The bell has rung, so this returns at once; with nothing when whoever rings it has gone.
        let Ok(rings) = self.door.read(&mut bytes) else {
            return true;
        };
        for order in self.inbox.try_iter().take(rings) {
            match order {
                Order::Watch(stream) => {
                    self.relief.watch(Arc::clone(stream.valve()));
                    wake_elders(&mut self.streams, &stream.key.0);
                    self.streams.push(*stream);
                }
                Order::Retire(key) => {
                    let retired = self.streams.iter_mut().filter(|stream| stream.key == key);
                    retired.for_each(|stream| stream.close_at(awake()));
                }
                Order::Stop => {
                    self.streams.iter_mut().for_each(Stream::wake);
                    return false;
                }
            }
        }
        rings > 0
    }

    /// Gives a turn to every stream that is due, the eldest first; true when one wants the next at once.
    fn move_due(&mut self) -> bool {
        let now = awake();
        let mut is_busy = false;
        let mut load = Load::Light;
        let mut over = Vec::new();
        for at in 0..self.streams.len() {
            if !self.streams[at].is_due(now) {
                continue;
            }
            match self.take_turn(at) {
                Turn::Calm(its) => load = load.max(its),
                Turn::Busy => is_busy = true,
                Turn::Over(is_held) => over.push((at, is_held)),
            }
        }
        for (at, is_held) in over.into_iter().rev() {
            let stream = self.streams.remove(at);
            self.finish(stream, is_held);
        }
        self.adapt(load);
        is_busy
    }

    fn take_turn(&mut self, at: usize) -> Turn {
        let stream = &mut self.streams[at];
        let valve = Arc::clone(stream.valve());
        self.relief.attend(&valve, || {
            stream.take_turn(&mut self.fifo_drain, &*self.tell)
        })
    }

    fn finish(&self, mut stream: Stream, is_held: bool) {
        let valve = Arc::clone(stream.valve());
        self.relief.forget(&valve);
        self.relief.attend(&valve, || stream.finish(&*self.tell));
        if !is_held {
            return;
        }
        let holder = holder_of(valve.fifo());
        let is_passing = match &holder {
            // A child of ours has all that we have until exec, and nothing of it then.
            Some(holder) => holder.before_exec,
            // Unseen, or gone meanwhile; what is read here is thrown away anyhow.
            None => matches!(pipe::read(valve.fifo(), &mut [0]), Ok(Drained::Ended)),
        };
        if is_passing {
            return;
        }
        (self.tell)(News::HeldOpen {
            key: stream.key.clone(),
            holder: holder.map(|holder| holder.process.pid),
        });
    }

    fn finish_all(&mut self) {
        for stream in &mut self.streams {
            stream.finish(&*self.tell);
        }
        self.relief.end();
    }
}

fn holder_of(fifo: &File) -> Option<Stat> {
    let meta = fifo.metadata().ok()?;
    pipe::find_holder(meta.dev(), meta.ino()).ok()?
}

/// A life begins when the one before it has ended: what that has left in its FIFO goes into the file first, or a line of
/// it could be torn by a line of the younger.
fn wake_elders(streams: &mut [Stream], service: &str) {
    let elders = streams.iter_mut();
    let elders = elders.filter(|stream| stream.key.0 == service);
    elders.for_each(Stream::wake);
}
