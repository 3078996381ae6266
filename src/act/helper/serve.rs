//! The loop of a helper process: reads requests, carries them out, writes the replies.

use super::wire::{Progress, ReplyLine, RequestLine};
use super::{HelperRequest, LIFELINE, REQUEST_BYTES_MAX};
use crate::sys::isolation;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

/// How often a long request reports its progress.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// Writes the progress and the reply of one request to stayd.
#[derive(Debug)]
pub struct Reporter<'a> {
    stream: &'a UnixStream,
    id: u64,
}

impl Reporter<'_> {
    /// Runs `work` and reports meanwhile what `sample` returns: the progress, and whether the work waits for the first
    /// answer of a disk. Reports only changes.
    pub fn report_during<T>(
        &self,
        sample: impl Fn() -> (Progress, bool) + Send,
        work: impl FnOnce() -> T,
    ) -> T {
        let (finish, finished) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let stream = self.stream;
            scope.spawn(move || {
                let (mut last, mut waited) = (Progress::default(), false);
                while finished.recv_timeout(REPORT_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout)
                {
                    let (progress, waits) = sample();
                    if progress != last && write(stream, &progress_line(progress)).is_err()
                        || waits != waited && write(stream, &waits_line(waits)).is_err()
                    {
                        return;
                    }
                    (last, waited) = (progress, waits);
                }
            });
            let done = work();
            drop(finish);
            done
        })
    }

    /// Carries out a request that came as JSON.
    fn run<R: HelperRequest>(&self, body: Value) -> io::Result<()> {
        let outcome = match serde_json::from_value::<R>(body) {
            Ok(request) => request.carry_out(self),
            Err(error) => Err(format!("cannot parse the request: {error}")),
        };
        let id = self.id;
        write(self.stream, &ReplyLine::Done { id, outcome })
    }
}

fn progress_line(progress: Progress) -> ReplyLine<()> {
    ReplyLine::Progress(progress)
}

fn waits_line(waits: bool) -> ReplyLine<()> {
    ReplyLine::WaitsForDisk(waits)
}

fn write(mut stream: &UnixStream, line: &ReplyLine<impl Serialize>) -> io::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// The requests that a helper process can carry out, by name.
#[derive(Debug, Default)]
pub struct Handlers(Vec<(&'static str, Handler)>);

type Handler = fn(&Reporter<'_>, Value) -> io::Result<()>;

impl Handlers {
    /// Adds one kind of request.
    #[must_use]
    pub fn with<R: HelperRequest>(mut self) -> Self {
        self.0
            .push((R::NAME, |reporter, body| reporter.run::<R>(body)));
        self
    }

    /// Serves the requests that come over descriptor 0, a socket, until stayd closes it.
    ///
    /// A second thread carries out the requests, so that the end of stayd ends this process at once, even during a request.
    /// Only a wait inside the kernel can delay that. On Linux the kernel ends a stopped helper too.
    ///
    /// # Errors
    /// The socket broke, or stayd sent a second request before the reply to the first.
    pub fn serve(self) -> io::Result<()> {
        // A system that refuses these calls still gets its requests carried out.
        let _ = isolation::forbid_inspection();
        let _ = isolation::end_with_pipe(LIFELINE);
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let replies = socket.try_clone()?;
        let (requests, inbox) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("helper".into())
            .spawn(move || self.work(&inbox, &replies))?;
        let mut reader = BufReader::new(socket);
        while let Some(request) = next_request(&mut reader)? {
            if requests.try_send(request).is_err() {
                return Err(io::Error::other(
                    "a second request before the reply to the first",
                ));
            }
        }
        Ok(())
    }

    fn work(&self, inbox: &mpsc::Receiver<RequestLine<Value>>, stream: &UnixStream) {
        while let Ok(RequestLine { id, name, body }) = inbox.recv() {
            let reporter = Reporter { stream, id };
            let handler = self.0.iter().find(|(known, _)| *known == name);
            let written = match handler {
                Some((_, handler)) => handler(&reporter, body),
                None => {
                    let outcome =
                        Err::<(), _>(format!("the helper has no handler for the request {name}"));
                    write(stream, &ReplyLine::Done { id, outcome })
                }
            };
            if written.is_err() {
                return;
            }
        }
    }
}

fn next_request(reader: &mut impl BufRead) -> io::Result<Option<RequestLine<Value>>> {
    let mut line = Vec::new();
    reader
        .take(REQUEST_BYTES_MAX as u64)
        .read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}
