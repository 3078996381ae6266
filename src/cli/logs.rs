//! `stayd logs`: what the services printed.

use super::exit::{Exit, Failure, Outcome};
use super::screen::{Paint, Screen};
use super::status::no_such_service;
use crate::api::client::Client;
use crate::api::query::encode;
use crate::api::routes::service_path;
use crate::api::wire::{Lines, Status};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at a file that is followed; plain files tell nobody that they have grown.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// A line longer than this is shown in pieces.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// Shows the last `count` lines of a service, or of each; with `follow` what comes after them.
pub(super) async fn logs(
    screen: Screen,
    client: &Client,
    service: Option<&str>,
    count: usize,
    follow: bool,
) -> Outcome {
    let status: Status = client.get("/v1/status").await?;
    let known: Vec<_> = status
        .services
        .iter()
        .map(|service| service.name.clone())
        .collect();
    let chosen = match service {
        None => known,
        Some(name) if known.iter().any(|known| known == name) => vec![name.to_owned()],
        Some(name) => return Err(no_such_service(name, &known)),
    };
    let several = chosen.len() > 1;
    let prefix = |name: &str| {
        let prefix = several.then(|| screen.paint(Paint::Faint, &format!("{name} | ")));
        prefix.unwrap_or_default()
    };
    let mut tails = Vec::new();
    for name in &chosen {
        // Opened before the last lines are asked for: what is printed meanwhile may come twice, but is not lost.
        let folder = Path::new(&status.daemon.state_dir).join("logs").join(name);
        tails.push((prefix(name), Tail::at_the_end(folder.join(CURRENT))));
        let target = format!("{}?n={count}", service_path(&encode(name), "logs"));
        let lines: Lines = client.get(&target).await?;
        for line in lines.lines {
            screen.line(&format!("{}{line}", prefix(name)))?;
        }
    }
    if !follow {
        return Ok(Exit::Done);
    }
    loop {
        for (prefix, tail) in &mut tails {
            for line in tail
                .news()
                .map_err(|error| unreadable(&tail.path, &error))?
            {
                screen.line(&format!("{prefix}{line}"))?;
            }
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// The name of the file that is written now; rotation renames it.
const CURRENT: &str = "current.log";

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::PermissionDenied {
        Exit::Permission
    } else {
        Exit::System
    };
    Failure::new(exit, format!("cannot follow {}: {error}", path.display()))
}

/// The end of a file that grows and is rotated.
struct Tail {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Tail {
    /// From the present end on; a file that is not there yet is read from its beginning when it comes.
    fn at_the_end(path: PathBuf) -> Self {
        let file = File::open(&path).ok().and_then(|mut file| {
            io::Seek::seek(&mut file, io::SeekFrom::End(0)).ok()?;
            Some(file)
        });
        Self {
            path,
            file,
            begun: Vec::new(),
        }
    }

    /// The lines that have come since: what is left of the old file first, then the one that replaced it.
    fn news(&mut self) -> io::Result<Vec<String>> {
        let replaced = self.is_replaced()?;
        let mut lines = self.read_on()?;
        if replaced {
            self.file = File::open(&self.path).ok();
            lines.extend(self.read_on()?);
        }
        Ok(lines)
    }

    fn is_replaced(&self) -> io::Result<bool> {
        let there = match fs::metadata(&self.path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(file) = &self.file else {
            return Ok(true);
        };
        let open = file.metadata()?;
        Ok((open.dev(), open.ino()) != (there.dev(), there.ino()))
    }

    fn read_on(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let Some(file) = &mut self.file else {
            return Ok(lines);
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                return Ok(lines);
            }
            self.begun.extend_from_slice(&chunk[..count]);
            take_lines(&mut self.begun, &mut lines);
        }
    }
}

/// Moves whole lines from `begun` to `lines`, and a piece of one that is too long.
fn take_lines(begun: &mut Vec<u8>, lines: &mut Vec<String>) {
    let Some(end) = begun.iter().rposition(|&byte| byte == b'\n') else {
        if begun.len() > LINE_BYTES_MAX {
            lines.push(String::from_utf8_lossy(begun).into_owned());
            begun.clear();
        }
        return;
    };
    let whole: Vec<u8> = begun.drain(..=end).collect();
    let text = String::from_utf8_lossy(&whole);
    lines.extend(text.lines().map(str::to_owned));
}

#[cfg(test)]
mod tests {
    use super::Tail;
    use std::fs;
    use std::io::Write;

    #[test]
    fn following_survives_rotation_and_torn_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("current.log");
        fs::write(&path, "old\n").expect("written");
        let mut tail = Tail::at_the_end(path.clone());
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .expect("opened");
        file.write_all(b"one\ntw").expect("written");
        assert_eq!(tail.news().expect("read"), ["one"]);
        fs::rename(&path, folder.path().join("current.log.1")).expect("rotated");
        assert!(tail.news().expect("read").is_empty());
        file.write_all(b"o\n")
            .expect("the writer goes on in the old file for a moment");
        fs::write(&path, "three\n").expect("written");
        assert_eq!(tail.news().expect("read"), ["two", "three"]);
    }

    #[test]
    fn a_file_that_comes_later_is_read_from_its_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("current.log");
        let mut tail = Tail::at_the_end(path.clone());
        assert!(tail.news().expect("nothing there").is_empty());
        fs::write(&path, "first\n").expect("written");
        assert_eq!(tail.news().expect("read"), ["first"]);
    }
}
