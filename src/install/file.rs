//! Writes and removes the files of a job.

use super::host::StepError;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The mode of a plist or unit: launchd refuses a plist that group or others can write, and systemd warns about a unit that
/// others cannot read.
pub(super) const JOB_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
/// Larger files are not ours.
const BYTES_MAX: u64 = 1 << 20;

/// What is at the path of a job's file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// The text that is to be installed.
    Same,
    /// An earlier text of stayd.
    Ours,
    /// A link to /dev/null: the unit is masked.
    Masked,
    /// A file that stayd has not rendered.
    Foreign,
}

/// Looks at the file. `is_ours` is true for the texts that stayd has rendered.
pub(super) fn look(
    path: &Path,
    text: &str,
    is_ours: impl Fn(&str) -> bool,
) -> Result<Found, StepError> {
    let failed = |error: io::Error| StepError::of_file("read", path, &error);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(failed(error)),
    };
    if found.is_symlink() {
        let target = fs::read_link(path).map_err(failed)?;
        return Ok(if target == Path::new("/dev/null") {
            Found::Masked
        } else {
            Found::Foreign
        });
    }
    if !found.is_file() || found.len() > BYTES_MAX {
        return Ok(Found::Foreign);
    }
    let bytes = fs::read(path).map_err(failed)?;
    Ok(match String::from_utf8(bytes) {
        Ok(present) if present == text => Found::Same,
        Ok(present) if is_ours(&present) => Found::Ours,
        Ok(_) | Err(_) => Found::Foreign,
    })
}

/// Makes a folder and those above it.
pub(super) fn make_folder(path: &Path) -> Result<(), StepError> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
        .map_err(|error| StepError::of_file("make the folder", path, &error))
}

/// Replaces the file in one step, whatever the umask: a reader finds the old text or the new one.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<(), StepError> {
    let failed = |error: io::Error| StepError::of_file("write", path, &error);
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    // Not the ending of a plist or unit: nothing loads it if this process is killed here.
    let staged = staged(path);
    let written = || -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&staged)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&staged, path)
    };
    // What a killed process has left.
    let _ = fs::remove_file(&staged);
    written().map_err(|error| {
        let _ = fs::remove_file(&staged);
        failed(error)
    })
}

fn staged(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Removes the file. One that does not exist is no error.
pub(super) fn remove(path: &Path) -> Result<(), StepError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StepError::of_file("remove", path, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, look, remove, write};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_file_is_replaced_in_one_step_with_its_mode_and_told_from_foreign_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("below/x.service");
        let is_ours = |text: &str| text.starts_with("# ours");
        let found = |text| look(&path, text, is_ours).expect("readable");
        assert_eq!(found("# ours 1"), Found::Nothing);
        write(&path, "# ours 1", 0o644).expect("written");
        let mode = fs::metadata(&path).expect("it").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(found("# ours 1"), Found::Same);
        assert_eq!(found("# ours 2"), Found::Ours);
        // As left by a process that was killed while it wrote.
        fs::write(path.with_extension("service.new"), "half").expect("written");
        write(&path, "# ours 2", 0o644).expect("written again");
        assert_eq!(found("# ours 2"), Found::Same);
        assert_eq!(
            fs::read_dir(folder.path().join("below"))
                .expect("it")
                .count(),
            1
        );
        fs::write(&path, "[Service]").expect("written");
        assert_eq!(found("# ours 2"), Found::Foreign);
        remove(&path).expect("removed");
        remove(&path).expect("removed before");
        symlink("/dev/null", &path).expect("a link");
        assert_eq!(found("# ours 2"), Found::Masked);
        remove(&path).expect("removed");
        symlink("elsewhere", &path).expect("a link");
        assert_eq!(found("# ours 2"), Found::Foreign);
    }
}
