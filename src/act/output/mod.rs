//! Captured output: one FIFO for each life, emptied into a file by one thread for all.
//!
//! The child writes through ends that were opened for it alone, stdout and stderr apart and write-only:
//! Python's asyncio takes a read-write end for a closed peer, and node leaves `O_NONBLOCK` behind on a shared
//! one. It also inherits a read end, its claim fd. So a reader is left when stayd is killed: no SIGPIPE, and
//! the next stayd goes on with what is buffered. What is lost nonetheless: what is buffered when the service
//! ends while no stayd runs, and what a program itself drops when a full pipe says EAGAIN.

mod fifo;
mod file;
mod journald;
mod pump;
mod relief;
mod screen;
mod sink;
mod stream;
mod tail;

pub use sink::{Audience, Sink};
pub use tail::{Follow, tail, tail_and_follow};

use crate::act::claims::ClaimFile;
use crate::act::dirs::state_dir::{StateDir, make_folder};
use crate::config::Log;
use crate::decide::event::Life;
use crate::sys::{clock, pipe};
use file::LogFile;
use pump::Pump;
use screen::{Lines, Screen};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stream::Stream;

/// Capacities to ask for; the first that the system grants is taken, else its default stays.
const CAPACITIES_BYTES: [usize; 3] = [1024 * 1024, 512 * 1024, 256 * 1024];
/// A line handed out for evidence is cut to this.
const LAST_LINE_BYTES_MAX: usize = 1024;

/// A life and whose it is.
pub type InstanceKey = (String, Life);

/// What the pump has to say; it never logs by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The disk refuses a service's output; it is thrown away, counted, and tried again.
    Refused {
        /// Whose.
        key: InstanceKey,
        /// What the system said.
        cause: String,
    },
    /// The disk takes it again; the same sentence stands in the file.
    Lost {
        /// Whose.
        key: InstanceKey,
        /// How much is missing.
        bytes: u64,
        /// Why.
        cause: String,
    },
    /// A life is over, and somebody outside it still holds its output open. It is closed all the same.
    HeldOpen {
        /// Whose.
        key: InstanceKey,
        /// The process, when it could be found.
        holder: Option<i32>,
    },
}

/// Where [`News`] goes; called on the pump's thread, so it must not wait.
pub type Tell = Arc<dyn Fn(News) + Send + Sync>;

/// What a new life gets.
#[derive(Debug)]
pub struct InstanceOutput {
    /// Its fd 1.
    pub stdout: OwnedFd,
    /// Its fd 2.
    pub stderr: OwnedFd,
    /// Its claim fd.
    pub claim: OwnedFd,
    /// What to write into the claim.
    pub claim_file: ClaimFile,
}

/// Why there is no output for a life, "cannot …: cause".
#[derive(Debug)]
pub struct OutputError {
    step: &'static str,
    place: PathBuf,
    error: io::Error,
}

impl std::fmt::Display for OutputError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "cannot {} {}: {}",
            self.step,
            self.place.display(),
            self.error
        )
    }
}

impl std::error::Error for OutputError {}

/// The output of all services.
pub struct Output {
    state: StateDir,
    audience: Audience,
    tell: Tell,
    pump: RefCell<Option<Pump>>,
    screen: RefCell<Option<Screen>>,
    fifos: RefCell<BTreeMap<InstanceKey, PathBuf>>,
}

impl Output {
    /// Starts nothing yet: the pump's thread begins with the first life that needs it.
    #[must_use]
    pub fn new(state: StateDir, audience: Audience, tell: Tell) -> Self {
        Self {
            state,
            audience,
            tell,
            pump: RefCell::default(),
            screen: RefCell::default(),
            fifos: RefCell::default(),
        }
    }

