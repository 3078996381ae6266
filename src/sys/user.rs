//! Looks up users and their groups. The calls may wait for a directory service: never make them on the loop's thread.

use super::spawn::User;
use std::io;
use std::path::PathBuf;

/// The group of a uid that the user database does not know: the one that owns nothing.
#[cfg(target_os = "linux")]
const GROUP_OF_UNKNOWN_UID: u32 = 65_534; // nogroup
/// The group of a uid that the user database does not know: the one that owns nothing.
#[cfg(target_os = "macos")]
const GROUP_OF_UNKNOWN_UID: u32 = 4_294_967_294; // nobody

/// A user, by the user database (passwd(5), or a directory service).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundUser {
    /// Its ids.
    pub user: User,
    /// Its name; the number of a uid that the database does not know.
    pub name: String,
    /// Its home directory.
    pub home: PathBuf,
    /// Its login shell; empty where the database names none.
    pub shell: PathBuf,
}

/// The user with this name, or else with this uid, and its groups; none if there is no such user. Each uid is a user, also
/// one that the user database does not know.
///
/// # Errors
/// The system's error, also that of the lookup of the groups.
pub fn look_up(name_or_uid: &str) -> io::Result<Option<FoundUser>> {
    use nix::unistd;
    if let Some(found) = unistd::User::from_name(name_or_uid)? {
        return known(found).map(Some);
    }
    let Some(uid) = parse_uid(name_or_uid) else {
        return Ok(None);
    };
    match unistd::User::from_uid(unistd::Uid::from_raw(uid))? {
        Some(found) => known(found).map(Some),
        None => Ok(Some(FoundUser {
            user: User {
                uid,
                gid: GROUP_OF_UNKNOWN_UID,
                groups: Vec::new(),
            },
            name: uid.to_string(),
            home: "/".into(),
            shell: PathBuf::new(),
        })),
    }
}

fn known(found: nix::unistd::User) -> io::Result<FoundUser> {
    let (uid, gid) = (found.uid.as_raw(), found.gid.as_raw());
    let groups = groups(&found.name, gid)?;
    Ok(FoundUser {
        user: User { uid, gid, groups },
        name: found.name,
        home: found.dir,
        shell: found.shell,
    })
}

/// The number in decimal digits. Not the highest one: setresuid(2) takes it for "unchanged".
fn parse_uid(text: &str) -> Option<u32> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let uid = text.parse().ok().filter(|_| is_decimal)?;
    (uid != u32::MAX).then_some(uid)
}

/// The supplementary groups of `user`, its primary group `gid` included (getgrouplist(3)).
///
/// # Errors
/// The system's error; `InvalidInput` for a name that contains a NUL.
#[cfg(target_os = "linux")]
pub fn groups(user: &str, gid: u32) -> io::Result<Vec<u32>> {
    let name = std::ffi::CString::new(user)?;
    let groups = nix::unistd::getgrouplist(&name, nix::unistd::Gid::from_raw(gid))?;
    Ok(groups.into_iter().map(nix::unistd::Gid::as_raw).collect())
}

/// The supplementary groups of `user`, its primary group `gid` included (getgrouplist(3)).
///
/// # Errors
/// The system's error; `InvalidInput` for a name that contains a NUL.
#[cfg(target_os = "macos")]
#[expect(unsafe_code, reason = "getgrouplist(3), which nix does not offer here")]
pub fn groups(user: &str, gid: u32) -> io::Result<Vec<u32>> {
    /// NGROUPS_MAX is 16 on macOS; a directory service may return more groups.
    const GROUPS_MAX: usize = 256;
    let name = std::ffi::CString::new(user)?;
    let mut found = [0_i32; GROUPS_MAX];
    let mut count = libc::c_int::try_from(GROUPS_MAX).unwrap_or(libc::c_int::MAX);
    // SAFETY: `name` ends with NUL, and `found` has room for `count` numbers, the most that the call writes.
    let result = unsafe {
        libc::getgrouplist(
            name.as_ptr(),
            gid.cast_signed(),
            found.as_mut_ptr(),
            &raw mut count,
        )
    };
    let count = usize::try_from(count).unwrap_or(0);
    if result < 0 || count > GROUPS_MAX {
        return Err(io::Error::other("the user is in more than 256 groups"));
    }
    Ok(found[..count]
        .iter()
        .map(|gid| gid.cast_unsigned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{GROUP_OF_UNKNOWN_UID, look_up, parse_uid};

    #[test]
    fn a_uid_is_a_plain_decimal_number_that_a_process_can_have() {
        assert_eq!(parse_uid("65534"), Some(65_534));
        for wrong in [
            "",
            "-1",
            "+5",
            " 5",
            "0x5",
            "4294967295",
            "4294967296",
            "nobody",
        ] {
            assert_eq!(parse_uid(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let found = look_up("root").expect("the database").expect("root");
        assert_eq!((found.user.uid, found.name.as_str()), (0, "root"));
        assert_eq!(look_up("0").expect("the database"), Some(found));
        assert_eq!(look_up("no-such-user-here").expect("the database"), None);
    }

    #[test]
    fn a_uid_that_the_database_does_not_know_has_no_rights_of_a_group() {
        let found = look_up("3987654").expect("the database").expect("any uid");
        assert_eq!(found.user.ids(), (3_987_654, GROUP_OF_UNKNOWN_UID));
        assert!(found.user.groups.is_empty());
        assert_eq!(
            (found.name.as_str(), found.home.to_str()),
            ("3987654", Some("/"))
        );
    }
}
