//! The signals that the launcher lives by: SIGTERM, which ends it, and SIGCHLD.
//!
//! A terminal sends SIGINT and SIGHUP to every process of the foreground. Those are for the
//! network process, which decides what becomes of the scripts; here they are ignored, as is SIGUSR1,
//! by which whoever rotates logs may mean every process of the name.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    SigId,
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1},
    flag, low_level,
};

use crate::sys::signals::ignore;

/// Becomes readable with every signal.
#[derive(Debug)]
pub struct Signals {
    woken: UnixStream,
    stop: Arc<AtomicBool>,
    wakers: [SigId; 2],
}

impl Signals {
    /// Sets up the handlers of this process.
    pub fn receive() -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        // In this order: who is woken finds the flag set.
        flag::register(SIGTERM, Arc::clone(&stop))?;
        let (woken, wakers) = wake()?;
        for signal in [SIGINT, SIGHUP, SIGPIPE, SIGUSR1] {
            ignore(signal)?;
        }
        Ok(Self {
            woken,
            stop,
            wakers,
        })
    }

    /// For a copy of the process: its signals wake itself alone.
    pub fn renew(&mut self) -> io::Result<()> {
        for waker in self.wakers {
            low_level::unregister(waker);
        }
        (self.woken, self.wakers) = wake()?;
        // What came before has woken the original.
        low_level::raise(SIGCHLD)
    }

    /// Is unreadable from now on until the next signal.
    pub fn drain(&mut self) {
        let mut bytes = [0; 64];
        while self
            .woken
            .read(&mut bytes)
            .is_ok_and(|count| count == bytes.len())
        {}
    }

    /// Whether SIGTERM has come.
    pub fn tell_to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What becomes readable with every signal, and who makes it so.
fn wake() -> io::Result<(UnixStream, [SigId; 2])> {
    let (woken, waker) = UnixStream::pair()?;
    woken.set_nonblocking(true)?;
    let wakers = [
        low_level::pipe::register(SIGTERM, waker.try_clone()?)?,
        low_level::pipe::register(SIGCHLD, waker)?,
    ];
    Ok((woken, wakers))
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}