    /// Makes the descriptors of a new life. `owner` (uid, gid) is the service's user when it is not ours.
    /// The write ends are the caller's to hand to the child and to close.
    ///
    /// # Errors
    /// [`OutputError`] when no FIFO can be made anywhere, or the pump is stuck.
    pub fn open(
        &self,
        service: &str,
        life: Life,
        log: &Log,
        owner: Option<(u32, u32)>,
    ) -> Result<InstanceOutput, OutputError> {
        let path = self.make_fifo(service, life, owner)?;
        let refused = |step, error| OutputError {
            step,
            place: path.clone(),
            error,
        };
        let reader = fifo::open_reader(&path).map_err(|error| refused("open", error))?;
        let claim = fifo::open_reader(&path).map_err(|error| refused("open", error))?;
        let claim_file = fifo::identify(&reader).map_err(|error| refused("look at", error))?;
        let (stdout, stderr) = match Sink::settle(log.to, self.audience) {
            sink @ (Sink::File | Sink::Both) => {
                let ends = fifo::open_ends(&path).map_err(|error| refused("open", error))?;
                self.watch(service, life, log, sink, reader)
                    .map_err(|error| refused("capture output through", error))?;
                ends
            }
            // No stream to be had: what we write goes to the journal too, under our own name.
            Sink::Journal => sink::journal_ends(service)
                .or_else(|_| sink::our_ends())
                .map_err(|error| refused("pass our stdout on beside", error))?,
            Sink::Ours => {
                sink::our_ends().map_err(|error| refused("pass our stdout on beside", error))?
            }
        };
        self.fifos
            .borrow_mut()
            .insert((service.to_owned(), life), path);
        Ok(InstanceOutput {
            stdout,
            stderr,
            claim: claim.into(),
            claim_file,
        })
    }

    /// A read end of a life's output, for whoever goes on with it: with that open, no writer ever sees a broken pipe.
    #[must_use]
    pub fn leave(&self, service: &str, life: Life) -> Option<OwnedFd> {
        let fifos = self.fifos.borrow();
        let path = fifos.get(&(service.to_owned(), life))?;
        Some(fifo::open_reader(path).ok()?.into())
    }

    /// Goes on with a life that an earlier stayd began: what is buffered comes first.
    ///
    /// # Errors
    /// [`OutputError`] when its FIFO is gone, or is not the one that the claim names.
    pub fn adopt(
        &self,
        service: &str,
        life: Life,
        log: &Log,
        claimed: ClaimFile,
    ) -> Result<(), OutputError> {
        let places = self.state.fifo_places(service, &fifo::name(life));
        let found = places.iter().find_map(|path| {
            let reader = fifo::open_reader(path).ok()?;
            (fifo::identify(&reader).ok()? == claimed).then_some((path, reader))
        });
        let Some((path, reader)) = found else {
            let error = io::ErrorKind::NotFound.into();
            let place = places.into_iter().next().unwrap_or_default();
            return Err(OutputError {
                step: "go on with the output in",
                place,
                error,
            });
        };
        let path = path.clone();
        self.go_on(service, life, log, path, reader)
    }

    /// Goes on with a life of the version before this one, which has left `reader`.
    ///
    /// # Errors
    /// [`OutputError`] when there is no thread to move it.
    pub fn resume(
        &self,
        service: &str,
        life: Life,
        log: &Log,
        reader: File,
    ) -> Result<(), OutputError> {
        let places = self.state.fifo_places(service, &fifo::name(life));
        let is_it = |path: &PathBuf| {
            let there = fifo::open_reader(path).and_then(|there| fifo::identify(&there));
            there.is_ok_and(|there| fifo::identify(&reader).is_ok_and(|ours| ours == there))
        };
        let path = places.iter().find(|path| is_it(path)).or(places.first());
        let path = path.cloned().unwrap_or_default();
        self.go_on(service, life, log, path, reader)
    }

    fn go_on(
        &self,
        service: &str,
        life: Life,
        log: &Log,
        path: PathBuf,
        reader: File,
    ) -> Result<(), OutputError> {
        let sink = Sink::settle(log.to, self.audience);
        if matches!(sink, Sink::File | Sink::Both) {
            self.watch(service, life, log, sink, reader)
                .map_err(|error| OutputError {
                    step: "capture output through",
                    place: path.clone(),
                    error,
                })?;
        }
        self.fifos
            .borrow_mut()
            .insert((service.to_owned(), life), path);
        Ok(())
    }

