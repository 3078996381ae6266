//! A short run of a program that is to tell something about itself: what it said, or why it failed.

use super::launch::{CommandToken, Launch};
use super::spawner::{Running, Spawner};
use crate::act::tree::Tree;
use crate::decide::clock::in_words;
use crate::sys::reaper::Status;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::timeout;

/// More of its output is not read; a program that says more has nothing to say to us.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// A longer last line is cut.
const LINE_CHARS_MAX: usize = 400;

/// Runs `launch` to its end within `within`, and returns what it wrote to stdout. It and what it has started are ended
/// in any case.
///
/// # Errors
/// In a sentence's end: that it could not be started, did not end, or ended with anything but 0, and its last line.
pub async fn run(
    spawner: &Spawner,
    mut launch: Launch,
    within: Duration,
) -> Result<String, String> {
    let (mut stdout, out) = pipe().map_err(|error| format!("there is no pipe for it: {error}"))?;
    let (mut stderr, err) = pipe().map_err(|error| format!("there is no pipe for it: {error}"))?;
    launch.fds.extend([(1, out), (2, err)]);
    let mark =
        CommandToken::fresh().map_err(|error| format!("there is no token for it: {error}"))?;
    launch.mark = Some(mark.clone());
    let Running { process, exit, .. } = spawner
        .start(launch, within)
        .await
        .map_err(|failure| failure.message)?;
    let mut tree = Tree::of_child(process);
    tree.set_token(Some(mark));
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let ended = timeout(within, async {
        let (said, complained, status) = tokio::join!(
            read(&mut stdout, &mut said),
            read(&mut stderr, &mut complained),
            exit
        );
        (said, complained, status.ok())
    });
    let ended = ended.await;
    if ended.is_err() || !tree.is_known_gone() {
        spawner.tree_killer().end(tree).await;
    }
    let last_line = last_line(&complained).or_else(|| last_line(&said));
    match ended {
        Ok(((), (), Some(Status::Code(0)))) => Ok(String::from_utf8_lossy(&said).into_owned()),
        Ok(((), (), status)) => Err(last_line.map_or_else(|| how(status), |line| line.clone())),
        Err(_late) => {
            let line = last_line.map(|line| format!("; it said: {line}"));
            let within = in_words(within);
            let line = line.unwrap_or_default();
            Err(format!("it did not come to an end within {within}{line}"))
        }
    }
}

fn pipe() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (ours, theirs) = io::pipe()?;
    Ok((pipe::Receiver::from_owned_fd(ours.into())?, theirs.into()))
}

/// Reads to the end, or as much as is believed; what cannot be read was not said.
async fn read(from: &mut pipe::Receiver, into: &mut Vec<u8>) {
    let _broken = from.take(OUTPUT_BYTES_MAX).read_to_end(into).await;
}

fn how(status: Option<Status>) -> String {
    match status {
        Some(Status::Code(code)) => format!("it exited with status {code} and said nothing"),
        Some(Status::Signal(number)) => format!("it was ended by signal {number}"),
        None => "its end was lost".into(),
    }
}

fn last_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    let clean = line.trim().chars().filter(|c| !c.is_control());
    Some(clean.take(LINE_CHARS_MAX).collect())
}
