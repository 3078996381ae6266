//! The memory of this process.

use super::platform;

/// Releases memory that only the start needed. On Linux: the pages of the program, of which one fault maps sixteen at once
/// (`do_fault_around` in mm/memory.c), or since Linux 6.18 a whole folio of the page cache, and free memory that malloc(3)
/// retains. The kernel maps a page again from the page cache or the disk when it is needed. Does nothing on macOS.
pub fn release_startup_memory() {
    platform::release_startup_memory();
}

/// Whether the running program is on the disk of the root file system; false where this cannot be determined.
///
/// Pages of a program on a removable disk must not be released, because the disk may be gone when they are needed. Reads
/// only the kernel's tables, so that a dead disk cannot block the call.
#[must_use]
pub fn is_program_on_root_disk() -> bool {
    platform::is_program_on_root_disk()
}
