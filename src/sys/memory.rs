//! Our own memory.

use super::imp;

/// Gives back what only the start has needed: on Linux the pages of the program, of which a fault maps sixteen at once
/// (`do_fault_around` in mm/memory.c), and what malloc(3) keeps for later. What is needed again comes again from the page
/// cache. Nothing elsewhere.
pub fn give_back_start() {
    imp::give_back_start();
}
