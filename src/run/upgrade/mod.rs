//! A new version takes the place of this one: the same process, children, locks, sockets; another program.
//!
//! 1. The file is opened once and tried: it reads the same configuration and the state folder, and says that it
//!    understands what it will be left. Whatever is wrong, this version goes on.
//! 2. Everything comes to rest, while the loop goes on: no question under way, no start, no kill. If it does not, this
//!    version goes on, and nothing was touched.
//! 3. Callers get their answers, output and journal are closed, descriptors and a text are packed, signals wait.
//! 4. execve(2). The new version starts as always, but its locks are taken and its socket listens already, and what is
//!    its child stays its child. If the system refuses, this version starts again in the same way, with the same.

mod course;
mod departure;
mod estate;
mod threads;
mod trial;

pub use estate::{FORMAT, Inheritance};
pub use trial::{Testimony, VERB};

pub(super) use course::{Course, progress, record};
pub(super) use departure::Departure;
