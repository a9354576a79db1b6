//! What a process does with signals before it does anything else.

use std::io;

/// A signal's number, as in signal(7).
pub type Signal = libc::c_int;

/// Ignores a signal from now on. A program that this process starts would inherit that, unless
/// it is started by [`super::spawn`].
pub fn ignore(signal: Signal) -> io::Result<()> {
    // SAFETY: SIG_IGN runs no code, so nothing can be reached in a state that it does not expect.
    match unsafe { libc::signal(signal, libc::SIG_IGN) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
