//! Descriptors that this process was started with.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes ownership of a descriptor that the service manager passed.
pub fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: sd_listen_fds(3) gives the numbers of open descriptors that are this process's to
    // use, and nothing else in the process knows them.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
