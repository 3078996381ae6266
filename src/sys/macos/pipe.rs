//! FIFOs by read(2) and pwrite(2): macOS has no splice(2), so a kill loses the chunk that was read and not yet written.

use super::super::pipe::{DrainRequest, Drained, PEEK_BYTES, WriteFailed, read};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

/// Marks a read end only: no process opens a file for reading with O_APPEND, and a shell's `>>` opens one for writing so.
pub(in super::super) fn mark_for_child(end: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL)?);
    if flags & OFlag::O_ACCMODE == OFlag::O_RDONLY {
        fcntl(end, FcntlArg::F_SETFL(flags | OFlag::O_APPEND))?;
    }
    Ok(())
}

/// Keeps the buffer for one chunk.
#[derive(Debug, Default)]
pub(in super::super) struct FifoDrain {
    bytes: Vec<u8>,
}

impl FifoDrain {
    pub(in super::super) fn transfer(
        &mut self,
        fifo: &File,
        file: &File,
        offset: u64,
        request: DrainRequest<'_>,
    ) -> Result<Drained, WriteFailed> {
        let taken = self.fill(fifo, &request);
        let count = match taken.map_err(|error| WriteFailed { error, lost: 0 })? {
            Drained::Bytes(count) => count,
            nothing @ (Drained::Empty | Drained::Ended) => return Ok(nothing),
        };
        let chunk = &self.bytes[..count];
        write_all(file, chunk, offset)?;
        if let Some(copy) = request.copy {
            copy.extend_from_slice(chunk);
        }
        Ok(Drained::Bytes(count))
    }

    /// Reads the next chunk. Bytes that were read cannot be put back, so a search for a newline reads single bytes. It
    /// happens once for each rotated file.
    fn fill(&mut self, fifo: &File, request: &DrainRequest<'_>) -> io::Result<Drained> {
        self.bytes.resize(PEEK_BYTES, 0);
        let max = request.max.min(PEEK_BYTES);
        if !request.to_newline {
            return read(fifo, &mut self.bytes[..max]);
        }
        for at in 0..max {
            match read(fifo, &mut self.bytes[at..=at])? {
                Drained::Bytes(_) if self.bytes[at] == b'\n' => return Ok(Drained::Bytes(at + 1)),
                Drained::Bytes(_) => {}
                nothing @ (Drained::Empty | Drained::Ended) if at == 0 => return Ok(nothing),
                Drained::Empty | Drained::Ended => return Ok(Drained::Bytes(at)),
            }
        }
        Ok(Drained::Bytes(max))
    }
}

/// Writes the whole chunk; bytes that the file does not take are lost, and counted.
fn write_all(file: &File, chunk: &[u8], offset: u64) -> Result<(), WriteFailed> {
    let mut written = 0;
    while written < chunk.len() {
        match file.write_at(&chunk[written..], offset + written as u64) {
            Ok(0) => {
                let error = io::Error::from(io::ErrorKind::WriteZero);
                return Err(WriteFailed {
                    error,
                    lost: chunk.len() - written,
                });
            }
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(WriteFailed {
                    error,
                    lost: chunk.len() - written,
                });
            }
        }
    }
    Ok(())
}

pub(in super::super) const fn enlarge(_fifo: &File, _requests: &[usize]) -> usize {
    PEEK_BYTES
}
