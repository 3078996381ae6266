//! The environment of stayd as a child inherits it: without the variables that are only for stayd.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// Variables that are meant for stayd itself; a child never gets them.
const NOT_FOR_CHILDREN: [&str; 5] = [
    "NOTIFY_SOCKET",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "XPC_SERVICE_NAME",
];
/// The same, by the beginning of their names.
const NOT_FOR_CHILDREN_PREFIXES: [&str; 3] = ["WATCHDOG_", "LISTEN_", "STAYD_"];

/// A whole environment.
pub type Environment = BTreeMap<OsString, OsString>;

/// Removes from an environment what the parent supervisor or another stayd meant for this process.
#[must_use]
pub fn clean_environment(ours: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
    ours.into_iter()
        .filter(|(name, _)| !is_for_stayd_itself(name))
        .collect()
}

fn is_for_stayd_itself(name: &OsStr) -> bool {
    let name = name.as_bytes();
    NOT_FOR_CHILDREN.iter().any(|ours| name == ours.as_bytes())
        || NOT_FOR_CHILDREN_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{Environment, clean_environment};

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn variables_for_stayd_itself_are_not_passed_to_children() {
        let ours = environment(&[
            ("HOME", "/root"),
            ("INVOCATION_ID", "1"),
            ("JOURNAL_STREAM", "1"),
            ("LANG", "C"),
            ("LISTEN_FDS", "1"),
            ("LISTEN_PID", "1"),
            ("NOTIFY_SOCKET", "/run/x"),
            ("PATH", "/bin"),
            ("STAYD_TOKEN", "1"),
            ("SYSTEMD_EXEC_PID", "1"),
            ("WATCHDOG_PID", "1"),
            ("WATCHDOG_USEC", "1"),
            ("XPC_SERVICE_NAME", "1"),
        ]);
        let kept = clean_environment(ours);
        assert_eq!(
            kept,
            environment(&[("HOME", "/root"), ("LANG", "C"), ("PATH", "/bin")])
        );
    }
}
