//! Receiving into memory that nobody has to clear first.

use std::{io, os::fd::AsFd};

use bytes::BufMut;
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

/// One `read` into the room of `buffer`, which has some. Answers how much it was, 0 at the end.
pub fn read(source: impl AsFd, buffer: &mut impl BufMut) -> io::Result<usize> {
    // SAFETY: only the kernel writes there, and it leaves nothing uninitialized.
    let room = unsafe { buffer.chunk_mut().as_uninit_slice_mut() };
    let (filled, _) = rustix::io::read(source, room)?;
    let count = filled.len();
    // SAFETY: the kernel has written this many bytes.
    unsafe { buffer.advance_mut(count) };
    Ok(count)
}
