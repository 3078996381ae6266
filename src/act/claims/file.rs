//! A claim as a file: one JSON object, its checksum the last field.

use super::Claim;
use crate::act::dirs::state_dir::FILE_MODE;
use crate::act::failpoint::{Failpoint, reached};
use crate::sys::filesystem::exchange;
use crate::sys::fnv::Fnv;
use crate::sys::identity;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A claim with the most members and the longest paths stays well below this.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// What comes before the checksum's 16 digits, and after them.
const SEAL_OPEN: &str = ",\"checksum\":\"";
const SEAL_CLOSE: &str = "\"}\n";
/// What a claim's file is called behind the service's name.
const SUFFIX: &str = ".json";
/// The last part of the name of a folder that was in a claim's place.
const SET_ASIDE: &str = "set-aside";

/// What the disk says about a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// There is no claim.
    Absent,
    /// Whole, ours, and well formed; whether its process still lives is another question.
    Valid(Box<Claim>),
    /// Not to be believed, and nothing is done to what it names.
    Unverifiable(String),
}

pub(crate) fn path(dir: &Path, service: &str) -> PathBuf {
    dir.join(format!("{service}{SUFFIX}"))
}

/// Replaces the claim: whoever opens it finds the old one or the new one, never a part.
///
/// Two files change places, and the spare one is written over. To rename a fresh file over the old one makes
/// ext4 send its data to the disk at once: 150 µs on the way to every respawn where this takes 10.
pub(crate) fn write(dir: &Path, service: &str, claim: &Claim) -> io::Result<()> {
    let target = path(dir, service);
    let spare = spare_path(dir, service);
    let text = seal(&serde_json::to_string(claim).map_err(io::Error::other)?);
    let written = write_over(&spare, &text);
    reached(Failpoint::ClaimHalfWritten);
    // The first claim has nothing to change places with, and some file systems know no exchange.
    written
        .and_then(|()| exchange(&spare, &target).or_else(|_| fs::rename(&spare, &target)))
        .inspect_err(|_| {
            // A half-written file would only take room on a full disk.
            drop(fs::remove_file(&spare));
        })
}

fn spare_path(dir: &Path, service: &str) -> PathBuf {
    dir.join(format!("{service}{SUFFIX}.new"))
}

fn write_over(path: &Path, text: &str) -> io::Result<()> {
    let mut file = open_spare(path)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

/// What was found in the claim's place is the spare after one exchange, and the claim after another: anything that would
/// not be believed as a claim makes room.
fn open_spare(path: &Path) -> io::Result<File> {
    let open = |anew: bool| {
        OpenOptions::new()
            .write(true)
            .create_new(anew)
            .mode(FILE_MODE)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
    };
    match open(false) {
        Ok(file) if check_file(&file).is_ok() => return Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(_) | Err(_) => make_room(path)?,
    }
    open(true)
}

/// A folder may hold what somebody wants to keep: it is set aside.
fn make_room(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        return fs::rename(path, path.with_extension(SET_ASIDE));
    }
    fs::remove_file(path)
}

/// Removes the claim, and then its spare.
pub(crate) fn remove(dir: &Path, service: &str) -> io::Result<()> {
    for path in [path(dir, service), spare_path(dir, service)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => reached(Failpoint::HalfReleased),
        }
    }
    Ok(())
}

pub(crate) fn services(dir: &Path) -> io::Result<Vec<String>> {
    let mut services = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        services.extend(
            name.to_str()
                .and_then(|name| name.strip_suffix(SUFFIX))
                .map(str::to_owned),
        );
    }
    services.sort();
    Ok(services)
}

pub(crate) fn read(dir: &Path, service: &str) -> Reading {
    let first = read_once(dir, service);
    match first {
        // Two writes while it was read have written over the very file: a second look finds a whole one.
        Reading::Unverifiable(_) => read_once(dir, service),
        Reading::Absent | Reading::Valid(_) => first,
    }
}

fn read_once(dir: &Path, service: &str) -> Reading {
    match read_text(&path(dir, service)) {
        Ok(None) => Reading::Absent,
        Ok(Some(text)) => match unseal(&text).and_then(|json| parse(&json)) {
            Ok(claim) => Reading::Valid(Box::new(claim)),
            Err(reason) => Reading::Unverifiable(reason),
        },
        Err(reason) => Reading::Unverifiable(reason),
    }
}

/// The text of a file that can only be ours; none when there is no file.
fn read_text(path: &Path) -> Result<Option<String>, String> {
    // O_NONBLOCK: a FIFO put in its place must not hold us.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot open {}: {error}", path.display())),
    };
    check_file(&file).map_err(|reason| format!("{}: {reason}", path.display()))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(Some(text))
}

fn check_file(file: &File) -> Result<(), String> {
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("not a plain file".to_owned());
    }
    if meta.uid() != identity::euid() {
        return Err(format!("it belongs to user {}", meta.uid()));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(format!("mode {:o} lets others in", meta.mode() & 0o777));
    }
    if meta.len() >= FILE_BYTES_MAX {
        return Err(format!("{} bytes are too many for a claim", meta.len()));
    }
    Ok(())
}

fn seal(json: &str) -> String {
    let body = json.strip_suffix('}').unwrap_or(json);
    format!("{body}{SEAL_OPEN}{:016x}{SEAL_CLOSE}", checksum(body))
}

/// The claim's JSON without its seal. The checksum is over the text as written, so that fields which a later
/// stayd adds do not break it.
fn unseal(text: &str) -> Result<String, String> {
    let torn = || "it is torn: its end is missing".to_owned();
    let open = text.strip_suffix(SEAL_CLOSE).ok_or_else(torn)?;
    let (body, sum) = open.rsplit_once(SEAL_OPEN).ok_or_else(torn)?;
    if sum != format!("{:016x}", checksum(body)) {
        return Err("its checksum is wrong".to_owned());
    }
    Ok(format!("{body}}}"))
}

fn parse(json: &str) -> Result<Claim, String> {
    let claim: Claim = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if !claim.token.is_well_formed() {
        return Err("its token is not 128 bits".to_owned());
    }
    let named = claim.members.iter().chain(&claim.first);
    let mut pids = named.map(|member| member.pid).chain(claim.pid);
    if pids.any(|pid| pid <= 1) {
        return Err("it names a process that nobody may signal".to_owned());
    }
    if claim.pid.is_some() != claim.start_time.is_some() {
        return Err("its process has no birth".to_owned());
    }
    Ok(claim)
}

/// Against torn writes and careless hands, not against forgers, whom the mode and the proofs in the process itself keep
/// out.
fn checksum(text: &str) -> u64 {
    Fnv::of(text.as_bytes())
}
