//! Reads what is to be checked: a plist, a unit with its drop-ins, or the jobs of an app bundle.

use super::source::{Bundle, File, Source, UNIT_ENDINGS};
use std::fmt;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The most bytes of a file. systemd reads no line of more than 1 MiB, and no real job or unit comes near it.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The most drop-ins of a unit, and jobs of a bundle.
const FILES_MAX: usize = 64;
/// The folders in which systemd looks for units and drop-ins, the weakest first (systemd.unit(5)).
const UNIT_FOLDERS: [&str; 4] = ["/lib", "/usr/lib", "/run", "/etc"];

/// A path that cannot be read.
#[derive(Debug)]
pub struct ReadError {
    /// The path.
    pub path: PathBuf,
    /// The kind of the system's error, or [`io::ErrorKind::InvalidInput`] for a path that is nothing to check.
    pub kind: io::ErrorKind,
    message: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "cannot verify {}: {}",
            self.path.display(),
            self.message
        )
    }
}

impl ReadError {
    fn system(path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "there is no such file; check the path".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "permission denied; run it as a user who may read the file".to_owned()
            }
            _ => format!("{error}; check the path"),
        };
        Self {
            path: path.to_owned(),
            kind: error.kind(),
            message: advice,
        }
    }

    fn not_checkable(path: &Path, message: &str) -> Self {
        Self {
            path: path.to_owned(),
            kind: io::ErrorKind::InvalidInput,
            message: message.to_owned(),
        }
    }
}

/// Reads the file or bundle at `path`.
///
/// # Errors
/// The path does not exist, cannot be read, or is neither a regular file nor an app bundle.
pub fn read(path: &Path) -> Result<Source, ReadError> {
    let metadata = fs::metadata(path).map_err(|error| ReadError::system(path, &error))?;
    if metadata.is_dir() {
        return read_bundle(path);
    }
    if !metadata.is_file()
        && fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
    {
        let message = "the unit is masked (a link to /dev/null), so there is nothing to check";
        return Err(ReadError::not_checkable(path, message));
    }
    if !metadata.is_file() {
        let message = "it is not a regular file; name a plist, a unit or an .app";
        return Err(ReadError::not_checkable(path, message));
    }
    let file = read_file(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(match kind_of(&name, &file.bytes) {
        Kind::Plist => Source::Plist(file),
        Kind::Unit => Source::Unit {
            drop_ins: drop_ins(path, &name),
            siblings: siblings(path, &name),
            file,
        },
        Kind::Unknown => Source::Unknown(file),
    })
}

enum Kind {
    Plist,
    Unit,
    Unknown,
}

/// What a file is, by its name, else by its beginning. The ending of a template does not count.
fn kind_of(name: &str, bytes: &[u8]) -> Kind {
    let ending = |wanted: &str| name.split('.').skip(1).any(|part| part == wanted);
    if ending("plist") || bytes.starts_with(b"bplist") {
        return Kind::Plist;
    }
    if ending("conf") || UNIT_ENDINGS.iter().any(|unit| ending(unit)) {
        return Kind::Unit;
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'<') => Kind::Plist,
        Some(b'[' | b'#' | b';')
            if text
                .windows(6)
                .any(|part| part == b"[Unit]" || part == b"[Servi") =>
        {
            Kind::Unit
        }
        _ => Kind::Unknown,
    }
}

fn read_file(path: &Path) -> Result<File, ReadError> {
    let system = |error: io::Error| ReadError::system(path, &error);
    // The open of a pipe without a writer must not block.
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(system)?;
    let metadata = open.metadata().map_err(system)?;
    let mut bytes = Vec::new();
    open.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(system)?;
    let too_large = bytes.len() as u64 > FILE_BYTES_MAX;
    if too_large {
        bytes.clear();
    }
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = fs::metadata(folder.unwrap_or(Path::new(".")));
    Ok(File {
        path: path.to_owned(),
        bytes,
        too_large,
        owner: Some(metadata.uid()),
        folder_owner: folder.ok().map(|folder| folder.uid()),
        mode: Some(metadata.mode() & 0o7777),
    })
}

/// The regular files of a folder whose names end with this, ordered by name; none if the folder cannot be read.
fn files_in(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .filter(|path| fs::metadata(path).as_ref().is_ok_and(Metadata::is_file))
        .take(FILES_MAX)
        .collect();
    files.sort();
    files
}

/// The drop-ins of a unit: in `NAME.d` beside it and, for a unit in a folder of systemd, in the others. Of two with the same
/// name, the one in the stronger folder counts.
fn drop_ins(path: &Path, name: &str) -> Vec<File> {
    let own = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut folders = Vec::new();
    for scope in ["systemd/system", "systemd/user"] {
        let all = UNIT_FOLDERS.map(|root| Path::new(root).join(scope));
        if all.contains(&own) {
            folders.extend(all);
        }
    }
    if folders.is_empty() {
        folders.push(own);
    }
    let template = name
        .split_once('@')
        .and_then(|(stem, rest)| Some((stem, rest.rsplit_once('.')?.1)))
        .map(|(stem, ending)| format!("{stem}@.{ending}"));
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in &folders {
        for unit in template.iter().map(String::as_str).chain([name]) {
            for file in files_in(&folder.join(format!("{unit}.d")), ".conf") {
                found.retain(|earlier| earlier.file_name() != file.file_name());
                found.push(file);
            }
        }
    }
    found.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    found.truncate(FILES_MAX);
    // A drop-in that cannot be read cannot be checked, and does not keep the unit from being checked.
    found
        .iter()
        .filter_map(|file| read_file(file).ok())
        .collect()
}

/// The names of the units beside this one that activate a service of the same stem.
fn siblings(path: &Path, name: &str) -> Vec<String> {
    let Some((stem, "service")) = name.rsplit_once('.') else {
        return Vec::new();
    };
    ["socket", "timer", "path"]
        .map(|ending| format!("{stem}.{ending}"))
        .into_iter()
        .filter(|sibling| path.with_file_name(sibling).exists())
        .collect()
}

fn read_bundle(path: &Path) -> Result<Source, ReadError> {
    let is_app = path.extension().is_some_and(|ending| ending == "app");
    if !is_app && !path.join("Contents").is_dir() {
        let message = "it is a folder and no app bundle; name the files in it";
        return Err(ReadError::not_checkable(path, message));
    }
    let library = path.join("Contents/Library");
    let mut jobs = Vec::new();
    for folder in ["LaunchAgents", "LaunchDaemons"] {
        for file in files_in(&library.join(folder), "") {
            jobs.push(read_file(&file)?);
        }
    }
    Ok(Source::Bundle(Bundle {
        root: path.to_owned(),
        jobs,
        is_program,
    }))
}

/// Whether a path is a file that can be executed; none if it does not exist.
fn is_program(path: &Path) -> Option<bool> {
    let metadata = fs::metadata(path).ok()?;
    Some(metadata.is_file() && metadata.mode() & 0o111 != 0)
}
