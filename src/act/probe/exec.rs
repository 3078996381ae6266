//! `exec:`: a command of its own, without a shell: 0 alive; 4, 126, 127 no verdict; anything else dead.

use super::{Answer, Ask, dead, in_words, no_verdict, quote};
use crate::act::child::{Nursery, Running, Surroundings};
use crate::act::launch::Launch;
use crate::sys::process::{self, Handle, Process, State};
use crate::sys::reaper::Status;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

/// The end of the output is kept for its last line.
const TAIL_BYTES_MAX: usize = 4096;
/// Read from the pipe after the command has ended, at most.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// So many descriptors of an orphan are looked through for the pipe.
const FILES_MAX: usize = 256;
/// How long the end of a killed command may take before the round goes on without it.
const BURIAL_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks at what is left of it.
const BURIAL_PAUSE: Duration = Duration::from_millis(2);
const SIGKILL: i32 = libc::SIGKILL;

/// Exit statuses that say that the question could not be asked.
const NO_VERDICT_CODES: [(i32, &str); 3] = [
    (4, "it could not tell"),
    (126, "it could not be executed"),
    (127, "it was not found"),
];

/// A command as a question.
#[derive(Debug)]
pub(super) struct Exec {
    argv: Vec<String>,
    nursery: Nursery,
    surroundings: Surroundings,
    /// The last command, where it has not ended although it was killed.
    unburied: Option<Command>,
}

impl Exec {
    pub(super) const fn new(
        argv: Vec<String>,
        nursery: Nursery,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            argv,
            nursery,
            surroundings,
            unburied: None,
        }
    }

    /// Starts the command and waits for its end, once the one before it is gone.
    async fn round(
        &mut self,
        limit: Duration,
        command: &mut Option<Command>,
    ) -> Result<(), String> {
        if let Some(last) = &mut self.unburied {
            while !last.bury(limit).await {}
            self.unburied = None;
        }
        command.insert(self.start(limit).await?).run().await;
        Ok(())
    }

    async fn start(&self, deadline: Duration) -> Result<Command, String> {
        let (output, theirs) =
            io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
        let errors = theirs
            .try_clone()
            .map_err(|error| format!("cannot duplicate a pipe: {error}"))?;
        let output = OwnedFd::from(output);
        let pipe_name =
            kernel_name(&output).map_err(|error| format!("cannot look at a pipe: {error}"))?;
        let output = pipe::Receiver::from_owned_fd(output)
            .map_err(|error| format!("cannot read a pipe: {error}"))?;
        let launch = Launch {
            argv: self.argv.clone(),
            surroundings: self.surroundings.clone(),
            fds: vec![(1, theirs.into()), (2, errors.into())],
            cgroup: None,
        };
        let running = self
            .nursery
            .start(launch, deadline)
            .await
            .map_err(|failure| failure.message)?;
        Ok(Command {
            running,
            status: None,
            output,
            pipe_name,
            tail: Vec::new(),
        })
    }
}

impl Ask for Exec {
    async fn ask(&mut self, limit: Duration) -> Answer {
        let mut command = None;
        let round = timeout(limit, self.round(limit, &mut command)).await;
        let Some(mut command) = command else {
            let limit = in_words(limit);
            return no_verdict(match round {
                Ok(Err(why)) => why,
                _ if self.unburied.is_some() => {
                    "the last command is killed and still hangs in the system".into()
                }
                Ok(Ok(())) | Err(_) => format!("the command could not be started within {limit}"),
            });
        };
        let answer = command.judge(round.is_ok(), limit);
        if !command.bury(BURIAL_WITHIN).await {
            self.unburied = Some(command);
        }
        answer
    }
}

/// A command under way; dropping it kills it and what it started.
#[derive(Debug)]
struct Command {
    running: Running,
    /// How it ended; it is reaped then.
    status: Option<Status>,
    output: pipe::Receiver,
    /// What the kernel calls its output: whoever holds that comes from it.
    pipe_name: String,
    tail: Vec<u8>,
}

