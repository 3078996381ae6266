//! The clone system call with shared memory and a separate stack for the child: vfork(2) without its stack hazard.
#![expect(
    unsafe_code,
    reason = "no libc function returns twice onto another stack"
)]

use std::ffi::c_void;
use std::io;

/// The function that the child runs; it never returns.
pub(super) type Entry = unsafe extern "C" fn(*mut c_void) -> !;

/// Makes the clone system call `number` with `arguments` and returns the pid. The child runs `entry(data)` on the stack that
/// the arguments name.
///
/// # Safety
/// The arguments must be valid for the call, name a stack that only the child uses (its top aligned to 16), and contain
/// CLONE_VM and CLONE_VFORK. `data` must be what `entry` expects and stay valid until this returns. Every signal must be blocked.
pub(super) unsafe fn clone(
    number: libc::c_long,
    arguments: [usize; 5],
    entry: Entry,
    data: *mut c_void,
) -> io::Result<i32> {
    // SAFETY: the caller guarantees the arguments. The parent is suspended until the child has called execve or has
    // ended, and the child never uses the parent's stack.
    let result = unsafe { call(number, arguments, entry, data) };
    let result = i32::try_from(result).map_err(io::Error::other)?;
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(result)
}

#[cfg(target_arch = "x86_64")]
unsafe fn call(
    number: libc::c_long,
    arguments: [usize; 5],
    entry: Entry,
    data: *mut c_void,
) -> isize {
    let result;
    // SAFETY: see `clone`. The child's branch ends in `entry`, which does not return.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp", // marks the outermost frame for unwinders
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r12") data,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn call(
    number: libc::c_long,
    arguments: [usize; 5],
    entry: Entry,
    data: *mut c_void,
) -> isize {
    let result;
    // SAFETY: see `clone`. The child's branch ends in `entry`, which does not return.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr", // marks the outermost frame for unwinders
            "mov x30, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            in("x8") number,
            inlateout("x0") arguments[0] => result,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") arguments[3],
            in("x4") arguments[4],
            in("x20") data,
            in("x21") entry,
        );
    }
    result
}
