//! Captured output of services: one FIFO for each instance, and one thread that moves all output into log files.
//!
//! The child writes through ends that are opened for it alone, write-only and separate for stdout and stderr: Python's
//! asyncio treats a read-write end as a closed peer, and node leaves `O_NONBLOCK` set on a shared one. The child also
//! inherits a read end, its claim fd. So the FIFO still has a reader when stayd is killed: the service gets no SIGPIPE,
//! and the next stayd reads what is buffered. Two kinds of output are lost nevertheless: what is buffered when the
//! service ends while no stayd runs, and what a program itself drops when a write to the full pipe returns EAGAIN.

mod destination;
mod disk_stall;
mod fifo;
mod journald;
mod log_file;
mod log_writer;
mod stdout;
mod stream;
mod tail;

pub use destination::{LogDestination, StdoutReader};
pub use tail::{LogFollower, tail, tail_and_follow};

use crate::act::claims::ClaimFile;
use crate::act::dirs::state_dir::{StateDir, create_folder};
use crate::config::Log;
use crate::decide::event::Life;
use crate::sys::{clock, pipe};
use log_file::LogFile;
use log_writer::LogWriter;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stdout::{PrefixedLines, StdoutWriter};
use stream::InstanceStream;

/// Sizes of the pipe to ask for, in this order, until the system accepts one. If it accepts none, its default stays.
const CAPACITIES_BYTES: [usize; 3] = [1024 * 1024, 512 * 1024, 256 * 1024];

/// A service and the number of its instance.
pub type InstanceKey = (String, Life);

/// A report of the output thread. The thread does not log by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputNotice {
    /// The disk refuses a service's output. The output is discarded and counted, and the write is tried again.
    WriteFailed {
        /// The instance.
        key: InstanceKey,
        /// The error of the system call.
        cause: String,
    },
    /// The disk accepts output again. The log file contains the same information.
    BytesLost {
        /// The instance.
        key: InstanceKey,
        /// The number of bytes that are missing.
        bytes: u64,
        /// The error that began the loss.
        cause: String,
    },
    /// An instance has ended and a process outside it still holds its FIFO open. stayd closes the FIFO.
    HeldOpen {
        /// The instance.
        key: InstanceKey,
        /// The process id, if the process could be found.
        holder: Option<i32>,
    },
}

/// Receives each [`OutputNotice`]. It is called on the output thread, so it must not wait.
pub type NoticeHandler = Arc<dyn Fn(OutputNotice) + Send + Sync>;

/// The descriptors of a new instance.
#[derive(Debug)]
pub struct InstanceOutput {
    /// The child's fd 1.
    pub stdout: OwnedFd,
    /// The child's fd 2.
    pub stderr: OwnedFd,
    /// The child's claim fd.
    pub claim: OwnedFd,
    /// The identity of the claim fd's file, for the claim.
    pub claim_file: ClaimFile,
}

/// The names of an instance's FIFO on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FifoNames {
    /// It has every name that its file system allows.
    Complete,
    /// One name was missing, and is there again.
    OneWasMissing,
    /// None is there, and a file without a name cannot get one again.
    Lost,
}

/// Why the output of an instance could not be set up: "cannot …: cause".
#[derive(Debug)]
pub struct OutputError {
    step: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl std::fmt::Display for OutputError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "cannot {} {}: {}",
            self.step,
            self.path.display(),
            self.error
        )
    }
}

impl std::error::Error for OutputError {}

/// The output of all services.
pub struct Output {
    state: StateDir,
    stdout_reader: StdoutReader,
    on_notice: NoticeHandler,
    writer: RefCell<Option<LogWriter>>,
    stdout: RefCell<Option<StdoutWriter>>,
    fifos: RefCell<BTreeMap<InstanceKey, InstanceFifo>>,
}

/// The FIFO of an instance.
struct InstanceFifo {
    /// Its first name. It is missing if a user or a cleaner of temporary files has deleted it.
    path: PathBuf,
    /// Its identity, which distinguishes it from another file of that name.
    file: ClaimFile,
}

impl Output {
    /// Starts no thread. The output thread starts with the first instance that needs it.
    #[must_use]
    pub fn new(state: StateDir, stdout_reader: StdoutReader, on_notice: NoticeHandler) -> Self {
        Self {
            state,
            stdout_reader,
            on_notice,
            writer: RefCell::default(),
            stdout: RefCell::default(),
            fifos: RefCell::default(),
        }
    }

