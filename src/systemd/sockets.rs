//! Listening sockets passed by the service manager: `sd_listen_fds(3)`.

use std::{io, os::fd::OwnedFd};

use crate::sys;

/// The passed sockets, closed on exec; none without a service manager. To be called once.
pub fn passed() -> io::Result<Vec<OwnedFd>> {
    Ok(sd_notify::listen_fds()?.map(sys::adopt::adopt).collect())
}
