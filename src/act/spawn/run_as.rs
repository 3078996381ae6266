//! The user that a service runs as: looks up the configured name or uid, and decides whether stayd can become that user.

use super::environment::Environment;
use crate::decide::event::SpawnFailure;
use crate::sys::identity::{self, ROOT};
use crate::sys::spawn::User;
use crate::sys::user::{self, FoundUser};
use std::ffi::OsString;

/// The shell of a user whose entry names none (passwd(5)).
const DEFAULT_SHELL: &str = "/bin/sh";
/// Variables that name a user, as su(1) sets them.
const NAMES_THE_USER: [&str; 4] = ["HOME", "USER", "LOGNAME", "SHELL"];

/// Looks up the user of a service.
///
/// Can hang in a directory service, so do not call this on the loop's thread.
///
/// # Errors
/// A sentence: there is no such user, or stayd may not become it.
pub(crate) fn look_up(name: &str) -> Result<FoundUser, SpawnFailure> {
    let found = user::look_up(name).map_err(|error| SpawnFailure {
        message: format!("cannot look up the user {name}: {error}; trying again"),
        lasting: false,
    })?;
    let found = found.ok_or_else(|| {
        permanent(format!(
            "cannot run as {name}: there is no such user; create it, or correct `user`"
        ))
    })?;
    let ours = identity::euid();
    if ours != ROOT && !is_our_own(&found.user) {
        return Err(permanent(format!(
            "cannot run as {name}: only root can start a service as another user, and stayd runs with uid {ours}; remove \
             `user`, or run stayd as root"
        )));
    }
    Ok(found)
}

fn permanent(message: String) -> SpawnFailure {
    SpawnFailure {
        message,
        lasting: true,
    }
}

/// The user to change to; none if stayd runs as that user already. A change to the same user is no change: it would need the
/// rights of root, and would replace the groups that stayd was given.
pub(crate) fn to_change_to(found: FoundUser) -> Option<User> {
    Some(found.user).filter(|user| !is_our_own(user))
}

fn is_our_own(user: &User) -> bool {
    user.uid == identity::euid()
}

/// Sets HOME, USER, LOGNAME and SHELL, unless the environment has them.
pub(crate) fn set_names(found: &FoundUser, env: &mut Environment) {
    let shell = if found.shell.as_os_str().is_empty() {
        DEFAULT_SHELL.into()
    } else {
        found.shell.clone().into_os_string()
    };
    let name = OsString::from(&found.name);
    let values = [
        found.home.clone().into_os_string(),
        name.clone(),
        name,
        shell,
    ];
    for (variable, value) in NAMES_THE_USER.into_iter().zip(values) {
        env.entry(variable.into()).or_insert(value);
    }
}

/// Removes the variables that name stayd's own user, for a child that has a configured one.
pub(crate) fn forget_our_names(env: &mut Environment) {
    for name in NAMES_THE_USER {
        env.remove(&OsString::from(name));
    }
}

#[cfg(test)]
mod tests {
    use super::{Environment, forget_our_names, set_names};
    use crate::sys::spawn::User;
    use crate::sys::user::FoundUser;

    #[test]
    fn the_names_of_the_user_replace_those_of_stayd_and_not_configured_ones() {
        let found = FoundUser {
            user: User {
                uid: 7,
                gid: 7,
                groups: Vec::new(),
            },
            name: "app".into(),
            home: "/srv/app".into(),
            shell: "".into(),
        };
        let ours = ["HOME", "USER", "LOGNAME", "SHELL", "LANG"];
        let mut env: Environment = ours.map(|name| (name.into(), "ours".into())).into();
        forget_our_names(&mut env);
        env.insert("HOME".into(), "/configured".into());
        set_names(&found, &mut env);
        let expected = [
            ("HOME", "/configured"),
            ("LANG", "ours"),
            ("LOGNAME", "app"),
            ("SHELL", "/bin/sh"),
            ("USER", "app"),
        ];
        let expected: Environment = expected
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        assert_eq!(env, expected);
    }
}
