//! Memory that was needed once.
//!
//! A start and a reload read far more than is kept: the object with its type information, the
//! configuration, certificates. The C library keeps what was freed for later, but a calm agent has no
//! use for it, and its node has. The same is true of the program's own code: most of it runs seldom.

/// Gives memory back to the kernel: what was freed, and the program's own pages, of which those that still
/// run come back from the page cache one by one. Costs some milliseconds where much was freed.
pub(crate) fn give_back() {
    // Other C libraries have nothing like it.
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and locks each arena while it works on it.
    let _any = unsafe { libc::malloc_trim(0) };
    give_back_code();
}

fn give_back_code() {
    unsafe extern "C" {
        // Of the linker: where the program's file is mapped, and where its code ends. What lies between is
        // read only and the same as in the file.
        static __executable_start: u8;
        static etext: u8;
    }
    let page = rustix::param::page_size();
    let (start, end) = (&raw const __executable_start, &raw const etext);
    let length = (end.addr() - start.addr()) / page * page;
    // SAFETY: the pages are mapped from the program's file, none was written to, and the kernel maps each
    // again when it is touched.
    let given = unsafe {
        rustix::mm::madvise(start.cast_mut().cast(), length, rustix::mm::Advice::LinuxDontNeed)
    };
    if let Err(error) = given {
        tracing::debug!(%error, "the program's own pages stay mapped");
    }
}
