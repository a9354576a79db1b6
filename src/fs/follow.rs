//! Places outside a root that symbolic links in it may lead to.
//!
//! Where a link leads is asked of the kernel first, and then that place is opened beneath one of the
//! directories that are allowed, without any link: what is swapped in between is not followed.

use std::{
    ffi::OsString,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::PathBuf,
};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::fs::root::{OpenError, Root, Wait, open_within};

/// Opens for reading what `relative` names from `root`, if it lies in one of these directories.
pub(super) fn open(
    root: impl AsFd,
    relative: &[u8],
    directories: &[Root],
    wait: Wait,
) -> Result<OwnedFd, OpenError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut resolve = ResolveFlags::NO_MAGICLINKS;
    if wait == Wait::Never {
        resolve |= ResolveFlags::CACHED;
    }
    let found =
        rustix::fs::openat2(root, relative, flags, Mode::empty(), resolve).map_err(|error| {
            match error {
                rustix::io::Errno::AGAIN if wait == Wait::Never => OpenError::WouldWait,
                error => error.into(),
            }
        })?;
    let place = place_of(&found)?;
    for directory in directories {
        let handle = directory.current()?;
        if let Ok(below) = place.strip_prefix(place_of(&handle.fd)?) {
            let below = below.as_os_str().as_bytes();
            let below = if below.is_empty() { b"." } else { below };
            return open_within(handle.fd.as_fd(), below, ResolveFlags::NO_SYMLINKS, wait);
        }
    }
    Err(OpenError::Outside)
}

/// The path of what is behind a descriptor, without links.
fn place_of(fd: &OwnedFd) -> Result<PathBuf, OpenError> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let place = rustix::fs::readlink(link, Vec::new())?.into_bytes();
    Ok(PathBuf::from(OsString::from_vec(place)))
}
