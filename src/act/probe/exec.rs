//! `exec:`: runs a command without a shell. Its exit status is the answer: 0 alive; 4, 126 and 127 no verdict; others dead.

use super::{Answer, Phase, ProtocolProbe, dead, in_words, no_verdict, quote};
use crate::act::spawn::launch::{ExecContext, Launch};
use crate::act::spawn::short_command::ShortCommand;
use crate::act::spawn::spawner::Spawner;
use crate::act::tree::Member;
use crate::act::tree::killer::PendingKill;
use crate::sys::reaper::Status;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::time::{Instant, timeout, timeout_at};

/// How much of the end of the output is kept. The last line is quoted.
const TAIL_BYTES_MAX: usize = 4096;
/// How much is read from the pipe at once, at most.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// How long an attempt waits for the end of a killed command. Less than the 250 ms after which an answer counts as late.
const KILL_WAIT_MAX: Duration = Duration::from_millis(200);
/// The most time to search the members of a killed command for one that hangs in the kernel; what is left of the 250 ms.
const STUCK_SEARCH_MAX: Duration = Duration::from_millis(40);
/// A killed command that has not ended for this many timeouts no longer delays the next one. At most one command is set
/// aside like this.
const SET_ASIDE_TIMEOUTS: u32 = 20;
/// Interval at which the members of the command's process tree are recorded, before they leave the tree.
const RECORD_INTERVAL: Duration = Duration::from_millis(100);
const SIGKILL: i32 = libc::SIGKILL;

/// Exit statuses that mean that the command could not ask, and their meanings.
const NO_VERDICT_CODES: [(i32, &str); 3] = [
    (4, "it could not decide"),
    (126, "it could not be executed"),
    (127, "it was not found"),
];

/// A command that is run at each attempt.
#[derive(Debug)]
pub(super) struct ExecProbe {
    argv: Vec<String>,
    spawner: Spawner,
    exec_context: ExecContext,
    /// The command of the last attempt, if it was killed and has not ended yet, and when it was killed.
    pending_kill: Option<(PendingKill, Instant)>,
    /// An earlier command that cannot be ended.
    set_aside: Option<PendingKill>,
}

impl ExecProbe {
    pub(super) const fn new(
        argv: Vec<String>,
        spawner: Spawner,
        exec_context: ExecContext,
    ) -> Self {
        Self {
            argv,
            spawner,
            exec_context,
            pending_kill: None,
            set_aside: None,
        }
    }

    /// Waits until the command of the last attempt is gone, starts the command, and waits until it ends.
    async fn attempt(
        &mut self,
        limit: Duration,
        phase: &Phase,
        command: &mut Option<Command>,
    ) -> Result<(), String> {
        phase.prepare("start of the command");
        self.await_last_command(limit).await;
        let command = command.insert(self.start(limit).await?);
        phase.wait_for_service("end of the command");
        command.run().await;
        Ok(())
    }

    /// Waits until the command of the last attempt is gone. Sets it aside when it has hung for long, so that one command
    /// that cannot be ended does not end the checks.
    async fn await_last_command(&mut self, limit: Duration) {
        if let Some(hung) = &mut self.set_aside
            && timeout(Duration::ZERO, hung.done()).await.is_ok()
        {
            self.set_aside = None;
        }
        let Some((last, killed_at)) = &mut self.pending_kill else {
            return;
        };
        let until = *killed_at + limit * SET_ASIDE_TIMEOUTS;
        if self.set_aside.is_some() {
            last.done().await;
            self.pending_kill = None;
        } else if timeout_at(until, last.done()).await.is_ok() {
            self.pending_kill = None;
        } else {
            self.set_aside = self.pending_kill.take().map(|(last, _)| last);
        }
    }

    /// Why there is no verdict while the last command hangs.
    async fn hung_in_words(&self) -> String {
        let found = match &self.pending_kill {
            Some((kill, _)) => kill.stuck_member(STUCK_SEARCH_MAX).await,
            None => Ok(None),
        };
        hung_in_words(found.ok().flatten().as_ref())
    }

    async fn start(&self, deadline: Duration) -> Result<Command, String> {
        let (output, stdout) =
            io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
        let stderr = stdout
            .try_clone()
            .map_err(|error| format!("cannot duplicate a pipe: {error}"))?;
        let output = OwnedFd::from(output);
        let output = pipe::Receiver::from_owned_fd(output)
            .map_err(|error| format!("cannot read a pipe: {error}"))?;
        let launch = Launch {
            argv: self.argv.clone(),
            exec_context: self.exec_context.clone(),
            fds: vec![(1, stdout.into()), (2, stderr.into())],
            cgroup: None,
            command_token: None,
        };
        let started = ShortCommand::start(&self.spawner, launch, deadline).await;
        let process = started.map_err(|failure| failure.message)?;
        Ok(Command {
            process,
            status: None,
            output,
            tail: Vec::new(),
        })
    }
}

impl ProtocolProbe for ExecProbe {
    async fn ask(&mut self, limit: Duration) -> Answer {
        let phase = Phase::new("end of the command");
        let mut command = None;
        let attempt = timeout(limit, self.attempt(limit, &phase, &mut command)).await;
        let Some(command) = command else {
            let limit = in_words(limit);
            return no_verdict(match attempt {
                Ok(Err(why)) => why,
                _ if self.pending_kill.is_some() => self.hung_in_words().await,
                Ok(Ok(())) | Err(_) => format!("the command could not be started within {limit}"),
            });
        };
        let answer = command.judge(attempt.is_ok(), limit);
        if let Some(mut kill) = command.process.begin_end().await
            && timeout(KILL_WAIT_MAX, kill.done()).await.is_err()
        {
            let killed_at = Instant::now();
            let hung = match attempt {
                Ok(_) => None,
                // Whether the service or the kernel keeps the command is not known without a scan: no verdict.
                Err(_) => match kill.stuck_member(STUCK_SEARCH_MAX).await {
                    Ok(None) => None,
                    Ok(Some(member)) => Some(hung_in_words(Some(&member))),
                    Err(_) => Some(hung_in_words(None)),
                },
            };
            self.pending_kill = Some((kill, killed_at));
            if let Some(why) = hung {
                return no_verdict(why);
            }
        }
        let had_too_little = attempt
            .is_err()
            .then(|| phase.service_had_too_little(limit));
        had_too_little.flatten().unwrap_or(answer)
    }
}

fn hung_in_words(stuck: Option<&Member>) -> String {
    let which = stuck.map_or_else(String::new, |member| {
        let name = quote(member.stat.comm.as_bytes());
        let pid = member.process.pid;
        format!(": pid {pid} ({name}) is stuck in the kernel (state D)")
    });
    format!("the probe command cannot be ended{which}")
}

/// A command that runs. Dropping it kills everything that it has started.
#[derive(Debug)]
struct Command {
    process: ShortCommand,
    /// How it ended; set when it is reaped.
    status: Option<Status>,
    output: pipe::Receiver,
    /// The end of its output.
    tail: Vec<u8>,
}

impl Command {
    /// Reads the command's output until it ends.
    async fn run(&mut self) {
        let mut open = true;
        let mut recording = pin!(self.process.record_members(RECORD_INTERVAL));
        while self.status.is_none() {
            tokio::select! {
                biased;
                status = self.process.exit() => {
                    self.status = Some(status.unwrap_or(Status::Signal(SIGKILL)));
                }
                ready = self.output.readable(), if open => {
                    open = ready.is_ok() && self.take_output();
                }
                never = &mut recording => match never {},
            }
        }
        self.take_output();
    }

    /// Reads the available output. Returns false at end of file.
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
