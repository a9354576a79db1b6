//! A descriptor that the runtime comes to know when something has to be waited for.
//!
//! What a client sends at once is mostly there when its connection is accepted, and an answer mostly
//! fits into the socket's buffer; what a short script has written is there when it is over. So each
//! operation is tried, and only one that would wait has the descriptor registered: a connection for one
//! request then needs neither a place in the runtime's `epoll` nor a turn of it.
//!
//! Such a connection takes five system calls: accept4, read, the look at the files' queue, writev, close.
//! Registered from its beginning it takes two more, and a turn of the `epoll`.

use std::{
    cell::{Cell, OnceCell},
    io::{self, ErrorKind},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    task::{Context, Poll, ready},
};

use tokio::io::{Interest, unix::AsyncFd};

/// A socket or pipe in non-blocking mode, for one thread and its runtime.
#[derive(Debug)]
pub struct Nonblocking {
    /// Dropped before the descriptor is.
    registered: OnceCell<AsyncFd<RawFd>>,
    /// Whether a read has found that it would wait, before anything was registered.
    read_waits: Cell<bool>,
    /// The same of a write.
    write_waits: Cell<bool>,
    fd: OwnedFd,
}

impl Nonblocking {
    /// Over a descriptor that is in non-blocking mode.
    pub fn new(fd: OwnedFd) -> Self {
        Self {
            registered: OnceCell::new(),
            read_waits: Cell::new(false),
            write_waits: Cell::new(false),
            fd,
        }
    }

    /// The descriptor, which the runtime knows no more of.
    pub fn into_fd(self) -> OwnedFd {
        drop(self.registered);
        self.fd
    }

    /// Ready when it is worth trying to read.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(registered) = self.registered(&self.read_waits)? else {
            return Poll::Ready(Ok(()));
        };
        registered.poll_read_ready(context).map_ok(drop)
    }

    /// Ready when it is worth trying to write.
    pub fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(registered) = self.registered(&self.write_waits)? else {
            return Poll::Ready(Ok(()));
        };
        registered.poll_write_ready(context).map_ok(drop)
    }

    /// Tries an operation. When it would wait, the next poll waits until it would not.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        operation: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        if let Some(registered) = self.registered.get() {
            return registered.try_io(interest, |_| operation());
        }
        let outcome = operation();
        if let Err(error) = &outcome
            && error.kind() == ErrorKind::WouldBlock
        {
            let waits = if interest.is_readable() {
                &self.read_waits
            } else {
                &self.write_waits
            };
            waits.set(true);
        }
        outcome
    }

    /// Runs a read until it need not wait any longer.
    pub fn poll_read<R>(
        &self,
        context: &mut Context<'_>,
        mut read: impl FnMut() -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            ready!(self.poll_read_ready(context))?;
            match self.try_io(Interest::READABLE, &mut read) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// A read has returned less than there was room for: another one would wait, so the next poll
    /// waits without it.
    pub fn is_emptied(&self) {
        let would_wait = || io::Result::<()>::Err(ErrorKind::WouldBlock.into());
        let _ = self.try_io(Interest::READABLE, would_wait);
    }

    /// What the runtime knows of it, as soon as something `waits`. What is ready by then is told by
    /// the registration.
    fn registered(&self, waits: &Cell<bool>) -> io::Result<Option<&AsyncFd<RawFd>>> {
        if self.registered.get().is_none() && waits.get() {
            // SAFETY: the descriptor is open for as long as `self.fd` is, which nobody can take out
            // and which is dropped after the registration.
            let registered = unsafe { AsyncFd::register(self.fd.as_raw_fd()) }?;
            return Ok(Some(self.registered.get_or_init(|| registered)));
        }
        Ok(self.registered.get())
    }
}

impl AsFd for Nonblocking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
