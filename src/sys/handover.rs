//! Replaces the program of this process (execve(2)) and passes open descriptors and a manifest to the new program.
//!
//! The manifest is the content of an anonymous file. An environment variable holds the number of its descriptor. The first
//! line of the file names the pid it is meant for and the descriptors that belong to it, so that only the new program in
//! the same process takes them.
#![expect(unsafe_code, reason = "execve(2), descriptors known by their numbers")]

use super::program::Program;
use super::{check, identity, platform};
use std::ffi::{CString, c_char};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

/// The environment variable that holds the descriptor number of the handover file.
pub const VARIABLE: &str = "STAYD_HANDOVER";
/// The first word of a handover file.
const MAGIC: &str = "stayd-handover";
/// The most bytes that are read; the manifest of a thousand services is a fraction of this.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Descriptors and the manifest that describes them, ready to be passed to another program.
#[derive(Debug)]
pub struct Handover {
    file: File,
    fds: Vec<OwnedFd>,
}

impl Handover {
    /// Writes `manifest` to an anonymous file. It may refer to `fds` by their index in the list.
    ///
    /// # Errors
    /// The file cannot be created or written; the descriptors are returned with the error.
    pub fn prepare(fds: Vec<OwnedFd>, manifest: &[u8]) -> Result<Self, (io::Error, Vec<OwnedFd>)> {
        match write(&fds, manifest) {
            Ok(file) => Ok(Self { file, fds }),
            Err(error) => Err((error, fds)),
        }
    }

    /// Gives the descriptors back after [`execute`] has failed.
    #[must_use]
    pub fn into_descriptors(self) -> Vec<OwnedFd> {
        self.fds
    }

    /// Takes over the descriptors and the manifest from the handover file with descriptor `number`, the value of
    /// [`VARIABLE`]. The descriptors are close-on-exec from then on.
    ///
    /// # Errors
    /// The descriptor is not a handover file, or the file is meant for another process; then nothing is taken.
    pub fn receive(number: &str) -> io::Result<(Vec<OwnedFd>, Vec<u8>)> {
        let invalid = || {
            let why = "not a handover file for this process";
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        let number: RawFd = number.parse().map_err(|_| invalid())?;
        let mut content = Vec::new();
        // Read it by path first: a descriptor that is not a handover file belongs to other code and must stay open.
        let reader = File::open(format!("/dev/fd/{number}"))?;
        reader.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
        let end = content.iter().position(|byte| *byte == b'\n');
        let (head, manifest) = content.split_at(end.ok_or_else(invalid)?);
        let numbers = descriptors_for_this_process(head).ok_or_else(invalid)?;
        let fds = numbers.into_iter().map(own).collect::<io::Result<_>>()?;
        drop(own(number)?);
        platform::restore_process_name();
        Ok((fds, manifest[1..].to_vec()))
    }

    fn survives_exec(&self, survives: bool) -> io::Result<()> {
        let flag = if survives { 0 } else { libc::FD_CLOEXEC };
        let file = std::iter::once(self.file.as_raw_fd());
        for fd in file.chain(self.fds.iter().map(OwnedFd::as_raw_fd)) {
            // SAFETY: the call takes only numbers, of descriptors that are open.
            check(unsafe { libc::fcntl(fd, libc::F_SETFD, flag) })?;
        }
        Ok(())
    }
}

fn write(fds: &[OwnedFd], manifest: &[u8]) -> io::Result<File> {
    let mut file = platform::anonymous_file()?;
    let numbers: Vec<String> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    writeln!(file, "{MAGIC} {} {}", identity::pid(), numbers.join(" "))?;
    file.write_all(manifest)?;
    file.rewind()?;
    Ok(file)
}

/// The descriptor numbers in the first line of a handover file, if the file is meant for this process.
fn descriptors_for_this_process(head: &[u8]) -> Option<Vec<RawFd>> {
    let mut words = std::str::from_utf8(head).ok()?.split_ascii_whitespace();
    let is_ours = words.next()? == MAGIC && words.next()?.parse() == Ok(identity::pid());
    if !is_ours {
        return None;
    }
    words.map(|word| word.parse().ok()).collect()
}

/// Takes ownership of a descriptor that the previous program passed on; no other code in this program uses its number.
fn own(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the call takes only numbers; it fails for a number that is not open.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the descriptor is open, and the previous program gave it to the reader of the handover file, once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Replaces the program of this process with `program`, which gets `argv`, `env` and `handover`. Returns only when the
/// system refuses; nothing has changed then.
///
/// The kernel ends every other thread first. A thread that is stuck in the kernel blocks this call for as long as it is
/// stuck.
#[must_use]
pub fn execute(
    program: &Program,
    argv: &[CString],
    env: &[CString],
    handover: &Handover,
) -> io::Error {
    let outcome = handover
        .survives_exec(true)
        .and_then(|()| exec(program, argv, env, handover));
    // This program continues and starts children, which must not inherit the descriptors.
    let _ = handover.survives_exec(false);
    match outcome {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

fn exec(
    program: &Program,
    argv: &[CString],
    env: &[CString],
    handover: &Handover,
) -> io::Result<std::convert::Infallible> {
    let entry = format!("{VARIABLE}={}", handover.file.as_raw_fd());
    let entry = CString::new(entry).map_err(io::Error::other)?;
    let path = program.path_to_execute()?;
    let mut argv: Vec<*const c_char> = argv.iter().map(|word| word.as_ptr()).collect();
    let mut env: Vec<*const c_char> = env.iter().map(|variable| variable.as_ptr()).collect();
    env.push(entry.as_ptr());
    argv.push(ptr::null());
    env.push(ptr::null());
    // SAFETY: the pointers are to C strings that outlive the call, and both lists end with a null pointer.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::{Handover, descriptors_for_this_process};
    use crate::sys::identity;
    use std::io::{self, Read as _, Write as _};
    use std::os::fd::{AsRawFd as _, IntoRawFd};

    #[test]
    fn a_handover_is_received_with_its_descriptors() -> io::Result<()> {
        let (reader, mut writer) = io::pipe()?;
        let handover =
            Handover::prepare(vec![reader.into()], b"of 0\n").map_err(|(error, _)| error)?;
        let Handover { file, fds } = handover;
        let number = file.into_raw_fd().to_string();
        let _passed_on: Vec<_> = fds.into_iter().map(IntoRawFd::into_raw_fd).collect();
        let (mut fds, manifest) = Handover::receive(&number)?;
        assert_eq!(manifest, b"of 0\n");
        writer.write_all(b"x")?;
        drop(writer);
        let mut received = String::new();
        io::PipeReader::from(fds.remove(0)).read_to_string(&mut received)?;
        assert_eq!(received, "x");
        Ok(())
    }

    #[test]
    fn a_file_for_another_process_is_not_taken() -> io::Result<()> {
        let mut other = tempfile::tempfile()?;
        writeln!(other, "stayd-handover 1 0 1 2")?;
        assert!(Handover::receive(&other.as_raw_fd().to_string()).is_err());
        assert!(Handover::receive("nonsense").is_err());
        let first_line = format!("stayd-handover {} 7 8", identity::pid());
        assert_eq!(
            descriptors_for_this_process(first_line.as_bytes()),
            Some(vec![7, 8])
        );
        assert_eq!(descriptors_for_this_process(b"stayd-handover 1 7 8"), None);
        Ok(())
    }
}
