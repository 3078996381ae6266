//! Looks up users and their groups. The calls may wait for a directory service: never make them on the loop's thread.

use super::spawn::User;
use std::io;
use std::path::PathBuf;

/// A user of the user database (passwd(5), or a directory service).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundUser {
    /// Its ids.
    pub user: User,
    /// Its home directory.
    pub home: PathBuf,
}

/// The user with this name and its groups; none if there is no such user.
///
/// # Errors
/// The system's error, also that of the lookup of the groups.
pub fn look_up(name: &str) -> io::Result<Option<FoundUser>> {
    let Some(found) = nix::unistd::User::from_name(name)? else {
        return Ok(None);
    };
    let (uid, gid) = (found.uid.as_raw(), found.gid.as_raw());
    let user = User {
        uid,
        gid,
        groups: groups(name, gid)?,
    };
    Ok(Some(FoundUser {
        user,
        home: found.dir,
    }))
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
