//! Releasing unmodified pages of the program and its libraries.
#![expect(
    unsafe_code,
    reason = "dl_iterate_phdr(3), madvise(2), malloc_trim(3), sysconf(3)"
)]

use std::{ptr, slice};

pub(in super::super) fn release_startup_memory() {
    // SAFETY: the callback has the required type and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(release_object), ptr::null_mut()) };
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes a number and releases only free memory.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Releases the pages of one object: the program, a library, or the vDSO (for which the kernel refuses).
unsafe extern "C" fn release_object(
    object: *mut libc::dl_phdr_info,
    _bytes: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader's structure and the headers it points to are valid for the duration of this call.
    let (base, headers) = unsafe {
        let object = &*object;
        let count = usize::from(object.dlpi_phnum);
        (
            object.dlpi_addr,
            slice::from_raw_parts(object.dlpi_phdr, count),
        )
    };
    for header in headers {
        // Skip writable segments: at least the loader has written to them, and the data would be lost.
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            release(base + header.p_vaddr, header.p_memsz);
        }
    }
    0
}

/// Unmaps whole pages, as the loader has mapped them. On access the kernel maps them again from the page cache.
fn release(address: libc::Elf64_Addr, bytes: libc::Elf64_Xword) {
    // SAFETY: sysconf takes a number. The pages have the content of their file, so a read returns the same data afterwards.
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

/// Compares the device that the code of this program is mapped from with the device mounted as `/`.
pub(in super::super) fn is_program_on_root_disk() -> bool {
    let read = |table| std::fs::read_to_string(table).unwrap_or_default();
    let (maps, mounts) = (read("/proc/self/maps"), read("/proc/self/mountinfo"));
    let program = device_at(&maps, release_startup_memory as *const () as u64);
    program.is_some() && program == device_of_root(&mounts)
}

/// The device of the mapping that contains `address`. proc(5), maps: `begin-end perms offset major:minor inode path`.
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

/// The device mounted as `/`. proc(5), mountinfo: `id parent major:minor root mount-point …`; a later mount covers the
/// earlier ones.
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
    fn devices_are_parsed_from_maps_and_mountinfo() {
        let maps =
            "1000-2000 r--p 00000000 fe:01 7 /opt/a\n2000-3000 r-xp 00001000 fe:10 7 /opt/a\n";
        assert_eq!(device_at(maps, 0x2fff), Some((0xfe, 0x10)));
        assert_eq!(device_at(maps, 0x3000), None);
        let mounts = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /proc rw - proc p rw\n3 1 254:16 / / rw - ext4 b rw\n";
        assert_eq!(device_of_root(mounts), Some((254, 16)));
        assert_eq!(device_of_root("nonsense"), None);
    }

    #[test]
    fn written_data_survives_the_release() {
        WRITTEN.store(8, Ordering::SeqCst);
        let boxed: Box<dyn Fn() -> String> =
            Box::new(|| format!("{}", WRITTEN.load(Ordering::SeqCst)));
        let listed: Vec<String> = (0..1000).map(|nth| nth.to_string()).collect();
        super::release_startup_memory();
        assert_eq!(boxed(), "8");
        assert_eq!(listed.concat().len(), 10 + 2 * 90 + 3 * 900);
    }
}
