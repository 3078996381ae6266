//! The other end: what a helper process does.

use crate::act::helper::QUESTION_BYTES_MAX;
use crate::act::helper::wire::{Ask, Far, Line, Question, Reply};
use crate::act::preflight;
use crate::act::preflight::needs;
use crate::act::probe::ask_sqlite_file;
use crate::act::runtime::copy::Progress;
use crate::act::runtime::offer::RuntimeAsk;
use crate::act::runtime::staleness::{replaced, stamp};
use crate::config;
use crate::sys::process::{self, Process};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::ToSocketAddrs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

/// How often a long task says how far it is.
const SAY_EVERY: Duration = Duration::from_millis(250);

/// Answers the questions that come over descriptor 0, a socket, until it is closed.
///
/// Reading goes on while a question is worked on, so that the end of the parent ends this process at once, whatever it
/// is doing; only a wait inside the kernel can keep it.
#[must_use]
pub fn helper_main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the helper ends: cannot talk to stayd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let answers = socket.try_clone()?;
    let (questions, inbox) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("helper".into())
        .spawn(move || work(&inbox, &answers))?;
    let mut reader = BufReader::new(socket);
    while let Some(question) = next_question(&mut reader)? {
        if questions.try_send(question).is_err() {
            return Err(io::Error::other(
                "a second question before the first was answered",
            ));
        }
    }
    Ok(())
}

fn next_question(reader: &mut impl BufRead) -> io::Result<Option<Question>> {
    let mut line = Vec::new();
    reader
        .take(QUESTION_BYTES_MAX as u64)
        .read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

fn work(inbox: &mpsc::Receiver<Question>, answers: &UnixStream) {
    while let Ok(Question { id, ask }) = inbox.recv() {
        let reply = answer(ask, answers);
        if say(answers, &Line::Reply { id, reply }).is_err() {
            return;
        }
    }
}

fn say(mut answers: &UnixStream, line: &Line) -> io::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    answers.write_all(&line)
}

/// Says again and again how far it is, as long as it goes on.
fn at_length(ask: &RuntimeAsk, answers: &UnixStream) -> Reply {
    let progress = Progress::default();
    let (finish, finished) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let finished = finished;
            let (mut last, mut knocked) = (Far::default(), false);
            while finished.recv_timeout(SAY_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                let far = Far {
                    files: progress.files.load(Ordering::Relaxed),
                    bytes: progress.bytes.load(Ordering::Relaxed),
                };
                let knocks = progress.knocks.load(Ordering::Relaxed);
                if far != last && say(answers, &Line::Progress(far)).is_err()
                    || knocks != knocked && say(answers, &Line::Knocks(knocks)).is_err()
                {
                    return;
                }
                (last, knocked) = (far, knocks);
            }
        });
        let outcome = ask.answer(&progress);
        drop(finish);
        outcome.map_or_else(Reply::Failed, Reply::Runtime)
    })
}

fn answer(ask: Ask, answers: &UnixStream) -> Reply {
    let failed = |error: io::Error| Reply::Failed(error.to_string());
    match ask {
        Ask::Sqlite(ask) => Reply::Sqlite(ask_sqlite_file(&ask)),
        Ask::Resolve { host, port } => (host.as_str(), port)
            .to_socket_addrs()
            .map_or_else(failed, |addresses| Reply::Addresses(addresses.collect())),
        Ask::CommandLine { pid } => {
            process::command_line(pid).map_or_else(failed, |text| Reply::Text(Some(text)))
        }
        Ask::UserName { uid } => nix::unistd::User::from_uid(uid.into()).map_or_else(
            |errno| failed(errno.into()),
            |user| Reply::Text(user.map(|user| user.name)),
        ),
        Ask::Runtime(ask) => at_length(&ask, answers),
        Ask::Replaced {
            pid,
            start_time,
            look,
        } => {
            let file = replaced(Process { pid, start_time }, &look);
            Reply::Text(file.map(|file| file.display().to_string()))
        }
        Ask::WhyNot(look) => Reply::Text(preflight::look(&look).err().map(|one| one.cause)),
        Ask::Stamp(look, since) => Reply::Text(stamp(&look, since)),
        Ask::Prerequisite(need) => Reply::Text(needs::look(&need)),
        Ask::EnvFile(path) => match config::read_env_file(&path) {
            Ok(variables) => Reply::Variables(variables),
            Err(finding) => Reply::Failed(finding.to_string()),
        },
        Ask::Environment { pid, name } => {
            process::environment_value(pid, &name).map_or_else(failed, Reply::Text)
        }
    }
}
