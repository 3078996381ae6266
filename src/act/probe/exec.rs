//! `exec:`: a command of its own, without a shell: 0 alive; 4, 126, 127 no verdict; anything else dead.

use super::{Answer, Ask, dead, in_words, no_verdict, quote};
use crate::act::spawn::launch::Launch;
use crate::act::spawn::spawner::{ExecContext, Spawner};
use crate::act::tree::killer::{PendingKill, TreeKiller};
use crate::act::tree::{CommandToken, Tree};
use crate::sys::reaper::Status;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// The end of the output is kept for its last line.
const TAIL_BYTES_MAX: usize = 4096;
/// Read from the pipe after the command has ended, at most.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// How long the end of a killed command may take before the round goes on without it.
const BURIAL_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks at who has left the tree, while the command runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);
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
    spawner: Spawner,
    exec_context: ExecContext,
    /// The last command, where it has not ended although it was killed.
    unburied: Option<PendingKill>,
}

impl Exec {
    pub(super) const fn new(
        argv: Vec<String>,
        spawner: Spawner,
        exec_context: ExecContext,
    ) -> Self {
        Self {
            argv,
            spawner,
            exec_context,
            unburied: None,
        }
    }

    /// Starts the command and waits for its end, once the one before it is gone.
    async fn attempt(
        &mut self,
        limit: Duration,
        command: &mut Option<Command>,
    ) -> Result<(), String> {
        if let Some(last) = &mut self.unburied {
            last.done().await;
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
        let pipe_file =
            file_of(&output).map_err(|error| format!("cannot look at a pipe: {error}"))?;
        let output = pipe::Receiver::from_owned_fd(output)
            .map_err(|error| format!("cannot read a pipe: {error}"))?;
        let command_token =
            CommandToken::fresh().map_err(|error| format!("cannot make a token: {error}"))?;
        let command_token = Some(command_token);
        let launch = Launch {
            argv: self.argv.clone(),
            exec_context: self.exec_context.clone(),
            fds: vec![(1, theirs.into()), (2, errors.into())],
            cgroup: None,
            command_token: command_token.clone(),
        };
        let running = self
            .spawner
            .start(launch, deadline)
            .await
            .map_err(|failure| failure.message)?;
        let mut tree = Tree::of_child(running.process);
        tree.claim_file = Some(pipe_file);
        tree.set_token(command_token);
        Ok(Command {
            exit: running.exit,
            status: None,
            tree: Some(tree),
            tree_killer: self.spawner.tree_killer().clone(),
            output,
            tail: Vec::new(),
        })
    }
}

impl Ask for Exec {
    async fn ask(&mut self, limit: Duration) -> Answer {
        let mut command = None;
        let attempt = timeout(limit, self.attempt(limit, &mut command)).await;
        let Some(command) = command else {
            let limit = in_words(limit);
            return no_verdict(match attempt {
                Ok(Err(why)) => why,
                _ if self.unburied.is_some() => {
                    "the last command is killed and still hangs in the system".into()
                }
                Ok(Ok(())) | Err(_) => format!("the command could not be started within {limit}"),
            });
        };
        let answer = command.judge(attempt.is_ok(), limit);
        if let Some(mut burial) = command.bury()
            && timeout(BURIAL_WITHIN, burial.done()).await.is_err()
        {
            self.unburied = Some(burial);
        }
        answer
    }
}

/// A command under way; dropping it kills it and what it started.
#[derive(Debug)]
struct Command {
    exit: oneshot::Receiver<Status>,
    /// How it ended; it is reaped then.
    status: Option<Status>,
    /// It and what it has started; taken by whoever ends that.
    tree: Option<Tree>,
    tree_killer: TreeKiller,
    output: pipe::Receiver,
    tail: Vec<u8>,
}

impl Command {
    /// Reads its output until it has ended.
    async fn run(&mut self) {
        let mut open = true;
        while self.status.is_none() {
            tokio::select! {
                biased;
                status = &mut self.exit => {
                    self.status = Some(status.unwrap_or(Status::Signal(SIGKILL)));
                }
                ready = self.output.readable(), if open => {
                    open = ready.is_ok() && self.take_output();
                }
                () = sleep(LOOK_EVERY) => {
                    if let Some(tree) = &mut self.tree {
                        tree.update_members();
                    }
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

    /// Has all ended that it has started; none when nothing is left.
    fn bury(mut self) -> Option<PendingKill> {
        let tree = self.tree.take()?;
        let is_over = self.status.is_some() && tree.is_known_gone();
        (!is_over).then(|| PendingKill::of(tree, self.tree_killer.clone()))
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        if let Some(tree) = self.tree.take() {
            // Nobody waits for it but the end of stayd.
            let _ = self.tree_killer.begin(tree);
        }
    }
}

/// Device and inode: whoever holds that pipe comes from the command.
fn file_of(pipe: &OwnedFd) -> io::Result<(u64, u64)> {
    let status = File::from(pipe.as_fd().try_clone_to_owned()?).metadata()?;
    Ok((status.dev(), status.ino()))
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
