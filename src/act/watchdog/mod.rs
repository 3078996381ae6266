//! What the watchdog does with an instance: asks its probes, samples what its tree uses, and takes evidence before a kill.

pub(crate) mod attempt;
pub(crate) mod evidence;
mod listener;
mod sample;
