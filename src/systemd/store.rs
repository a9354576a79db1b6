//! Listening sockets that the service manager keeps for the next process of the service:
//! `sd_notify(3)`, `FDSTORE=1`. They come back among the passed ones ([`super::sockets`]).

use std::{fmt::Display, os::fd::AsFd};

use sd_notify::NotifyState;

use crate::systemd::notify;

/// What the names begin with, which those of a socket unit do not.
pub(super) const PREFIX: &str = "pywebd-listen_";

/// Whether there is such a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// There is none.
    Absent,
    /// There may be: systemd before version 254 does not tell (`$FDSTORE`).
    Untold,
    /// There is.
    Present,
}

impl Store {
    /// As the environment says.
    pub fn of_this_service() -> Self {
        if !notify::is_heard() {
            return Self::Absent;
        }
        match std::env::var("FDSTORE") {
            Err(_) => Self::Untold,
            Ok(room) if room.parse().is_ok_and(|room: u64| room > 0) => Self::Present,
            Ok(_) => Self::Absent,
        }
    }
}

/// Has a socket that listens there kept. Nothing that happens to it puts it out of the store.
pub fn keep(socket: impl AsFd, address: &impl Display) {
    let name = name(address);
    let states = [
        NotifyState::FdStore,
        NotifyState::FdName(&name),
        NotifyState::Custom("FDPOLL=0"),
    ];
    told(sd_notify::notify_with_fds(&states, &[socket.as_fd()]));
}

/// Has the socket that listens there kept no more.
pub fn forget(address: &impl Display) {
    let name = name(address);
    told(sd_notify::notify(&[
        NotifyState::FdStoreRemove,
        NotifyState::FdName(&name),
    ]));
}

fn told(outcome: std::io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!("cannot reach the service manager's store of sockets: {error}");
    }
}

/// A name takes no colon: `sd_notify(3)`, `FDNAME=`.
fn name(address: &impl Display) -> String {
    format!("{PREFIX}{address}").replace(':', "_")
}
