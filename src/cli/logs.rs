//! `stayd logs`: shows the output of services.
//!
//! The daemon sends the last lines. With `--follow` this process reads the log files itself, so that following costs the
//! daemon nothing and continues after the daemon has ended.

use super::console::{Console, Style};
use super::exit::{Exit, Failure, Outcome};
use super::status::no_such_service;
use crate::act::output::{LogFollower, tail_and_follow};
use crate::api::client::Client;
use crate::api::query::encode;
use crate::api::routes::service_path;
use crate::api::wire::{LogLines, Status};
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the log files are read. A plain file cannot be polled for growth.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);
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
}

/// Shows the last lines of one service or of all; with `follow`, also the lines that come after them, without end.
pub(super) async fn logs(console: Console, client: &Client, options: &LogsOptions) -> Outcome {
    let status: Status = client.get("/v1/status").await?;
    let chosen = choose(&status, options.service.as_deref())?;
    let writer = Writer {
        console,
        json: options.json,
        with_names: chosen.len() > 1,
    };
    if options.follow {
        let logs = Path::new(&status.daemon.state_dir).join("logs");
        let open = |name: &String| LogReader::open(logs.join(name), options.lines, name.clone());
        return follow(writer, chosen.iter().map(open).collect::<Result<_, _>>()?).await;
    }
    for name in chosen.iter().filter(|_| options.lines > 0) {
        let target = format!(
            "{}?n={}",
            service_path(&encode(name), "logs"),
            options.lines
        );
        let lines: LogLines = client.get(&target).await?;
        for line in &lines.lines {
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
    /// Prefix each line with its service, because there are several.
    with_names: bool,
}

impl Writer {
    fn line(self, service: &str, line: &str) -> Result<(), Failure> {
        if self.json {
            let line = json!({ "service": service, "line": line });
            return self.console.json_line(&line);
        }
        let prefix = self
            .with_names
            .then(|| self.console.style(Style::Dim, &format!("{service} | ")));
        self.console
            .line(&format!("{}{line}", prefix.unwrap_or_default()))
    }
}

fn choose(status: &Status, service: Option<&str>) -> Result<Vec<String>, Failure> {
    let known: Vec<_> = status
        .services
        .iter()
        .map(|service| service.name.clone())
        .collect();
    match service {
        None => Ok(known),
        Some(name) if known.iter().any(|known| known == name) => Ok(vec![name.to_owned()]),
        Some(name) => Err(no_such_service(name, &known)),
    }
}

async fn follow(writer: Writer, mut followers: Vec<LogReader>) -> Outcome {
    loop {
        for follower in &mut followers {
            for line in follower.lines()? {
                writer.line(&follower.service, &line)?;
            }
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
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
    fn lines(&mut self) -> Result<Vec<String>, Failure> {
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
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    let exit = if denied {
        Exit::Permission
    } else {
        Exit::System
    };
    Failure::new(
        exit,
        format!("cannot follow the log in {}: {error}", folder.display()),
    )
}

/// Takes the complete lines out of `partial`, or all of it if the line is longer than [`LINE_BYTES_MAX`].
fn take_lines(partial: &mut Vec<u8>) -> Vec<String> {
    let newline = partial.iter().rposition(|&byte| byte == b'\n');
    let end = match newline {
        Some(at) => at + 1,
        None if partial.len() > LINE_BYTES_MAX => partial.len(),
        None => return Vec::new(),
    };
    let taken: Vec<u8> = partial.drain(..end).collect();
    String::from_utf8_lossy(&taken)
        .lines()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, take_lines};

    #[test]
    fn incomplete_lines_wait_for_their_end_unless_they_are_too_long() {
        let mut partial = b"one\ntw".to_vec();
        assert_eq!(take_lines(&mut partial), ["one"]);
        assert!(take_lines(&mut partial).is_empty());
        partial.extend_from_slice(b"o\n\xff\n");
        assert_eq!(take_lines(&mut partial), ["two", "\u{fffd}"]);
        partial = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(take_lines(&mut partial).len(), 1);
        assert!(partial.is_empty());
    }
}
