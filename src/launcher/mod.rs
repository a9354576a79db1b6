//! The launcher: a small process of one thread that starts scripts and ends them, so that the
//! network process never forks and can run nothing but what the configuration maps.
//!
//! One loop ([`dispatch`]) waits for everything: the listening socket, the connections
//! ([`connection`]), signals ([`signals`]) and the deadlines of scripts that are being ended. A
//! request to launch is checked against the launcher's own reading of the configuration
//! ([`admission`], [`checks`], [`environment`]); then the script is started and watched over
//! ([`child`]). The launcher never waits for a peer or for a script.
//!
//! What ends a script ends all it started: SIGTERM to its process group, after the grace time
//! SIGKILL to everything; and when the script itself has ended, the rest gets SIGKILL before the end
//! is reported. Everything is what is in its control group ([`groups`]). Where there are none, each
//! script has an attendant, a copy of the launcher for it alone, and everything is the attendant's
//! children, to which all orphans come ([`family`]).
//!
//! That a child has ended is learned from SIGCHLD alone. The launcher reaps every child itself, so
//! the process id of a script is not given to another process before that, and a descriptor of
//! the process would only tell the same a second time.

#![forbid(unsafe_code)]

pub mod admission;
mod announcement;
mod attendants;
pub mod checks;
mod child;
mod connection;
mod descriptors;
mod dispatch;
mod environment;
mod family;
pub mod groups;
mod interpreter;
mod limits;
mod signals;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::process::{Pid, Signal};

use crate::site::Snapshot;

use connection::Peers;
use dispatch::Launcher;
use groups::Groups;
use signals::Signals;

/// Why the launcher did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process that it was to serve has ended already.
    #[error("the process that started the launcher has ended")]
    Abandoned,
    /// The operating system refused something.
    #[error("{action}: {error}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
}

impl StartError {
    fn at<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System {
            action,
            error: error.into(),
        }
    }
}

/// Takes the listening socket that this process was given as its standard input, which reads
/// nothing from then on.
pub fn listener_from_stdin() -> io::Result<OwnedFd> {
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(listener)
}

/// Serves until SIGTERM; then ends every script and returns.
///
/// In the foreground `parent` is the process that started this one, from the thread that lives as
/// long as it: the launcher ends when that does. A service manager's launcher has none. `load`
/// reads the configuration, or says what is wrong with it; it is called for the first request and for
/// each to reload. `groups` is the launcher's part of the tree of control groups, or why there is none.
///
/// This makes the whole process the launcher: its signals and its children are the launcher's.
pub fn run<L>(
    listener: OwnedFd,
    parent: Option<u32>,
    groups: Result<Groups, String>,
    load: L,
) -> Result<(), StartError>
where
    L: FnMut() -> Result<Snapshot, String>,
{
    let signals = Signals::receive().map_err(StartError::at("handling signals"))?;
    parent.map_or(Ok(()), end_with)?;
    // Processes that a script leaves behind become children of this one.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(StartError::at("becoming a subreaper"))?;
    // A service manager's socket has permissions; the one of the foreground has none.
    let peers = if parent.is_some() {
        Peers::Own
    } else {
        Peers::Any
    };
    let mut launcher = Launcher::new(listener, (signals, groups), peers, load)?;
    if parent.is_none() {
        launcher.announce();
    }
    while launcher.has_work() {
        launcher
            .turn()
            .map_err(StartError::at("waiting for events"))?;
    }
    launcher
        .finish()
        .map_err(StartError::at("ending what is left"))
}

/// Has the kernel send SIGTERM when the parent ends.
fn end_with(parent: u32) -> Result<(), StartError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(StartError::at("following the parent's end"))?;
    // It may have ended before the kernel was asked.
    let now = rustix::process::getppid().map(Pid::as_raw_nonzero);
    match now.map(|pid| pid.get().unsigned_abs()) {
        Some(now) if now == parent => Ok(()),
        _ => Err(StartError::Abandoned),
    }
}

#[cfg(test)]
mod tests;
