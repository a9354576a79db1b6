//! Places that symbolic links in a root may lead to by an absolute path, or out of it.
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

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::fs::root::{How, OpenError, Root, Wait, open_within};

/// Opens what `relative` names from `root`, if it lies in one of these directories.
pub(super) fn open<'d>(
    root: impl AsFd + Copy,
    relative: &[u8],
    directories: impl Iterator<Item = &'d Root>,
    how: How,
) -> Result<OwnedFd, OpenError> {
    let (place, is_all) = last_place(root, relative, how.wait)?;
    for directory in directories {
        let handle = match directory.current(how.wait) {
            Ok(handle) => handle,
            Err(OpenError::WouldWait) => return Err(OpenError::WouldWait),
            // One that is not there now does not matter to the others.
            Err(_) => continue,
        };
        if let Ok(below) = place.strip_prefix(place_of(&handle.fd)?) {
            if !is_all {
                return Err(OpenError::NotFound);
            }
            let below = below.as_os_str().as_bytes();
            let below = if below.is_empty() { b"." } else { below };
            return open_within(handle.fd.as_fd(), below, ResolveFlags::NO_SYMLINKS, how);
        }
    }
    // Also where nothing is: what is elsewhere is nobody's business.
    Err(OpenError::Outside)
}

/// So many names at the end of a path may lead to nothing.
const MISSING: usize = 32;

/// Where a path leads, and whether that is all of it: else what follows is not there.
fn last_place(
    root: impl AsFd + Copy,
    relative: &[u8],
    wait: Wait,
) -> Result<(PathBuf, bool), OpenError> {
    let mut resolve = ResolveFlags::NO_MAGICLINKS;
    if wait == Wait::Never {
        resolve |= ResolveFlags::CACHED;
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut part = relative;
    for missing in 0..MISSING {
        match rustix::fs::openat2(root, part, flags, Mode::empty(), resolve) {
            Ok(found) => return Ok((place_of(&found)?, missing == 0)),
            Err(Errno::AGAIN | Errno::INVAL) if wait == Wait::Never => {
                return Err(OpenError::WouldWait);
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::NAMETOOLONG) => {}
            Err(error) => return Err(error.into()),
        }
        match part.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => part = &part[..slash],
            // A link in the root itself to what is not there.
            None => return Err(OpenError::NotFound),
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