    /// The life is over: what is buffered is still moved, then its FIFO goes, whoever holds it open. To be
    /// called when its claim has been released or replaced, because inodes are reused at once.
    pub fn retire(&self, service: &str, life: Life) {
        let key = (service.to_owned(), life);
        let Some(path) = self.fifos.borrow_mut().remove(&key) else {
            return;
        };
        // Gone already when somebody has deleted the folder.
        drop(fs::remove_file(path));
        if let Some(pump) = &*self.pump.borrow() {
            // A pump that is stuck in the disk keeps the FIFO until it comes back; nobody waits for it.
            drop(pump.retire(key));
        }
    }

    /// The claim files of a service that still have their names, whichever life they are of.
    #[must_use]
    pub fn claim_files(&self, service: &str) -> Vec<ClaimFile> {
        let folders = self.state.fifo_folders(service).into_iter();
        folders
            .flat_map(|(folder, prefix)| fifo::identities(&folder, &prefix))
            .collect()
    }

    /// The last `count` lines of a service, oldest first, each cut to 1 KiB; for evidence. Empty when its
    /// output does not go to a file.
    ///
    /// # Errors
    /// What open(2) and read(2) say.
    pub fn last_lines(&self, service: &str, count: usize) -> io::Result<Vec<String>> {
        let mut lines = tail(&self.state.service_logs(service), count)?;
        for line in &mut lines {
            line.truncate(line.floor_char_boundary(LAST_LINE_BYTES_MAX));
        }
        Ok(lines)
    }

    /// Moves what is there and ends the pump's thread; false when it is stuck in the disk for longer than
    /// `within`. The FIFOs stay for the next stayd.
    pub fn close(&self, within: Duration) -> bool {
        self.pump.take().is_none_or(|pump| pump.stop(within))
    }

    /// Makes the life's FIFO in the first place that takes one, and lets its owner open it.
    fn make_fifo(
        &self,
        service: &str,
        life: Life,
        owner: Option<(u32, u32)>,
    ) -> Result<PathBuf, OutputError> {
        let logs = self.state.service_logs(service);
        let mut refusal = None;
        // A folder that cannot be made is told by the FIFO that cannot be made in it.
        drop(make_folder(&logs));
        self.sweep(service, &logs);
        for place in self.state.fifo_places(service, &fifo::name(life)) {
            match fifo::make(&place, owner) {
                Ok(()) => return Ok(place),
                Err(error) => {
                    let step = "make the FIFO";
                    refusal.get_or_insert(OutputError { step, place, error });
                }
            }
        }
        Err(refusal.unwrap_or_else(|| OutputError {
            step: "make a FIFO in",
            place: logs,
            error: io::ErrorKind::NotFound.into(),
        }))
    }

    /// Removes FIFOs that ended lives of an earlier stayd left behind.
    fn sweep(&self, service: &str, logs: &Path) {
        let Ok(entries) = fs::read_dir(logs) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let life = name.to_str().and_then(fifo::life_of).map(Life);
            let fifos = self.fifos.borrow();
            if life.is_some_and(|life| !fifos.contains_key(&(service.to_owned(), life))) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    fn watch(
        &self,
        service: &str,
        life: Life,
        log: &Log,
        sink: Sink,
        reader: File,
    ) -> io::Result<()> {
        let capacity = pipe::enlarge(&reader, &CAPACITIES_BYTES);
        let lines = match sink {
            Sink::Both => Some(Lines::new(self.screen()?, service)),
            Sink::File | Sink::Ours | Sink::Journal => None,
        };
        let file = LogFile::new(
            self.state.service_logs(service),
            log.max_size_bytes,
            log.keep,
        );
        let stream = Stream::new((service.to_owned(), life), reader, capacity, file, lines);
        let pump = match self.pump.take() {
            Some(pump) => pump,
            None => Pump::start(Arc::clone(&self.tell))?,
        };
        self.pump.borrow_mut().insert(pump).watch(stream)
    }

    fn screen(&self) -> io::Result<Screen> {
        let mut screen = self.screen.borrow_mut();
        if screen.is_none() {
            *screen = Some(Screen::start()?);
        }
        screen.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The time that stops in sleep: a drain that was due while the machine slept is not overdue.
fn awake() -> Duration {
    clock::sample().awake
}
