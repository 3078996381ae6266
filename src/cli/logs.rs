//! `stayd logs`: shows the output of services.
//!
//! The daemon sends the last lines, as text. With `--follow` this process reads the log files itself, so that following costs
//! the daemon nothing and continues after the daemon has ended; with `--raw` too, because only the files have every byte.

use super::console::{Console, Style, Text, print_stderr};
use super::exit::{Exit, Failure, Outcome};
use super::records::Records;
use super::status::no_such_service;
use crate::act::output::{LogFollower, tail, tail_and_follow};
use crate::api::query::encode;
use crate::api::routes::service_path;
use crate::api::wire::{LogLines, Status};
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the log files are read. A plain file cannot be polled for growth.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);
/// The same while there is new output: small files are rotated away fast.
const FOLLOW_AT_ONCE: Duration = Duration::from_millis(2);
/// A line longer than this is shown in pieces.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// What to show.
#[derive(Clone, Debug, Default)]
pub(super) struct LogsOptions {
    /// Show only this service.
    pub(super) service: Option<String>,
    /// How many of the last lines to show.
    pub(super) lines: usize,
    /// Show new lines too, without end.
    pub(super) follow: bool,
    /// Print each line as `{"service":"…","line":"…"}`.
    pub(super) json: bool,
    /// Print the bytes of each line as the service wrote them.
    pub(super) raw: bool,
}

/// Shows the last lines of one service or of all; with `follow`, also the lines that come after them, without end.
pub(super) async fn logs(console: Console, records: &Records, options: &LogsOptions) -> Outcome {
    let (logs, known) = match records {
        Records::Running(client) => {
            let status: Status = client.get("/v1/status").await?;
            let services = status.services.iter().map(|service| service.name.clone());
            let logs = Path::new(&status.daemon.state_dir).join("logs");
            (logs, services.collect())
        }
        Records::Stored(stored) => (stored.logs(), stored.services()?),
    };
    let chosen = choose(known, options.service.as_deref())?;
    let writer = Writer {
        console,
        json: options.json,
        raw: options.raw,
        with_names: chosen.len() > 1,
    };
    if options.follow || options.raw {
        let open = |name: &String| LogReader::open(logs.join(name), options.lines, name.clone());
        let readers = chosen.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        if options.follow {
            return follow(writer, readers).await;
        }
        for reader in readers {
            writer.output(&reader.service, &reader.partial)?;
        }
        return Ok(Exit::Done);
    }
    for name in chosen.iter().filter(|_| options.lines > 0) {
        let lines = match records {
            Records::Running(client) => {
                let path = service_path(&encode(name), "logs");
                let lines: LogLines = client.get(&format!("{path}?n={}", options.lines)).await?;
                lines.lines
            }
            Records::Stored(_) => {
                let folder = logs.join(name);
                tail(&folder, options.lines).map_err(|error| unreadable(&folder, &error))?
            }
        };
        for line in &lines {
            writer.line(name, line)?;
        }
    }
    Ok(Exit::Done)
}

/// Prints log lines.
#[derive(Clone, Copy)]
struct Writer {
    console: Console,
    json: bool,
    raw: bool,
    /// Prefix each line with its service, because there are several.
    with_names: bool,
}

impl Writer {
    /// Prints lines as they are in the log file.
    fn output(self, service: &str, lines: &[u8]) -> Result<(), Failure> {
        if !self.raw {
            let text = String::from_utf8_lossy(lines);
            return text.lines().try_for_each(|line| self.line(service, line));
        }
        if !self.with_names {
            return self.console.write_unescaped(lines);
        }
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            self.console.print(&self.prefix(service))?;
            self.console.write_unescaped(line)?;
            if !line.ends_with(b"\n") {
                self.console.write_unescaped(b"\n")?;
            }
        }
        Ok(())
    }

    /// Prints one line of text.
    fn line(self, service: &str, line: &str) -> Result<(), Failure> {
        if self.json {
            let line = json!({ "service": service, "line": line });
            return self.console.json_line(&line);
        }
        self.console
            .print(self.prefix(service).output(line).end_line())
    }

    fn prefix(self, service: &str) -> Text {
        let mut text = self.console.text();
        if self.with_names {
            text.styled(Style::Dim, &format!("{service} | "));
        }
        text
    }
}

fn choose(known: Vec<String>, service: Option<&str>) -> Result<Vec<String>, Failure> {
    match service {
        None => Ok(known),
        Some(name) if known.iter().any(|known| known == name) => Ok(vec![name.to_owned()]),
        Some(name) => Err(no_such_service(name, &known)),
    }
}

async fn follow(writer: Writer, mut followers: Vec<LogReader>) -> Outcome {
    loop {
        let mut any = false;
        for follower in &mut followers {
            let lines = follower.lines()?;
            any |= !lines.is_empty();
            if follower.follow.take_may_have_missed() {
                print_stderr(&format!(
                    "stayd: some lines of {} may be missing: its log was rotated or deleted before it was read to the end",
                    follower.service
                ));
            }
            writer.output(&follower.service, &lines)?;
        }
        tokio::time::sleep(if any { FOLLOW_AT_ONCE } else { FOLLOW_EVERY }).await;
    }
}

/// Reads one followed log line by line.
struct LogReader {
    folder: PathBuf,
    service: String,
    follow: LogFollower,
    /// The beginning of a line whose end is not written yet.
    partial: Vec<u8>,
}

impl LogReader {
    fn open(folder: PathBuf, count: usize, service: String) -> Result<Self, Failure> {
        let (partial, follow) =
            tail_and_follow(&folder, count).map_err(|error| unreadable(&folder, &error))?;
        Ok(Self {
            folder,
            service,
            follow,
            partial,
        })
    }

    /// The complete lines that were written since the last call.
    fn lines(&mut self) -> Result<Vec<u8>, Failure> {
        let mut lines = take_lines(&mut self.partial);
        loop {
            let text = self
                .follow
                .read(Duration::ZERO)
                .map_err(|error| unreadable(&self.folder, &error))?;
            if text.is_empty() {
                return Ok(lines);
            }
            self.partial.extend_from_slice(&text);
            lines.append(&mut take_lines(&mut self.partial));
        }
    }
}

fn unreadable(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::of_system_error(error.kind()),
        format!(
            "cannot read the log in {}: {error}; if stayd runs, it sends the last lines without --follow and --raw",
            folder.display()
        ),
    )
}

/// Takes the complete lines out of `partial`, or all of it if the line is longer than [`LINE_BYTES_MAX`].
fn take_lines(partial: &mut Vec<u8>) -> Vec<u8> {
    let newline = partial.iter().rposition(|&byte| byte == b'\n');
    let end = match newline {
        Some(at) => at + 1,
        None if partial.len() > LINE_BYTES_MAX => partial.len(),
        None => return Vec::new(),
    };
    partial.drain(..end).collect()
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, take_lines};

    #[test]
    fn incomplete_lines_wait_for_their_end_unless_they_are_too_long() {
        let mut partial = b"one\ntw".to_vec();
        assert_eq!(take_lines(&mut partial), b"one\n");
        assert!(take_lines(&mut partial).is_empty());
        partial.extend_from_slice(b"o\n\xff\n");
        assert_eq!(take_lines(&mut partial), b"two\n\xff\n");
        partial = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(take_lines(&mut partial).len(), LINE_BYTES_MAX + 1);
        assert!(partial.is_empty());
    }
}
