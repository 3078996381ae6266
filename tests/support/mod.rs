//! What the tests share: waiting with a deadline, places of their own, programs that behave badly.

mod lab;
mod wait;

pub(crate) use lab::{alone, alone_as_first_process, program, victim};
pub(crate) use wait::{TempDir, free_port, wait_for, wait_until};
