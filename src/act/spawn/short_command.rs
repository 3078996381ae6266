//! Runs a short command and kills all processes that it leaves behind: `before`, exec probes, evidence commands, and a new
//! version of stayd that is checked before an upgrade.

use super::launch::{Launch, temporary};
use super::spawner::Spawner;
use crate::act::off_loop::off_loop;
use crate::act::tree::killer::{PendingKill, TreeKiller};
use crate::act::tree::{CommandToken, InstanceTree, Tree};
use crate::decide::clock::in_words;
use crate::decide::event::SpawnFailure;
use crate::sys::reaper::Status;
use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// The most output that is read, in bytes. A program that writes more does not support the request.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// A longer last line is cut.
const LINE_CHARS_MAX: usize = 400;
/// A scan of the command's processes that takes longer is abandoned.
const SCAN_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a scan, in multiples of its time.
const PAUSE_PER_SCAN: u32 = 9;
/// The most time to find out that a command has left nothing. After that it counts as not gone, and the kill, which has more
/// time, looks again. An answer that is 250 ms late does not count, and the kill may take 200 ms of them.
const GONE_TIMEOUT: Duration = Duration::from_millis(50);

/// A command that runs. [`ShortCommand::end`] waits until nothing of its tree is left; dropping it kills the tree in the
/// background.
#[derive(Debug)]
pub(crate) struct ShortCommand {
    exit: oneshot::Receiver<Status>,
    has_exited: bool,
    /// None after its end has begun.
    tree: Option<Rc<InstanceTree>>,
    tree_killer: TreeKiller,
}

impl ShortCommand {
    /// Starts `launch` with a command token of its own.
    ///
    /// # Errors
    /// The step that failed, in a sentence.
    pub(crate) async fn start(
        spawner: &Spawner,
        mut launch: Launch,
        timeout: Duration,
    ) -> Result<Self, SpawnFailure> {
        let token = CommandToken::fresh().map_err(|error| {
            temporary(format!(
                "cannot make a token for the command: {error}; trying again"
            ))
        })?;
        launch.command_token = Some(token.clone());
        let running = spawner.start(launch, timeout).await?;
        let mut tree = Tree::of_child(running.process);
        tree.set_token(Some(token));
        let shared_tree = InstanceTree::default();
        shared_tree.set(tree);
        Ok(Self {
            exit: running.exit,
            has_exited: false,
            tree: Some(Rc::new(shared_tree)),
            tree_killer: spawner.tree_killer().clone(),
        })
    }

    /// Waits for the end of the command's first process; none: its status was lost.
    pub(crate) async fn exit(&mut self) -> Option<Status> {
        let status = (&mut self.exit).await;
        self.has_exited = true;
        status.ok()
    }

    /// Records the processes that leave the command's tree, while there is evidence for them, for as long as the future is
    /// polled. A scan takes as long as the command has processes, so it runs on a thread, after a pause of `every` and for a
    /// tenth of the time at most.
    pub(crate) fn record_members(
        &self,
        every: Duration,
    ) -> impl Future<Output = Infallible> + use<> {
        let tree = self.tree.clone().unwrap_or_default();
        async move {
            let mut pause = every;
            loop {
                tokio::time::sleep(pause).await;
                let began = Instant::now();
                tree.read(SCAN_TIMEOUT, |tree| tree.map(Tree::update_members))
                    .await;
                pause = every.max(began.elapsed() * PAUSE_PER_SCAN);
            }
        }
    }

    /// Begins to kill what is left of the command; none where nothing is left.
    pub(crate) async fn begin_end(mut self) -> Option<PendingKill> {
        let tree = self.take_remaining().await?;
        Some(PendingKill::of(tree, self.tree_killer.clone()))
    }

    /// Kills what is left of the command and waits until it is gone.
    pub(crate) async fn end(mut self) {
        if let Some(tree) = self.take_remaining().await {
            self.tree_killer.end(tree).await;
        }
    }

    /// Takes the tree, if a process of it may be left.
    async fn take_remaining(&mut self) -> Option<Tree> {
        let tree = self.tree.as_ref()?.get()?;
        let is_gone = self.has_exited && {
            let tree = tree.clone();
            let look = off_loop("command", GONE_TIMEOUT, move || tree.is_known_gone());
            look.await.unwrap_or(false)
        };
        // Only now: if this future is dropped before, the whole tree is killed.
        self.tree = None;
        (!is_gone).then_some(tree)
    }
}

impl Drop for ShortCommand {
    fn drop(&mut self) {
        if let Some(tree) = self.tree.take().and_then(|tree| tree.get()) {
            // Nothing waits for this kill except the shutdown of stayd.
            let _ = self.tree_killer.begin(tree);
        }
    }
}

/// Runs `launch` for at most `within` and returns its stdout. Afterwards kills all processes that it has started.
///
/// # Errors
/// The end of a sentence: the program could not be started, did not end, or ended with another status than 0; with its last
/// line.
pub async fn output_of(
    spawner: &Spawner,
    mut launch: Launch,
    within: Duration,
) -> Result<String, String> {
    let (mut stdout, out) = pipe().map_err(|error| format!("there is no pipe for it: {error}"))?;
    let (mut stderr, err) = pipe().map_err(|error| format!("there is no pipe for it: {error}"))?;
    launch.fds.extend([(1, out), (2, err)]);
    let mut command = ShortCommand::start(spawner, launch, within)
        .await
        .map_err(|failure| failure.message)?;
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let ended = timeout(within, async {
        let ((), (), status) = tokio::join!(
            read(&mut stdout, &mut output),
            read(&mut stderr, &mut errors),
            command.exit()
        );
        status
    });
    let ended = ended.await;
    command.end().await;
    let last_line = last_line(&errors).or_else(|| last_line(&output));
    match ended {
        Ok(Some(Status::Code(0))) => Ok(String::from_utf8_lossy(&output).into_owned()),
        Ok(status) => Err(last_line.unwrap_or_else(|| in_a_sentence(status))),
        Err(_late) => {
            let line = last_line.map(|line| format!("; its last line: {line}"));
            let within = in_words(within);
            let line = line.unwrap_or_default();
            Err(format!("it did not end within {within}{line}"))
        }
    }
}

fn pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (ours, theirs) = io::pipe()?;
    Ok((pipe::Receiver::from_owned_fd(ours.into())?, theirs.into()))
}

/// Reads to the end, or up to the bound. Output that cannot be read counts as not written.
async fn read(from: &mut pipe::Receiver, into: &mut Vec<u8>) {
    let _broken = from.take(OUTPUT_BYTES_MAX).read_to_end(into).await;
}

fn in_a_sentence(status: Option<Status>) -> String {
    match status {
        Some(Status::Code(code)) => format!("it exited with status {code} without a message"),
        Some(Status::Signal(number)) => format!("it was ended by signal {number}"),
        None => "its exit status was lost".into(),
    }
}

fn last_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    let clean = line.trim().chars().filter(|c| !c.is_control());
    Some(clean.take(LINE_CHARS_MAX).collect())
}