    /// Creates the descriptors of a new instance. `owner` (uid, gid) is the service's user if that is not our user. The
    /// caller passes the descriptors to the child and closes them.
    ///
    /// # Errors
    /// [`OutputError`] when no FIFO can be created in any folder, or the output thread hangs.
    pub fn open(
        &self,
        service: &str,
        life: Life,
        log: &Log,
        owner: Option<(u32, u32)>,
    ) -> Result<InstanceOutput, OutputError> {
        let path = self.create_fifo(service, life, owner)?;
        let failed = |step, error| OutputError {
            step,
            path: path.clone(),
            error,
        };
        let reader = fifo::open_reader(&path).map_err(|error| failed("open", error))?;
        let claim = fifo::open_reader(&path).map_err(|error| failed("open", error))?;
        mark(&claim);
        let claim_file =
            fifo::identify(&reader).map_err(|error| failed("read the metadata of", error))?;
        let no_stdout = |error| failed("pass stayd's stdout to the service with the FIFO", error);
        let (stdout, stderr) = match LogDestination::resolve(log.to, self.stdout_reader) {
            destination @ (LogDestination::File | LogDestination::FileAndStdout) => {
                let ends = fifo::open_write_ends(&path).map_err(|error| failed("open", error))?;
                mark(&ends.0);
                mark(&ends.1);
                self.add_stream(service, life, log, destination, reader)
                    .map_err(|error| failed("capture output through", error))?;
                ends
            }
            // Without a stream of its own, the service inherits our stdout, which journald reads too, with our name.
            LogDestination::Journal => destination::journald_ends(service)
                .or_else(|_| destination::inherited_ends())
                .map_err(no_stdout)?,
            LogDestination::Inherit => destination::inherited_ends().map_err(no_stdout)?,
        };
        let fifo = InstanceFifo {
            path,
            file: claim_file,
        };
        self.fifos
            .borrow_mut()
            .insert((service.to_owned(), life), fifo);
        Ok(InstanceOutput {
            stdout,
            stderr,
            claim: claim.into(),
            claim_file,
        })
    }

    /// A read end of an instance's FIFO, to hand over to a new version of stayd. While it is open, the service gets no
    /// SIGPIPE.
    #[must_use]
    pub fn open_handover_reader(&self, service: &str, life: Life) -> Option<OwnedFd> {
        let fifos = self.fifos.borrow();
        let fifo = fifos.get(&(service.to_owned(), life))?;
        let names = [fifo.path.clone(), self.state.second_fifo_name(service)];
        Some(fifo::open_first(&names, fifo.file)?.into())
    }

    /// Continues with the output of an instance that an earlier stayd started, beginning with what is buffered.
    ///
    /// # Errors
    /// [`OutputError`] when its FIFO is missing or is not the one that the claim names.
    pub fn adopt(
        &self,
        service: &str,
        life: Life,
        log: &Log,
        claimed: ClaimFile,
    ) -> Result<(), OutputError> {
        let paths = self.state.fifo_paths(service, &fifo::name(life));
        let path = first_name(&paths, claimed);
        let second = self.state.second_fifo_name(service);
        let Some(reader) = fifo::open_first(&[path.clone(), second], claimed) else {
            return Err(OutputError {
                step: "continue with the output in",
                path,
                error: io::ErrorKind::NotFound.into(),
            });
        };
        let fifo = InstanceFifo {
            path,
            file: claimed,
        };
        self.continue_with(service, life, log, fifo, reader)
    }

    /// Continues with the output of an instance that the previous version of stayd handed over with `reader`.
    ///
    /// # Errors
    /// [`OutputError`] when the output thread cannot be started or hangs.
    pub fn adopt_inherited(
        &self,
        service: &str,
        life: Life,
        log: &Log,
        reader: File,
    ) -> Result<(), OutputError> {
        let paths = self.state.fifo_paths(service, &fifo::name(life));
        let file = fifo::identify(&reader).map_err(|error| OutputError {
            step: "read the metadata of",
            path: paths.first().cloned().unwrap_or_default(),
            error,
        })?;
        let path = first_name(&paths, file);
        let fifo = InstanceFifo { path, file };
        self.continue_with(service, life, log, fifo, reader)
    }

    /// Captures the output of an instance through `reader`, and gives its FIFO the names that it lost while no stayd ran.
    fn continue_with(
        &self,
        service: &str,
        life: Life,
        log: &Log,
        fifo: InstanceFifo,
        reader: File,
    ) -> Result<(), OutputError> {
        let destination = LogDestination::resolve(log.to, self.stdout_reader);
        if matches!(
            destination,
            LogDestination::File | LogDestination::FileAndStdout
        ) {
            self.add_stream(service, life, log, destination, reader)
                .map_err(|error| OutputError {
                    step: "capture output through",
                    path: fifo.path.clone(),
                    error,
                })?;
        }
        self.fifos
            .borrow_mut()
            .insert((service.to_owned(), life), fifo);
        let _found = self.restore_fifo_names(service, life);
        Ok(())
    }

    /// Ends the output of an instance that has ended: moves what is buffered, then removes its FIFO, even if a process
    /// still holds it open. Call it after the claim was released or replaced, because file systems reuse inodes at
    /// once.
    pub fn retire(&self, service: &str, life: Life) {
        let key = (service.to_owned(), life);
        let Some(fifo) = self.fifos.borrow_mut().remove(&key) else {
            return;
        };
        // The next instance may have the second name already.
        let second = self.state.second_fifo_name(service);
        if fifo::is_at(&second, fifo.file) {
            drop(fs::remove_file(second));
        }
        // The file is missing if a user has deleted the folder.
        drop(fs::remove_file(fifo.path));
        if let Some(writer) = &*self.writer.borrow() {
            // If the output thread hangs in the disk, it keeps the FIFO open until it continues. Do not wait for it.
            drop(writer.retire(key));
        }
    }

