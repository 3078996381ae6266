//! Signals by name, because their numbers differ between Linux and macOS.

use super::Signal;
use nix::sys::signal::Signal as System;
use std::str::FromStr;

impl Signal {
    /// The signal called `TERM`, `SIGTERM` or `term`.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        let full = if upper.starts_with("SIG") {
            upper
        } else {
            format!("SIG{upper}")
        };
        System::from_str(&full)
            .ok()
            .map(|signal| Self(signal as i32))
    }

    /// The name without `SIG`, or the number if this system has no name for it.
    #[must_use]
    pub fn name(self) -> String {
        match System::try_from(self.0) {
            Ok(signal) => signal.as_str().trim_start_matches("SIG").to_owned(),
            Err(_) => self.0.to_string(),
        }
    }

    /// The names of all signals of this system, without `SIG`.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        System::iterator()
            .map(|signal| signal.as_str().trim_start_matches("SIG"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_in_all_common_spellings() {
        for text in ["TERM", "SIGTERM", "term"] {
            assert_eq!(Signal::named(text), Some(Signal(15)), "{text}");
        }
        assert_eq!(Signal::named("TREM"), None);
        assert_eq!(Signal(9).name(), "KILL");
        assert_eq!(Signal(250).name(), "250");
        assert!(Signal::names().contains(&"QUIT"));
    }
}
