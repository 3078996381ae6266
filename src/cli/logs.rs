//! `stayd logs`: what the services printed. The last lines come from stayd; what follows is read from the files, so that
//! following costs the daemon nothing and goes on when it has ended.

use super::exit::{Exit, Failure, Outcome};
use super::screen::{Paint, Screen};
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

/// Between two looks at files that have not grown; plain files tell nobody that they have.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);
/// A line longer than this is shown in pieces.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Only this service.
    pub(super) service: Option<String>,
    /// This many lines of what is there.
    pub(super) lines: usize,
    /// And what comes after them.
    pub(super) follow: bool,
    /// Each line as `{"service":"…","line":"…"}`.
    pub(super) json: bool,
}

/// Shows the last lines of a service, or of each; with `follow` what comes after them, for ever.
pub(super) async fn logs(screen: Screen, client: &Client, look: &Look) -> Outcome {
    let status: Status = client.get("/v1/status").await?;
    let chosen = choose(&status, look.service.as_deref())?;
    let writer = Writer {
        screen,
        json: look.json,
        names: chosen.len() > 1,
    };
    if look.follow {
        let logs = Path::new(&status.daemon.state_dir).join("logs");
        let open = |name: &String| Tail::open(logs.join(name), look.lines, name.clone());
        return go_on(writer, chosen.iter().map(open).collect::<Result<_, _>>()?).await;
    }
    for name in chosen.iter().filter(|_| look.lines > 0) {
        let target = format!("{}?n={}", service_path(&encode(name), "logs"), look.lines);
        let lines: LogLines = client.get(&target).await?;
        for line in &lines.lines {
            writer.line(name, line)?;
        }
    }
    Ok(Exit::Done)
}

/// How a line is shown.
#[derive(Clone, Copy)]
struct Writer {
    screen: Screen,
    json: bool,
    /// Several services: each line says whose it is.
    names: bool,
}

impl Writer {
    fn line(self, service: &str, line: &str) -> Result<(), Failure> {
        if self.json {
            let line = json!({ "service": service, "line": line });
            return self.screen.json(&line, true);
        }
        let prefix = self
            .names
            .then(|| self.screen.paint(Paint::Faint, &format!("{service} | ")));
        self.screen
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

async fn go_on(writer: Writer, mut tails: Vec<Tail>) -> Outcome {
    loop {
        for tail in &mut tails {
            for line in tail.lines()? {
                writer.line(&tail.service, &line)?;
            }
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// A followed log, line by line.
struct Tail {
    folder: PathBuf,
    service: String,
    follow: LogFollower,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Tail {
    fn open(folder: PathBuf, count: usize, service: String) -> Result<Self, Failure> {
        let (begun, follow) =
            tail_and_follow(&folder, count).map_err(|error| unreadable(&folder, &error))?;
        Ok(Self {
            folder,
            service,
            follow,
            begun,
        })
    }

    /// The whole lines that are there and have not been given yet.
    fn lines(&mut self) -> Result<Vec<String>, Failure> {
        let mut lines = take_lines(&mut self.begun);
        loop {
            let text = self
                .follow
                .read(Duration::ZERO)
                .map_err(|error| unreadable(&self.folder, &error))?;
            if text.is_empty() {
                return Ok(lines);
            }
            self.begun.extend_from_slice(&text);
            lines.append(&mut take_lines(&mut self.begun));
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

/// Takes the whole lines out of `begun`, and a piece of one that is too long.
fn take_lines(begun: &mut Vec<u8>) -> Vec<String> {
    let newline = begun.iter().rposition(|&byte| byte == b'\n');
    let end = match newline {
        Some(at) => at + 1,
        None if begun.len() > LINE_BYTES_MAX => begun.len(),
        None => return Vec::new(),
    };
    let whole: Vec<u8> = begun.drain(..end).collect();
    String::from_utf8_lossy(&whole)
        .lines()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, take_lines};

    #[test]
    fn torn_lines_wait_for_their_end_and_endless_ones_do_not() {
        let mut begun = b"one\ntw".to_vec();
        assert_eq!(take_lines(&mut begun), ["one"]);
        assert!(take_lines(&mut begun).is_empty());
        begun.extend_from_slice(b"o\n\xff\n");
        assert_eq!(take_lines(&mut begun), ["two", "\u{fffd}"]);
        begun = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(take_lines(&mut begun).len(), 1);
        assert!(begun.is_empty());
    }
}
