//! Our end of a pipe that a script writes to.
//!
//! The runtime comes to know of it only when the script has to be waited for: what a short one has to say
//! is there, and its end too, when the launcher tells of it.

use std::{
    future::poll_fn,
    io::{self, PipeWriter},
    task::{Context, Poll, ready},
};

use bytes::BufMut;
use rustix::io::ioctl_fionbio;
use tokio::task::coop;

use crate::sys::{nonblocking::Nonblocking, receive};

/// How much is read at once of what is left, in bytes.
const REST: usize = 16 * 1024;

/// The end to read from.
#[derive(Debug)]
pub struct Receiver(Nonblocking);

impl Receiver {
    /// A pipe. Its other end blocks, as programs expect it.
    pub fn pipe() -> io::Result<(Self, PipeWriter)> {
        let (ours, theirs) = io::pipe()?;
        ioctl_fionbio(&ours, true)?;
        Ok((Self(Nonblocking::new(ours.into())), theirs))
    }

    /// Reads into the room that `buffer` has as soon as anything is there; 0 at the end.
    pub fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        // Where nothing has to be waited for, the others of the worker must have their turn nonetheless.
        let turn = ready!(coop::poll_proceed(context));
        let read = || receive::read(&self.0, buffer);
        let outcome = ready!(self.0.poll_read(context, read));
        turn.made_progress();
        Poll::Ready(outcome)
    }

    /// As [`Receiver::poll_read`]. Dropping the future loses nothing.
    pub async fn read(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context, buffer)).await
    }

    /// Reads what is in the pipe now, without asking the runtime whether there is anything: it may not
    /// have heard of it yet. Absent: nothing is there, or nothing ever will be.
    pub fn read_now(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(REST);
        let count = receive::read(&self.0, &mut bytes).ok()?;
        (count > 0).then_some(bytes)
    }
}