impl Command {
    /// Reads its output until it has ended.
    async fn run(&mut self) {
        let mut open = true;
        while self.status.is_none() {
            tokio::select! {
                biased;
                status = &mut self.running.exit => {
                    self.status = Some(status.unwrap_or(Status::Signal(SIGKILL)));
                }
                ready = self.output.readable(), if open => {
                    open = ready.is_ok() && self.take_output();
                }
            }
        }
        self.take_output();
    }

    /// Takes what is there; false at its end.
    fn take_output(&mut self) -> bool {
        let mut chunk = [0; TAIL_BYTES_MAX];
        let mut taken = 0;
        while taken < DRAIN_BYTES_MAX {
            match self.output.try_read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => {
                    taken += count;
                    self.tail.extend_from_slice(&chunk[..count]);
                    let excess = self.tail.len().saturating_sub(TAIL_BYTES_MAX);
                    self.tail.drain(..excess);
                }
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn judge(&self, ended: bool, limit: Duration) -> Answer {
        let said = last_line(&self.tail);
        let quotation = if said.is_empty() {
            String::new()
        } else {
            format!(": {said}")
        };
        match self.status {
            Some(status) if ended => judge(status, &quotation),
            Some(_) | None => dead(format!(
                "the command did not end within {} and was killed{quotation}",
                in_words(limit)
            )),
        }
    }

    /// Kills it and all it started, until nothing is left; false when something is left after `within`.
    async fn bury(&mut self, within: Duration) -> bool {
        timeout(within, async {
            loop {
                let left = self.kill();
                if self.status.is_none() {
                    let exit = timeout(BURIAL_PAUSE, &mut self.running.exit).await;
                    self.status = exit
                        .ok()
                        .map(|status| status.unwrap_or(Status::Signal(SIGKILL)));
                } else if left == 0 {
                    return;
                } else {
                    sleep(BURIAL_PAUSE).await;
                }
            }
        })
        .await
        .is_ok()
    }

    /// Sends SIGKILL to all that can be found of it; how many there were.
    fn kill(&self) -> usize {
        let members = self.members();
        for member in &members {
            // A member that cannot be opened has ended meanwhile.
            let _ = Handle::open(*member).and_then(|handle| handle.signal(SIGKILL));
        }
        members.len()
    }

    /// The living processes of this command: by parentage, and among those that landed with us by session or by the pipe
    /// they write to.
    fn members(&self) -> BTreeSet<Process> {
        let command = self.running.process.pid;
        let mut roots = Vec::new();
        if self.status.is_none() {
            roots.push(command);
        }
        roots.extend(
            process::own_children()
                .unwrap_or_default()
                .into_iter()
                .filter(|pid| {
                    process::stat(*pid).is_ok_and(|stat| stat.sid == command)
                        || self.is_held_by(*pid)
                }),
        );
        let mut found = BTreeSet::new();
        while let Some(pid) = roots.pop() {
            if let Ok(stat) = process::stat(pid)
                && stat.state != State::Zombie
                && found.insert(stat.process)
            {
                roots.extend(process::children(pid).unwrap_or_default());
            }
        }
        found
    }
}

impl Command {
    fn is_held_by(&self, pid: i32) -> bool {
        let files = process::open_files(pid, FILES_MAX).unwrap_or_default();
        files.iter().any(|file| file.target == self.pipe_name)
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The target of a descriptor's link in /proc (proc(5)).
fn kernel_name(pipe: &OwnedFd) -> io::Result<String> {
    let status = File::from(pipe.as_fd().try_clone_to_owned()?).metadata()?;
    Ok(format!("pipe:[{}]", status.ino()))
}

fn judge(status: Status, quotation: &str) -> Answer {
    match status {
        Status::Code(0) => Answer::Alive,
        Status::Code(code) => match NO_VERDICT_CODES.iter().find(|(known, _)| *known == code) {
            Some((_, meaning)) => no_verdict(format!(
                "the command ended with {code}, {meaning}{quotation}"
            )),
            None => dead(format!("the command ended with {code}{quotation}")),
        },
        Status::Signal(signal) => dead(format!(
            "the command was killed by signal {signal}{quotation}"
        )),
    }
}

fn last_line(output: &[u8]) -> String {
    output
        .rsplit(|byte| *byte == b'\n')
        .map(quote)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}
