//! Our own memory.

use super::imp;

/// Gives back what only the start has needed: on Linux the pages of the program, of which a fault maps sixteen at once
/// (`do_fault_around` in mm/memory.c), and what malloc(3) keeps for later. What is needed again comes again from the page
/// cache, or from the disk. Nothing elsewhere.
pub fn give_back_start() {
    imp::give_back_start();
}

/// Whether our program lies on the disk that the system itself runs from; false where that cannot be told. From one that
/// can be pulled nothing may come again. Asks the kernel's tables, and no disk.
#[must_use]
pub fn is_program_on_the_systems_disk() -> bool {
    imp::is_program_on_the_systems_disk()
}
