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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    static WRITTEN: AtomicU64 = AtomicU64::new(7);

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
