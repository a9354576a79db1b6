//! What the allocator keeps for later.

use std::{
    hint,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Looking through the memory of all threads takes their locks, so it is not done all the time.
const SELDOM: Duration = Duration::from_secs(5);

/// To free as much makes the C library look at the end of a thread's memory, too, in bytes. Less than what it
/// takes from the kernel for itself.
const LARGE: usize = 96 * 1024;

/// When it was done last.
static LAST: Mutex<Option<Instant>> = Mutex::new(None);

/// Gives memory back that nothing is in. The C library does so by itself only where the last of its
/// memory is free; behind a burst of connections there is always something that stays.
pub fn trim() {
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    // SAFETY: it takes no pointer, and may be called at any time from any thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    trim_end();
}

/// Gives the free end of this thread's memory back, which the other leaves: that is about what lies between.
fn trim_end() {
    drop(hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}

/// Gives back what this thread has left behind by that time, if nobody has done so since. Where it was done
/// just before, it answers when to ask again.
pub fn trim_what_was_left(by: Instant) -> Option<Instant> {
    let last = *LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match last {
        Some(last) if last >= by => trim_end(),
        Some(last) if last + SELDOM > Instant::now() => return Some(last + SELDOM),
        _ => trim(),
    }
    None
}
