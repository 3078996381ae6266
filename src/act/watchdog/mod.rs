//! The watchdog of an instance: makes probe attempts, samples the tree's resource use, and collects evidence before a kill.

pub(crate) mod attempt;
pub(crate) mod evidence;
mod holder_search;
mod listener;
mod sample;
