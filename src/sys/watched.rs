//! A socket to the launcher whose readiness the runtime watches, for what comes by it alone: a socket that
//! can be written to again, as after each message that the other end takes, wakes nobody.
//!
//! tokio has no type of its own for `SOCK_SEQPACKET`, and its general one is unsafe to make.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    task::{Context, Poll, Waker},
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
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { socket })
    }

    /// Sends one message with descriptors, which does not wait for room: it has it, where the other end
    /// takes a message before the next one comes.
    pub fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.get_ref().send(message, fds)
    }

    /// Says that nothing is to be received before more is sent: the runtime waits for it, and does not
    /// ask the kernel first. That the other end has closed is not forgotten.
    pub fn has_all(&self) {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(mut ready)) = self.socket.poll_read_ready(&mut context) {
            ready.clear_ready();
        }
    }

    /// Receives one message: its length, 0 at the end, and its descriptors. Dropping the future
    /// loses nothing.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.socket
            .async_io(Interest::READABLE, |socket| socket.recv(buffer))
            .await
    }
}
