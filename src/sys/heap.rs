//! What the allocator keeps for later.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Looking through the memory of all threads takes their locks, so it is not done all the time.
const SELDOM: Duration = Duration::from_secs(5);

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
}

/// Gives back what was left behind by that time, unless somebody has done so since. Where it was done just
/// before, it answers when to ask again.
pub fn trim_what_was_left(by: Instant) -> Option<Instant> {
    let last = *LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match last {
        Some(last) if last >= by => None,
        Some(last) if last + SELDOM > Instant::now() => Some(last + SELDOM),
        _ => {
            trim();
            None
        }
    }
}
