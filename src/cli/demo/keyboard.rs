//! Reads single key presses from the terminal.

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use std::io::{self, IsTerminal, Read};
use tokio::sync::mpsc;

/// How many key presses may wait to be read.
const KEYS_MAX: usize = 16;

/// The terminal on stdin, set to deliver each key press at once. Dropping it restores the terminal.
pub(super) struct Keyboard {
    original: Termios,
    keys: mpsc::Receiver<u8>,
}

impl Keyboard {
    /// Opens stdin; none if it is not a terminal.
    pub(super) fn open() -> Option<Self> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let original = termios::tcgetattr(io::stdin()).ok()?;
        let mut at_once = original.clone();
        at_once
            .local_flags
            .remove(LocalFlags::ICANON | LocalFlags::ECHO);
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &at_once).ok()?;
        let (pressed, keys) = mpsc::channel(KEYS_MAX);
        // A thread, because not every system can poll a terminal. It ends with the process.
        std::thread::spawn(move || {
            let mut key = [0];
            while matches!(io::stdin().read(&mut key), Ok(1))
                && pressed.blocking_send(key[0]).is_ok()
            {}
        });
        Some(Self { original, keys })
    }

    /// Waits for the next key press; for ever if the terminal was closed.
    pub(super) async fn key(&mut self) -> u8 {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // If the terminal was closed, there is nothing to restore.
        let _closed = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.original);
    }
}
