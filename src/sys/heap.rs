//! What the allocator keeps for later.

/// Gives memory back that nothing is in. The C library does so by itself only where the last of its
/// memory is free; behind a burst of connections there is always something that stays.
pub fn trim() {
    // SAFETY: it takes no pointer, and may be called at any time from any thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
