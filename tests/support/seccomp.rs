//! System calls that fail in a test, as under the seccomp profile of a container.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// From now on the system call `number` fails with `errno` in the calling thread and in what it starts.
#[allow(unsafe_code, reason = "seccomp(2) has no safe wrapper")]
pub(crate) fn refuse(number: libc::c_long, errno: i32) {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let result = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let refused = libc::SECCOMP_RET_ERRNO | errno.unsigned_abs();
    let mut lines = [
        line(load, 0, 0, 0), // the number of the system call
        line(equal, 0, 1, u32::try_from(number).expect("a small number")),
        line(result, 0, 0, refused),
        line(result, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: 4,
        filter: lines.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the filter; its lines live until then.
    let status = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
}

/// The program that `command` starts, and what that starts, cannot make the system calls `numbers`.
pub(crate) fn refuse_in(command: &mut Command, numbers: &'static [libc::c_long], errno: i32) {
    // SAFETY: `refuse` only makes system calls, on memory of its own.
    #[allow(unsafe_code, reason = "a filter in the child, before exec")]
    unsafe {
        command.pre_exec(move || {
            numbers.iter().for_each(|number| refuse(*number, errno));
            Ok(())
        });
    }
}
