//! Opens a journald stream for one service (the protocol of `systemd-cat`), and detects whether journald reads stayd's
//! own output.

use std::fs::File;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The socket on which journald accepts streams.
const SOCKET: &str = "/run/systemd/journal/stdout";
/// How long to wait until journald takes the header. It is small, so journald reads it at once unless it hangs.
const HEADER_TIMEOUT: Duration = Duration::from_secs(1);
/// The priority of lines without a priority of their own.
const INFO: u8 = 6;

/// Whether our stdout or stderr is the stream that `$JOURNAL_STREAM` names. The variable alone proves nothing, because
/// every descendant of a systemd service inherits it.
pub(super) fn is_our_output(journal_stream: &str) -> bool {
    let Some(named) = parse(journal_stream) else {
        return false;
    };
    [io::stdout().as_fd(), io::stderr().as_fd()]
        .into_iter()
        .any(|fd| {
            let meta = fd
                .try_clone_to_owned()
                .and_then(|fd| File::from(fd).metadata());
            meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == named)
        })
}

/// Parses `dev:inode`, two decimal numbers.
fn parse(value: &str) -> Option<(u64, u64)> {
    let (dev, ino) = value.split_once(':')?;
    Some((dev.parse().ok()?, ino.parse().ok()?))
}

/// Opens a write-only stream whose lines carry `identifier`.
///
/// # Errors
/// When journald does not run or does not read the header within a second.
pub(super) fn connect(identifier: &str) -> io::Result<OwnedFd> {
    connect_to(Path::new(SOCKET), identifier)
}

fn connect_to(socket: &Path, identifier: &str) -> io::Result<OwnedFd> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(HEADER_TIMEOUT))?;
    stream.shutdown(Shutdown::Read)?;
    // Identifier, unit (empty: journald determines it), priority, level prefix, and three forward flags.
    write!(stream, "{identifier}\n\n{INFO}\n1\n0\n0\n0\n")?;
    // The child inherits the socket and must not inherit the timeout.
    stream.set_write_timeout(None)?;
    Ok(stream.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_header_comes_before_what_the_service_writes() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("journal");
        let listener = UnixListener::bind(&path).expect("bind");
        let mut file = File::from(connect_to(&path, "db").expect("connect"));
        file.write_all(b"a line\n").expect("write");
        drop(file);
        let mut text = String::new();
        let (mut stream, _) = listener.accept().expect("accept");
        stream.read_to_string(&mut text).expect("read");
        assert_eq!(text, "db\n\n6\n1\n0\n0\n0\na line\n");
    }

    #[test]
    fn only_two_numbers_name_a_stream() {
        assert_eq!(parse("8:1234"), Some((8, 1234)));
        assert_eq!(parse("8"), None);
        assert_eq!(parse("x:1"), None);
    }
}