    /// Gives the FIFO of an instance each of its two names that is missing. A user or a cleaner of temporary files can delete
    /// one, and only a file that exists on disk lets the next stayd prove that the instance is its own. Returns what was
    /// found.
    pub fn restore_fifo_names(&self, service: &str, life: Life) -> FifoNames {
        let fifos = self.fifos.borrow();
        let Some(InstanceFifo { path: first, file }) = fifos.get(&(service.to_owned(), life))
        else {
            return FifoNames::Complete;
        };
        let second = self.state.second_fifo_name(service);
        match (fifo::is_at(first, *file), fifo::is_at(&second, *file)) {
            (true, true) => FifoNames::Complete,
            // The link fails where the file system has none, and for a FIFO in the runtime folder.
            (true, false) if fifo::link(first, &second).is_ok() => FifoNames::OneWasMissing,
            (true, false) => FifoNames::Complete,
            (false, true) if fifo::link(&second, first).is_ok() => FifoNames::OneWasMissing,
            (false, true) => FifoNames::Complete,
            (false, false) => FifoNames::Lost,
        }
    }

    /// The FIFOs of all instances of a service that still exist, as claim files.
    #[must_use]
    pub fn claim_files(&self, service: &str) -> Vec<ClaimFile> {
        let folders = self.state.fifo_folders(service).into_iter();
        let second = fifo::identity_at(&self.state.second_fifo_name(service));
        folders
            .flat_map(|(folder, prefix)| fifo::identities(&folder, &prefix))
            .chain(second)
            .collect()
    }

    /// The folder with the log files of a service, whether it exists or not.
    #[must_use]
    pub fn log_folder(&self, service: &str) -> PathBuf {
        self.state.service_logs(service)
    }

    /// Moves what is buffered and ends the output thread. Returns false if that takes longer than `timeout`, because
    /// the thread hangs in the disk. The FIFOs stay for the next stayd.
    pub fn close(&self, timeout: Duration) -> bool {
        self.writer.take().is_none_or(|writer| writer.stop(timeout))
    }

    /// Creates the instance's FIFO in the first folder that accepts one, and gives it to `owner`.
    fn create_fifo(
        &self,
        service: &str,
        life: Life,
        owner: Option<(u32, u32)>,
    ) -> Result<PathBuf, OutputError> {
        let logs = self.state.service_logs(service);
        let mut first_error = None;
        // If the folder cannot be created, creating the FIFO in it fails and reports that.
        drop(create_folder(&logs));
        self.remove_stale_fifos(service, &logs);
        for path in self.state.fifo_paths(service, &fifo::name(life)) {
            match fifo::create(&path, owner) {
                Ok(()) => return Ok(path),
                Err(error) => {
                    let step = "create the FIFO";
                    first_error.get_or_insert(OutputError { step, path, error });
                }
            }
        }
        Err(first_error.unwrap_or_else(|| OutputError {
            step: "create a FIFO in",
            path: logs,
            error: io::ErrorKind::NotFound.into(),
        }))
    }

    /// Removes FIFOs of ended instances of an earlier stayd.
    fn remove_stale_fifos(&self, service: &str, logs: &Path) {
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

    /// Gives the read end of an instance's FIFO to the output thread, and starts the thread if necessary.
    fn add_stream(
        &self,
        service: &str,
        life: Life,
        log: &Log,
        destination: LogDestination,
        reader: File,
    ) -> io::Result<()> {
        let capacity = pipe::enlarge(&reader, &CAPACITIES_BYTES);
        let lines = match destination {
            LogDestination::FileAndStdout => {
                Some(PrefixedLines::new(self.stdout_writer()?, service))
            }
            LogDestination::File | LogDestination::Inherit | LogDestination::Journal => None,
        };
        let file = LogFile::new(
            self.state.service_logs(service),
            log.max_size_bytes,
            log.keep,
        );
        let stream = InstanceStream::new((service.to_owned(), life), reader, capacity, file, lines);
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => LogWriter::start(Arc::clone(&self.on_notice))?,
        };
        self.writer.borrow_mut().insert(writer).add(stream)
    }

    fn stdout_writer(&self) -> io::Result<StdoutWriter> {
        let mut stdout = self.stdout.borrow_mut();
        if stdout.is_none() {
            *stdout = Some(StdoutWriter::start()?);
        }
        stdout.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The path among `paths` at which the FIFO `file` is; the first path if it is at none.
fn first_name(paths: &[PathBuf], file: ClaimFile) -> PathBuf {
    let found = paths.iter().find(|path| fifo::is_at(path, file));
    found.or(paths.first()).cloned().unwrap_or_default()
}

/// Marks an end that the child inherits. Without the mark the end proves no process; other evidence does.
fn mark(end: &impl AsFd) {
    if let Err(error) = pipe::mark_for_child(end) {
        tracing::debug!("cannot mark the end of a FIFO: {error}; it proves no process");
    }
}

/// The monotonic time that stops while the machine sleeps, so that no deadline passes during sleep.
fn awake() -> Duration {
    clock::sample().awake
}
