//! The socket of a connection, for one thread and its runtime.

use std::{
    future::poll_fn,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, recv, sockopt::set_socket_linger},
};
use tokio::io::{Interest, ReadBuf};

use crate::{
    sys::{nonblocking::Nonblocking, receive::receive, unsent::unsent},
    transport::progress::Progress,
};

/// How often a client is looked for that has sent more than was read.
const NEXT_LOOK: Duration = Duration::from_millis(250);

/// A connected stream socket.
#[derive(Debug)]
pub struct Socket(Nonblocking);

impl Socket {
    /// A connection over a descriptor that is in non-blocking mode.
    pub fn new(fd: OwnedFd) -> Self {
        Self(Nonblocking::new(fd))
    }

    /// The descriptor, for another time.
    pub fn into_fd(self) -> OwnedFd {
        self.0.into_fd()
    }

    /// Reads what has come into the unfilled part of `buffer`.
    pub fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buffer.filled().len();
        ready!(self.0.poll_read(context, || receive(self.as_fd(), buffer)))?;
        if buffer.remaining() > 0 && buffer.filled().len() > start {
            self.0.is_emptied();
        }
        Poll::Ready(Ok(()))
    }

    /// Runs a non-blocking write until the socket takes some of it.
    pub fn poll_send(
        &self,
        context: &mut Context<'_>,
        progress: &Progress,
        mut send: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let Poll::Ready(ready) = self.poll_write_ready(context) else {
                progress.blocked(self.unsent());
                return Poll::Pending;
            };
            ready?;
            match self.try_io(Interest::WRITABLE, || send(self.as_fd())) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => {
                    progress.sent();
                    return Poll::Ready(outcome);
                }
            }
        }
    }

    /// Ends our direction of the stream.
    pub fn shutdown(&self) -> io::Result<()> {
        match rustix::net::shutdown(self.as_fd(), rustix::net::Shutdown::Write) {
            // The client was faster.
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the client has acknowledged all that was handed over. The kernel does not tell.
    pub async fn taken(&self) {
        while self.unsent() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Bytes that were handed over and that the client has not acknowledged.
    pub fn unsent(&self) -> usize {
        unsent(self).unwrap_or_default()
    }

    /// Has the connection end with a reset, so that what the client got does not look complete.
    pub fn reset(&self) -> io::Result<()> {
        Ok(set_socket_linger(self, Some(Duration::ZERO))?)
    }

    /// Writes all of it, without hyper.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            poll_fn(|context| self.poll_write_ready(context)).await?;
            match self.try_io(Interest::WRITABLE, || Ok(rustix::io::write(self, bytes)?)) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads and throws away what the client still sends, `most` bytes of it, until it ends.
    pub async fn discard(&self, most: usize) -> io::Result<()> {
        let mut left = most;
        while left > 0 {
            poll_fn(|context| self.poll_read_ready(context)).await?;
            // Not a part of the future, which lies in the task for as long as the connection lives.
            let read = || Ok(rustix::io::read(self, &mut [0; 4096])?);
            match self.try_io(Interest::READABLE, read) {
                Ok(0) => return Ok(()),
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the client has closed its direction, or the connection broke. What is so already
    /// is seen by the first poll.
    ///
    /// A client that only shut its sending side looks the same; whoever waits here decides what
    /// that means.
    pub async fn departed(&self) {
        while !self.is_read_closed() {
            if poll_fn(|context| self.poll_read_ready(context))
                .await
                .is_err()
            {
                return;
            }
            // The runtime may only believe that something has come; asked, it forgets that.
            let peeked = self.try_io(Interest::READABLE, || {
                Ok(recv(self, &mut [0], RecvFlags::PEEK)?.0)
            });
            match peeked {
                // The client has sent more: a next request, which waits until this one is answered.
                // Readiness says nothing new until then, so look now and then.
                Ok(1..) => tokio::time::sleep(NEXT_LOOK).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Whether nothing will come behind what has come.
    fn is_read_closed(&self) -> bool {
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut sockets = [PollFd::new(self, PollFlags::RDHUP)];
        let now = Timespec::default();
        poll(&mut sockets, Some(&now)).is_ok() && sockets[0].revents().intersects(gone)
    }

    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(context)
    }

    fn try_io<R>(
        &self,
        interest: Interest,
        operation: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.0.try_io(interest, operation)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
