//! Single key presses, while a person sits there.

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use std::io::{self, IsTerminal, Read};
use tokio::sync::mpsc;

/// Keys pressed faster than they are read.
const KEYS_MAX: usize = 16;

/// A terminal that gives each key at once; as it was before when dropped.
pub(super) struct Keyboard {
    before: Termios,
    keys: mpsc::Receiver<u8>,
}

impl Keyboard {
    /// None when stdin is no terminal.
    pub(super) fn open() -> Option<Self> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let before = termios::tcgetattr(io::stdin()).ok()?;
        let mut at_once = before.clone();
        at_once
            .local_flags
            .remove(LocalFlags::ICANON | LocalFlags::ECHO);
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &at_once).ok()?;
        let (pressed, keys) = mpsc::channel(KEYS_MAX);
        // A thread, because a terminal cannot be polled everywhere; it ends with the process.
        std::thread::spawn(move || {
            let mut key = [0];
            while matches!(io::stdin().read(&mut key), Ok(1))
                && pressed.blocking_send(key[0]).is_ok()
            {}
        });
        Some(Self { before, keys })
    }

    /// The next key; never, when the terminal has gone.
    pub(super) async fn key(&mut self) -> u8 {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // The terminal may have gone; then there is nothing to put right.
        let _gone = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}
