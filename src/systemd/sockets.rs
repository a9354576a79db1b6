//! Listening sockets passed by the service manager: `sd_listen_fds(3)`.

use std::{io, os::fd::OwnedFd};

use crate::{sys, systemd::store};

/// Sockets that were passed.
#[derive(Debug, Default)]
pub struct Passed {
    /// Those of socket units.
    pub sockets: Vec<OwnedFd>,
    /// Those that an earlier process of this service has put into the store.
    pub stored: Vec<OwnedFd>,
}

/// Whether there are any.
pub fn are_passed() -> bool {
    std::env::var("LISTEN_FDS").is_ok_and(|count| count != "0")
}

/// The passed sockets, closed on exec; none without a service manager. To be called once.
pub fn passed() -> io::Result<Passed> {
    let mut passed = Passed::default();
    // Without names, or with others than there are sockets, all are of units.
    let named = sd_notify::listen_fds_with_names().map(Vec::from_iter);
    let named = match named {
        Ok(named) => named,
        Err(_) => sd_notify::listen_fds()?
            .map(|fd| (fd, String::new()))
            .collect(),
    };
    for (fd, name) in named {
        let socket = sys::adopt::adopt(fd);
        if name.starts_with(store::PREFIX) {
            passed.stored.push(socket);
        } else {
            passed.sockets.push(socket);
        }
    }
    Ok(passed)
}
