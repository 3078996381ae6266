//! A stream to journald for one service (the protocol of `systemd-cat`), and whether journald reads us.

use std::fs::File;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Where journald takes streams.
const SOCKET: &str = "/run/systemd/journal/stdout";
/// The header is small; journald reads it at once or is not well.
const HEADER_WITHIN: Duration = Duration::from_secs(1);
/// Priority of a line that names none.
const INFO: u8 = 6;

/// Whether one of our stdout and stderr is the stream that `$JOURNAL_STREAM` names. The variable alone
/// proves nothing: it is inherited by everything a service starts.
pub(super) fn reads_us(journal_stream: &str) -> bool {
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

/// `dev:inode`, both decimal.
fn parse(value: &str) -> Option<(u64, u64)> {
    let (dev, ino) = value.split_once(':')?;
    Some((dev.parse().ok()?, ino.parse().ok()?))
}

/// A write-only stream whose lines carry `identifier`.
///
/// # Errors
/// When journald is not there or does not take the header within a second.
pub(super) fn connect(identifier: &str) -> io::Result<OwnedFd> {
    connect_to(Path::new(SOCKET), identifier)
}

fn connect_to(socket: &Path, identifier: &str) -> io::Result<OwnedFd> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(HEADER_WITHIN))?;
    stream.shutdown(Shutdown::Read)?;
    // Identifier, unit (journald knows it), priority, level prefix, and three forwards.
    write!(stream, "{identifier}\n\n{INFO}\n1\n0\n0\n0\n")?;
    // The child shares the socket, and must not find a timeout on it.
    stream.set_write_timeout(None)?;
    Ok(stream.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_header_comes_first_and_then_what_the_service_writes() {
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
    fn only_numbers_name_a_stream() {
        assert_eq!(parse("8:1234"), Some((8, 1234)));
        assert_eq!(parse("8"), None);
        assert_eq!(parse("x:1"), None);
    }
}
