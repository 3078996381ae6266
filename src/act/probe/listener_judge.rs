//! Decides whether a probe may ask the process that listens at an address.

use std::net::SocketAddr;
use std::pin::Pin;

/// Decides whether the listener that a connection reaches belongs to the service.
pub trait ListenerJudge {
    /// Judges what a connection to `address`, an address of this machine, reaches now. The probe asks before it connects, or,
    /// where it does not know yet that the address is one of this machine, before it sends the first byte.
    ///
    /// # Errors
    /// An answer from there would not count.
    fn judge(&self, address: SocketAddr) -> Judgment<'_>;
}

/// The judgment, as soon as it is found.
pub type Judgment<'a> = Pin<Box<dyn Future<Output = Result<(), JudgeError>> + 'a>>;

/// Why an answer from a listener does not count, in a sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JudgeError {
    /// A process that is not of the service listens there, alone or beside the service.
    Foreign(String),
    /// stayd could not find out which process listens.
    NotSeen(String),
}
