//! Reads, verifies and atomically replaces the file of one claim: a JSON object whose last member is a checksum.

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

/// The largest accepted file. A claim with the most members and the longest paths stays well below it.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The text before the 16 digits of the checksum.
const CHECKSUM_OPEN: &str = ",\"checksum\":\"";
/// The text after the 16 digits of the checksum.
const CHECKSUM_CLOSE: &str = "\"}\n";
/// The end of a claim file's name; the service's name comes before it.
const SUFFIX: &str = ".json";
/// The extension that a folder gets when it is renamed out of a claim's place.
const SET_ASIDE: &str = "set-aside";

/// The claim of a service as found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimOnDisk {
    /// There is no claim file.
    Absent,
    /// The file is complete, belongs to our user and is well formed. Its process may have ended.
    Valid(Box<Claim>),
    /// The file has a defect, named by the text. stayd does nothing to the processes that it names.
    Unverifiable(String),
}

pub(crate) fn path(dir: &Path, service: &str) -> PathBuf {
    dir.join(format!("{service}{SUFFIX}"))
}

/// Replaces the claim atomically: a reader that opens it gets the whole old claim or the whole new one.
///
/// The new claim is written over a spare file, and then the two files are exchanged (renameat2(2), RENAME_EXCHANGE).
/// Renaming a fresh file over the old one would make ext4 write its data to the disk at once: 150 µs before every
/// respawn, where the exchange takes 10 µs.
pub(crate) fn write(dir: &Path, service: &str, claim: &Claim) -> io::Result<()> {
    let target = path(dir, service);
    let spare = spare_path(dir, service);
    let text = add_checksum(&serde_json::to_string(claim).map_err(io::Error::other)?);
    let written = write_over(&spare, &text);
    reached(Failpoint::ClaimHalfWritten);
    // The first claim of a service has no file to exchange with, and some file systems do not support the exchange.
    written
        .and_then(|()| exchange(&spare, &target).or_else(|_| fs::rename(&spare, &target)))
        .inspect_err(|_| {
            // On a full disk a half-written spare file would only use space.
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

/// Opens the spare file for writing; replaces it unless it passes the checks for a claim file. After one exchange the
/// spare is the file that was in the claim's place, and after the next exchange it is the claim again.
fn open_spare(path: &Path) -> io::Result<File> {
    let open = |create: bool| {
        OpenOptions::new()
            .write(true)
            .create_new(create)
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

/// Removes the file at `path`. Renames a folder instead, because it may contain a user's data.
fn make_room(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        return fs::rename(path, path.with_extension(SET_ASIDE));
    }
    fs::remove_file(path)
}

/// Whether no file is in the claim's place. A place that cannot be checked does not count as empty.
pub(crate) fn is_missing(dir: &Path, service: &str) -> bool {
    let found = fs::symlink_metadata(path(dir, service));
    found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Removes the claim, then its spare file.
pub(crate) fn remove(dir: &Path, service: &str) -> io::Result<()> {
    for path in [path(dir, service), spare_path(dir, service)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => reached(Failpoint::HalfReleased),
        }
    }
    Ok(())
}

/// The services that have a claim file in `dir`, sorted.
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

pub(crate) fn read(dir: &Path, service: &str) -> ClaimOnDisk {
    let first = read_once(dir, service);
    match first {
        // Two writes during the read overwrite the file that is being read; a second read gets a whole one.
        ClaimOnDisk::Unverifiable(_) => read_once(dir, service),
        ClaimOnDisk::Absent | ClaimOnDisk::Valid(_) => first,
    }
}

fn read_once(dir: &Path, service: &str) -> ClaimOnDisk {
    match read_text(&path(dir, service)) {
        Ok(None) => ClaimOnDisk::Absent,
        Ok(Some(text)) => match verify_checksum(&text).and_then(|json| parse(&json)) {
            Ok(claim) => ClaimOnDisk::Valid(Box::new(claim)),
            Err(reason) => ClaimOnDisk::Unverifiable(reason),
        },
        Err(reason) => ClaimOnDisk::Unverifiable(reason),
    }
}

/// The text of the file at `path`, after checking that only our user could have written it; none when there is no file.
fn read_text(path: &Path) -> Result<Option<String>, String> {
    // O_NONBLOCK: opening a FIFO that was put in the place of the file must not block.
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

/// Checks that `file` is a regular file of our user that other users cannot read or write, and not too large.
fn check_file(file: &File) -> Result<(), String> {
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("not a plain file".to_owned());
    }
    if meta.uid() != identity::euid() {
        return Err(format!("it belongs to user {}", meta.uid()));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(format!(
            "mode {:o} gives other users access",
            meta.mode() & 0o777
        ));
    }
    if meta.len() >= FILE_BYTES_MAX {
        return Err(format!("{} bytes are too many for a claim", meta.len()));
    }
    Ok(())
}

/// Appends the checksum as the last member of the object `json`.
fn add_checksum(json: &str) -> String {
    let body = json.strip_suffix('}').unwrap_or(json);
    format!(
        "{body}{CHECKSUM_OPEN}{:016x}{CHECKSUM_CLOSE}",
        checksum(body)
    )
}

/// Checks the checksum of `text` and returns the JSON without it. The checksum is over the text as written, so it stays
/// valid when a later stayd has added members.
fn verify_checksum(text: &str) -> Result<String, String> {
    let torn = || "it is torn: its end is missing".to_owned();
    let open = text.strip_suffix(CHECKSUM_CLOSE).ok_or_else(torn)?;
    let (body, sum) = open.rsplit_once(CHECKSUM_OPEN).ok_or_else(torn)?;
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
        return Err("it names a process that stayd must never signal".to_owned());
    }
    if claim.pid.is_some() != claim.start_time.is_some() {
        return Err("its process has no start time".to_owned());
    }
    Ok(claim)
}

/// FNV-1a of `text`. It detects torn writes and accidental edits. It does not detect forgery: the file mode, and the
/// evidence that a process itself must carry, protect against that.
fn checksum(text: &str) -> u64 {
    Fnv::of(text.as_bytes())
}
