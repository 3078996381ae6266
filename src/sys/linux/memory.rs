//! Pages of our program and its libraries that nobody has ever written.
#![expect(
    unsafe_code,
    reason = "dl_iterate_phdr(3), madvise(2), malloc_trim(3), sysconf(3)"
)]

use std::{ptr, slice};

pub(in super::super) fn give_back_start() {
    // SAFETY: the callback is of the type that is asked for, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(give_back_object), ptr::null_mut()) };
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and gives back only what nobody has allocated.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// The program itself, a library or the vDSO, which refuses.
unsafe extern "C" fn give_back_object(
    object: *mut libc::dl_phdr_info,
    _bytes: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader's structure and the headers it names stand for as long as this call lasts.
    let (base, headers) = unsafe {
        let object = &*object;
        let count = usize::from(object.dlpi_phnum);
        (
            object.dlpi_addr,
            slice::from_raw_parts(object.dlpi_phdr, count),
        )
    };
    for header in headers {
        // What may be written was written, by the loader if by nobody else, and would be lost.
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            give_back(base + header.p_vaddr, header.p_memsz);
        }
    }
    0
}

/// Unmaps whole pages, as the loader has mapped them. The kernel maps them again from the page cache when they are touched.
fn give_back(address: libc::Elf64_Addr, bytes: libc::Elf64_Xword) {
    // SAFETY: takes a number. The pages hold what their file holds: with or without them the memory reads the same.
    unsafe {
        let page = libc::sysconf(libc::_SC_PAGESIZE).unsigned_abs();
        let begin = address - address % page;
        let end = address + bytes;
        libc::madvise(
            ptr::with_exposed_provenance_mut(begin as usize),
            (end - begin) as usize,
            libc::MADV_DONTNEED,
        );
    }
}

/// By the device of what our code is mapped from, and of what is mounted as `/`.
pub(in super::super) fn is_program_on_the_systems_disk() -> bool {
    let read = |table| std::fs::read_to_string(table).unwrap_or_default();
    let (maps, mounts) = (read("/proc/self/maps"), read("/proc/self/mountinfo"));
    let ours = device_at(&maps, give_back_start as *const () as u64);
    ours.is_some() && ours == device_of_root(&mounts)
}

/// proc(5), maps: `begin-end perms offset major:minor inode path`.
fn device_at(maps: &str, address: u64) -> Option<(u32, u32)> {
    let is_there = |line: &&str| {
        let range = line.split_ascii_whitespace().next();
        let ends = range.and_then(|range| range.split_once('-'));
        let number = |digits: &str| u64::from_str_radix(digits, 16).unwrap_or(0);
        ends.is_some_and(|(begin, end)| (number(begin)..number(end)).contains(&address))
    };
    let line = maps.lines().find(is_there)?;
    let (major, minor) = line.split_ascii_whitespace().nth(3)?.split_once(':')?;
    let part = |digits: &str| u32::from_str_radix(digits, 16).ok();
    Some((part(major)?, part(minor)?))
}

/// proc(5), mountinfo: `id parent major:minor root mount-point …`; the last one covers those before it.
fn device_of_root(mounts: &str) -> Option<(u32, u32)> {
    let is_root = |line: &&str| line.split(' ').nth(4) == Some("/");
    let line = mounts.lines().rfind(is_root)?;
    let (major, minor) = line.split(' ').nth(2)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{device_at, device_of_root};
    use std::sync::atomic::{AtomicU64, Ordering};

    static WRITTEN: AtomicU64 = AtomicU64::new(7);

    #[test]
    fn devices_are_read_from_the_kernels_tables() {
        let maps =
            "1000-2000 r--p 00000000 fe:01 7 /opt/a\n2000-3000 r-xp 00001000 fe:10 7 /opt/a\n";
        assert_eq!(device_at(maps, 0x2fff), Some((0xfe, 0x10)));
        assert_eq!(device_at(maps, 0x3000), None);
        let mounts = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /proc rw - proc p rw\n3 1 254:16 / / rw - ext4 b rw\n";
        assert_eq!(device_of_root(mounts), Some((254, 16)));
        assert_eq!(device_of_root("nonsense"), None);
    }

    #[test]
    fn what_was_written_is_there_still() {
        WRITTEN.store(8, Ordering::SeqCst);
        let boxed: Box<dyn Fn() -> String> =
            Box::new(|| format!("{}", WRITTEN.load(Ordering::SeqCst)));
        let listed: Vec<String> = (0..1000).map(|nth| nth.to_string()).collect();
        super::give_back_start();
        assert_eq!(boxed(), "8");
        assert_eq!(listed.concat().len(), 10 + 2 * 90 + 3 * 900);
    }
}
