//! One program takes the place of another in the same process (execve(2)), and is left text and open descriptors.
//!
//! What is left lies in a file without a name, whose number is told in the environment. Its first line names the process
//! it is for and the descriptors that belong to it, so that nobody but the heir takes them for its own.
#![expect(unsafe_code, reason = "execve(2), descriptors known by their numbers")]

use super::program::Program;
use super::{check, identity, imp};
use std::ffi::{CString, c_char};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

/// Says which descriptor the parcel is.
pub const VARIABLE: &str = "STAYD_HANDOVER";
/// How a parcel begins.
const MAGIC: &str = "stayd-handover";
/// A parcel of a thousand services is a fraction of this.
const PARCEL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Descriptors and a text about them, ready to be left to another program.
#[derive(Debug)]
pub struct Parcel {
    file: File,
    fds: Vec<OwnedFd>,
}

impl Parcel {
    /// Packs `text`, which may speak of `fds` by their places in the list.
    ///
    /// # Errors
    /// There is no file to be had, or it refuses the bytes; the descriptors come back.
    pub fn pack(fds: Vec<OwnedFd>, text: &[u8]) -> Result<Self, (io::Error, Vec<OwnedFd>)> {
        match write(&fds, text) {
            Ok(file) => Ok(Self { file, fds }),
            Err(error) => Err((error, fds)),
        }
    }

    /// The descriptors: nobody took the parcel.
    #[must_use]
    pub fn unpack(self) -> Vec<OwnedFd> {
        self.fds
    }

    /// Takes the parcel that [`VARIABLE`] says is descriptor `number`. Its descriptors are close-on-exec from now on.
    ///
    /// # Errors
    /// It is no parcel, or not for this process; then nothing is taken.
    pub fn receive(number: &str) -> io::Result<(Vec<OwnedFd>, Vec<u8>)> {
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "not left for this process");
        let number: RawFd = number.parse().map_err(|_| strange())?;
        let mut content = Vec::new();
        // by its path first: what is no parcel is somebody else's descriptor, and stays open
        let look = File::open(format!("/dev/fd/{number}"))?;
        look.take(PARCEL_BYTES_MAX).read_to_end(&mut content)?;
        let end = content.iter().position(|byte| *byte == b'\n');
        let (head, text) = content.split_at(end.ok_or_else(strange)?);
        let numbers = addressed_to_us(head).ok_or_else(strange)?;
        let fds = numbers.into_iter().map(own).collect::<io::Result<_>>()?;
        drop(own(number)?);
        imp::go_by_the_name_of_our_file();
        Ok((fds, text[1..].to_vec()))
    }

    fn survives_exec(&self, survives: bool) -> io::Result<()> {
        let flag = if survives { 0 } else { libc::FD_CLOEXEC };
        let file = std::iter::once(self.file.as_raw_fd());
        for fd in file.chain(self.fds.iter().map(OwnedFd::as_raw_fd)) {
            // SAFETY: numbers only, of descriptors that are open.
            check(unsafe { libc::fcntl(fd, libc::F_SETFD, flag) })?;
        }
        Ok(())
    }
}

fn write(fds: &[OwnedFd], text: &[u8]) -> io::Result<File> {
    let mut file = imp::nameless_file()?;
    let numbers: Vec<String> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    writeln!(file, "{MAGIC} {} {}", identity::pid(), numbers.join(" "))?;
    file.write_all(text)?;
    file.rewind()?;
    Ok(file)
}

/// The numbers in a parcel's first line, if it is for this process.
fn addressed_to_us(head: &[u8]) -> Option<Vec<RawFd>> {
    let mut words = std::str::from_utf8(head).ok()?.split_ascii_whitespace();
    let is_ours = words.next()? == MAGIC && words.next()?.parse() == Ok(identity::pid());
    if !is_ours {
        return None;
    }
    words.map(|word| word.parse().ok()).collect()
}

/// A descriptor that was left to us: nobody else in this program knows its number.
fn own(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: a number only; one that is not open is refused.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and the program before us has given it to whoever reads the parcel, once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Becomes `program`: the same process, with `argv`, `env` and `parcel`. Returns only when the system refuses, with
/// everything as it was.
///
/// Every other thread ends here. One that is stuck in the kernel would hold this call for as long as it is stuck.
#[must_use]
pub fn execute(program: &Program, argv: &[CString], env: &[CString], parcel: &Parcel) -> io::Error {
    let outcome = parcel
        .survives_exec(true)
        .and_then(|()| exec(program, argv, env, parcel));
    // The program that goes on starts others, and they get nothing of this.
    let _ = parcel.survives_exec(false);
    match outcome {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

fn exec(
    program: &Program,
    argv: &[CString],
    env: &[CString],
    parcel: &Parcel,
) -> io::Result<std::convert::Infallible> {
    let said = format!("{VARIABLE}={}", parcel.file.as_raw_fd());
    let said = CString::new(said).map_err(io::Error::other)?;
    let path = program.path_to_execute()?;
    let mut argv: Vec<*const c_char> = argv.iter().map(|word| word.as_ptr()).collect();
    let mut env: Vec<*const c_char> = env.iter().map(|entry| entry.as_ptr()).collect();
    env.push(said.as_ptr());
    argv.push(ptr::null());
    env.push(ptr::null());
    // SAFETY: C strings that live here, and lists of them that end with null.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::{Parcel, addressed_to_us};
    use crate::sys::identity;
    use std::io::{self, Read as _, Write as _};
    use std::os::fd::{AsRawFd as _, IntoRawFd};

    #[test]
    fn what_was_packed_is_received_once_descriptors_and_all() -> io::Result<()> {
        let (reader, mut writer) = io::pipe()?;
        let parcel = Parcel::pack(vec![reader.into()], b"of 0\n").map_err(|(error, _)| error)?;
        let Parcel { file, fds } = parcel;
        let number = file.into_raw_fd().to_string();
        let _left_over: Vec<_> = fds.into_iter().map(IntoRawFd::into_raw_fd).collect();
        let (mut fds, text) = Parcel::receive(&number)?;
        assert_eq!(text, b"of 0\n");
        writer.write_all(b"x")?;
        drop(writer);
        let mut said = String::new();
        io::PipeReader::from(fds.remove(0)).read_to_string(&mut said)?;
        assert_eq!(said, "x");
        Ok(())
    }

    #[test]
    fn what_is_not_for_us_is_left_alone() -> io::Result<()> {
        let mut other = tempfile::tempfile()?;
        writeln!(other, "stayd-handover 1 0 1 2")?;
        assert!(Parcel::receive(&other.as_raw_fd().to_string()).is_err());
        assert!(Parcel::receive("nonsense").is_err());
        let ours = format!("stayd-handover {} 7 8", identity::pid());
        assert_eq!(addressed_to_us(ours.as_bytes()), Some(vec![7, 8]));
        assert_eq!(addressed_to_us(b"stayd-handover 1 7 8"), None);
        Ok(())
    }
}
