//! read(2) and pwrite(2): there is no splice here, so the chunk in flight is at risk when we are killed.

use super::{Moved, PEEK_BYTES, Refused, Want, take};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The largest chunk in flight.
#[derive(Debug, Default)]
pub(super) struct Mover {
    bytes: Vec<u8>,
}

impl Mover {
    pub(super) fn transfer(
        &mut self,
        fifo: &File,
        file: &File,
        offset: u64,
        want: Want<'_>,
    ) -> Result<Moved, Refused> {
        let taken = self.fill(fifo, &want);
        let count = match taken.map_err(|error| Refused { error, lost: 0 })? {
            Moved::Bytes(count) => count,
            nothing @ (Moved::Empty | Moved::Ended) => return Ok(nothing),
        };
        let chunk = &self.bytes[..count];
        write_all(file, chunk, offset)?;
        if let Some(copy) = want.copy {
            copy.extend_from_slice(chunk);
        }
        Ok(Moved::Bytes(count))
    }

    /// Takes the next chunk. What is read cannot be put back, so a search for a newline reads single bytes;
    /// it happens once for each rotated file.
    fn fill(&mut self, fifo: &File, want: &Want<'_>) -> io::Result<Moved> {
        self.bytes.resize(PEEK_BYTES, 0);
        let max = want.max.min(PEEK_BYTES);
        if !want.to_newline {
            return take(fifo, &mut self.bytes[..max]);
        }
        for at in 0..max {
            match take(fifo, &mut self.bytes[at..=at])? {
                Moved::Bytes(_) if self.bytes[at] == b'\n' => return Ok(Moved::Bytes(at + 1)),
                Moved::Bytes(_) => {}
                nothing @ (Moved::Empty | Moved::Ended) if at == 0 => return Ok(nothing),
                Moved::Empty | Moved::Ended => return Ok(Moved::Bytes(at)),
            }
        }
        Ok(Moved::Bytes(max))
    }
}

/// Writes the whole chunk; what the file did not take is lost, and counted.
fn write_all(file: &File, chunk: &[u8], offset: u64) -> Result<(), Refused> {
    let mut written = 0;
    while written < chunk.len() {
        match file.write_at(&chunk[written..], offset + written as u64) {
            Ok(0) => {
                let error = io::Error::from(io::ErrorKind::WriteZero);
                return Err(Refused {
                    error,
                    lost: chunk.len() - written,
                });
            }
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Refused {
                    error,
                    lost: chunk.len() - written,
                });
            }
        }
    }
    Ok(())
}

pub(super) fn enlarge(_fifo: &File, _wishes: &[usize]) -> usize {
    PEEK_BYTES
}

#[expect(unsafe_code, reason = "libproc has no safe face among our crates")]
pub(super) fn all_pids() -> io::Result<Vec<i32>> {
    // SAFETY: a null buffer of size 0 asks for the number of processes.
    let expected = unsafe { libc::proc_listallpids(std::ptr::null_mut(), 0) };
    // Some room for those that start between the two calls.
    let room = usize::try_from(expected).map_err(|_| io::Error::last_os_error())? + 64;
    let mut pids = vec![0_i32; room];
    let size = i32::try_from(room * size_of::<i32>()).map_err(io::Error::other)?;
    // SAFETY: the buffer is `size` bytes long and outlives the call.
    let count = unsafe { libc::proc_listallpids(pids.as_mut_ptr().cast(), size) };
    pids.truncate(usize::try_from(count).map_err(|_| io::Error::last_os_error())?);
    Ok(pids)
}
