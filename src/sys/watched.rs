//! A socket to the launcher, or from it, whose readiness the runtime watches.
//!
//! tokio has no type of its own for `SOCK_SEQPACKET`, and its general one is unsafe to make.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

use crate::sys::seqpacket::Socket;

/// A socket that is waited for.
#[derive(Debug)]
pub struct Watched {
    socket: AsyncFd<Socket>,
}

impl Watched {
    /// Gives the socket to the runtime. Must be called inside one.
    pub fn new(socket: Socket) -> io::Result<Self> {
        // SAFETY: a socket owns its descriptor and has the same one for as long as it lives, and
        // nothing here lends it out to be replaced.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { socket })
    }

    /// Sends one message with descriptors. Dropping the future sends nothing.
    pub async fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket
            .async_io(Interest::WRITABLE, |socket| socket.send(message, fds))
            .await
    }

    /// Receives one message: its length, 0 at the end, and its descriptors. Dropping the future
    /// loses nothing.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.socket
            .async_io(Interest::READABLE, |socket| socket.recv(buffer))
            .await
    }
}
