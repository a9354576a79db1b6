//! Receiving into memory that nobody has to clear first.

use std::{io, os::fd::AsFd};

use rustix::net::{RecvFlags, recv};
use tokio::io::ReadBuf;

/// One `recv` into the unfilled part of `buffer`; nothing is added at the end of the stream.
pub fn receive(socket: impl AsFd, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
    // SAFETY: only the kernel writes there, and it leaves nothing uninitialized.
    let unfilled = unsafe { buffer.unfilled_mut() };
    let ((filled, _), _) = recv(socket, unfilled, RecvFlags::empty())?;
    let count = filled.len();
    // SAFETY: the kernel has written this many bytes.
    unsafe { buffer.assume_init(count) };
    buffer.advance(count);
    Ok(())
}
