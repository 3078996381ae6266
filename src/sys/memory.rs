//! Our own memory.

use super::{identity, imp};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Gives back what only the start has needed: on Linux the pages of the program, of which a fault maps sixteen at once
/// (`do_fault_around` in mm/memory.c), and what malloc(3) keeps for later. What is needed again comes again from the page
/// cache, or from the disk. Nothing elsewhere.
pub fn give_back_start() {
    imp::give_back_start();
}

/// Whether our program lies on the disk that the system itself runs from. From one that can be pulled nothing may come
/// again.
///
/// # Errors
/// What stat(2) says.
pub fn is_program_on_the_systems_disk() -> io::Result<bool> {
    let program = fs::metadata(identity::own_program()?)?;
    Ok(program.dev() == fs::metadata(Path::new("/"))?.dev())
}
