//! Receiving into memory that nobody has to clear first.

use std::{io, os::fd::AsFd};

use tokio::io::ReadBuf;

/// One `read` into the unfilled part of `buffer`; nothing is added at the end of the stream.
pub fn receive(socket: impl AsFd, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
    // SAFETY: only the kernel writes there, and it leaves nothing uninitialized.
    let unfilled = unsafe { buffer.unfilled_mut() };
    let (filled, _) = rustix::io::read(socket, unfilled)?;
    let count = filled.len();
    // SAFETY: the kernel has written this many bytes.
    unsafe { buffer.assume_init(count) };
    buffer.advance(count);
    Ok(())
}
