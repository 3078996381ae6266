//! The environment of stayd as a child inherits it: without the variables that are only for stayd.

use crate::config::InheritEnv;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
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

/// The part of stayd's environment that its services may inherit.
#[derive(Debug, Default)]
pub struct InheritableEnvironment {
    variables: Environment,
    /// The variables that the probe URL of any service refers to.
    secrets: RefCell<BTreeSet<OsString>>,
}

impl InheritableEnvironment {
    /// From stayd's whole environment.
    #[must_use]
    pub fn of(ours: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self {
            variables: clean_environment(ours),
            secrets: RefCell::default(),
        }
    }

    /// From now on no service inherits these variables, unless it names them.
    pub(crate) fn hide(&self, names: &[String]) {
        let names = names.iter().map(OsString::from);
        self.secrets.borrow_mut().extend(names);
    }

    /// What a service inherits.
    pub(crate) fn inherited(&self, inherit: &InheritEnv) -> Environment {
        let variables = self.variables.iter();
        let inherited = variables.filter(|(name, _)| self.is_inherited(name, inherit));
        inherited
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// The PATH that a service inherits.
    pub(crate) fn inherited_path(&self, inherit: &InheritEnv) -> Option<String> {
        let name = OsStr::new("PATH");
        let path = self.variables.get(name)?;
        self.is_inherited(name, inherit)
            .then(|| path.to_string_lossy().into_owned())
    }

    fn is_inherited(&self, name: &OsStr, inherit: &InheritEnv) -> bool {
        match inherit {
            InheritEnv::All => !self.secrets.borrow().contains(name),
            InheritEnv::Nothing => false,
            InheritEnv::Named(names) => names.iter().any(|named| name == named.as_str()),
        }
    }
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
    use super::{Environment, InheritableEnvironment, clean_environment};
    use crate::config::InheritEnv;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn a_secret_of_any_probe_is_inherited_only_by_name() {
        let ours = environment(&[("DB_PASSWORD", "x"), ("LANG", "C"), ("PATH", "/bin")]);
        let inheritable = InheritableEnvironment::of(ours.clone());
        inheritable.hide(&["DB_PASSWORD".into()]);
        let all = inheritable.inherited(&InheritEnv::All);
        assert_eq!(all, environment(&[("LANG", "C"), ("PATH", "/bin")]));
        let none = inheritable.inherited(&InheritEnv::Nothing);
        assert_eq!(none, Environment::new());
        let named = InheritEnv::Named(vec!["DB_PASSWORD".into(), "PATH".into(), "X".into()]);
        let named = inheritable.inherited(&named);
        assert_eq!(
            named,
            environment(&[("DB_PASSWORD", "x"), ("PATH", "/bin")])
        );
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
