//! What a child must not take over of this process's signals: which are ignored or handled, and which
//! are blocked.

use std::{
    ffi::{c_int, c_void},
    mem, ptr,
};

/// The size in bytes of the kernel's set of signals: a bit for each.
const SIGNAL_SET: usize = 8;

/// The largest signal number of Linux on all but MIPS.
const LAST_SIGNAL: c_int = 64;

/// The kernel's `struct sigaction`, at least as long, which begins with the handler. All zeroes are
/// `SIG_DFL`, no flags, an empty mask.
type Action = [u64; 8];

/// The signals that do something else than in a new process.
pub fn changed() -> Vec<c_int> {
    let all = 1..=LAST_SIGNAL;
    all.filter(|&signal| !has_default_action(signal)).collect()
}

/// Whether a signal does what it does in a new process. The C library would leave out two signals that
/// it keeps to itself, and those can be inherited ignored too.
fn has_default_action(signal: c_int) -> bool {
    let mut action: Action = [0; 8];
    // SAFETY: the kernel writes a `struct sigaction` to the pointer, which is to one that is long enough.
    let asked = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            ptr::null::<c_void>(),
            action.as_mut_ptr(),
            SIGNAL_SET,
        )
    };
    asked == 0 && action[0] == libc::SIG_DFL as u64
}

/// In the child: gives signals their default action. The child's table of handlers is its own.
pub fn reset_actions(signals: &[c_int]) {
    let default: Action = [0; 8];
    for &signal in signals {
        // SAFETY: the kernel only reads from the pointer, which is valid for the call, and the
        // default action runs no code of this program.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null_mut::<c_void>(),
                SIGNAL_SET,
            )
        };
    }
}

/// All signals are blocked in this thread for as long as this lives, but the two that the C
/// library keeps to itself and sends only to threads of its own process.
pub struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    /// Blocks them.
    pub fn new() -> Self {
        let mut all = empty_set();
        // SAFETY: the pointer is to a valid set.
        unsafe { libc::sigfillset(&raw mut all) };
        let mut before = empty_set();
        set_mask(&all, Some(&mut before));
        Self { before }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        set_mask(&self.before, None);
    }
}

/// No signal.
pub fn empty_set() -> libc::sigset_t {
    // SAFETY: all zeroes are a valid set, and the empty one in every C library of Linux.
    unsafe { mem::zeroed() }
}

/// Blocks these signals in this thread and no others.
pub fn set_mask(mask: &libc::sigset_t, before: Option<&mut libc::sigset_t>) {
    let before = before.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: both pointers are valid for the call or null. It fails only for an unknown first
    // argument.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, before) };
}
