//! How much of what was written to a socket its other end has not acknowledged.

use std::{io, os::fd::AsFd};

use rustix::ioctl::{Getter, ioctl};

/// Bytes that are written and not acknowledged (`SIOCOUTQ`).
pub fn unsent(socket: impl AsFd) -> io::Result<usize> {
    // The kernel's numbers of requests have 32 bits.
    #[allow(clippy::cast_possible_truncation)]
    const SIOCOUTQ: rustix::ioctl::Opcode = libc::TIOCOUTQ as rustix::ioctl::Opcode;
    // SAFETY: the kernel answers this request of a socket with one `int`.
    let bytes = unsafe { ioctl(socket, Getter::<SIOCOUTQ, libc::c_int>::new()) }?;
    Ok(usize::try_from(bytes).unwrap_or_default())
}
