//! Memory that was needed once.
//!
//! A start and a reload read far more than is kept: the object with its type information, the
//! configuration, certificates. The C library keeps what was freed for later, but a calm agent has no
//! use for it, and its node has.

/// Gives freed memory back to the kernel. Costs some milliseconds where much was freed.
pub(crate) fn give_back() {
    // Other C libraries have nothing like it.
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and locks each arena while it works on it.
    let _any = unsafe { libc::malloc_trim(0) };
}
