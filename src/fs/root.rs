//! A root and what is opened beneath it.
//!
//! Containment is the kernel's: `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS` from a
//! handle of the root. The handle follows a root that is itself swapped (a deploy by symbolic
//! link). A path is opened first and asked second.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use crate::fs::{
    filesystem, follow,
    handles::{self, Slot},
};

/// How often an open is tried again when a rename below the root disturbed the kernel's walk.
const WALK_ATTEMPTS: usize = 16;

/// A directory that contains everything opened through it.
#[derive(Debug)]
pub struct Root {
    path: Arc<Path>,
    handle: Arc<Slot>,
    /// What symbolic links may lead to outside.
    follow: Vec<Root>,
}

/// The directory that the root's path named when it was last looked at.
#[derive(Debug)]
pub(super) struct Handle {
    pub fd: OwnedFd,
    device: u64,
    inode: u64,
    /// Whether even a look at it may wait for another machine or a program.
    may_hang: bool,
}

/// Whether an open may wait for a disk or a network filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Only what the kernel has in memory, and no other filesystem than the root's; else
    /// [`OpenError::WouldWait`]. Where the root itself is, is looked at either way, as long as it is on
    /// this machine: its path is used all the time.
    Never,
    /// Anything.
    Allowed,
}

/// An opened file or directory with its metadata at that moment.
#[derive(Debug)]
pub struct Opened {
    /// Opened for reading, never blocking, closed on exec.
    pub fd: OwnedFd,
    /// Asked of the descriptor.
    pub metadata: Metadata,
}

/// What is behind a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A FIFO, socket or device: never served.
    Other,
}

/// The metadata pywebd uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// The filesystem's device number.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time: seconds since the epoch and nanoseconds.
    pub modified: (i64, u32),
    /// Status change time: seconds since the epoch and nanoseconds.
    pub changed: (i64, u32),
    /// Names it has.
    pub links: u64,
    /// Permission bits, `0o7777` of the mode.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
}

/// What tells one content of an open file from another.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
    /// What else changes the status change time: names and permissions.
    status: (u64, u32, u32),
}

/// Why nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No such file, or a component that is no directory, or too long a name.
    #[error("does not exist")]
    NotFound,
    /// Denied by permissions, or not a thing that can be opened for reading.
    #[error("permission denied")]
    Denied,
    /// A symbolic link leads out of the root, or links form a loop.
    #[error("a symbolic link leads out of the root or into a loop")]
    Outside,
    /// Not in the kernel's memory, and [`Wait::Never`] was asked for.
    #[error("the look-up would wait for the disk")]
    WouldWait,
    /// Anything else: descriptors used up, an input/output error.
    #[error(transparent)]
    System(std::io::Error),
}

impl Root {
    /// A root by its absolute path. Nothing is opened yet: a root that does not exist makes every
    /// look-up [`OpenError::NotFound`] until it does.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into().into(),
            handle: Arc::default(),
            follow: Vec::new(),
        }
    }

    /// The same, where symbolic links may also lead into these directories.
    #[must_use]
    pub fn following(self, directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let follow = directories.into_iter().map(Self::new).collect();
        Self { follow, ..self }
    }

    /// The directories that symbolic links may lead into.
    pub fn followed(&self) -> impl Iterator<Item = &Path> {
        self.follow.iter().map(|root| &*root.path)
    }

    /// The configured path.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Opens for reading what `relative` names; empty means the root itself. A leading slash is
    /// not taken, a trailing one demands a directory.
    ///
    /// `O_NONBLOCK` keeps a FIFO from blocking the server; the caller looks at the metadata's
    /// kind before it reads.
    pub fn open(&self, relative: &[u8], wait: Wait) -> Result<Opened, OpenError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        self.open_with(relative, How { flags, wait })
    }

    /// The same where no symbolic link is on the way; else it fails with [`OpenError::Outside`].
    pub fn open_straight(&self, relative: &[u8], wait: Wait) -> Result<Opened, OpenError> {
        let handle = self.current(wait)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let relative = if relative.is_empty() { b"." } else { relative };
        let how = How { flags, wait };
        let fd = open_within(handle.fd.as_fd(), relative, ResolveFlags::NO_SYMLINKS, how)?;
        let metadata = Metadata::of(&fd)?;
        Ok(Opened { fd, metadata })
    }

    /// Finds what `relative` names, as [`Root::open`] does, whether it can be read or not: the
    /// descriptor is for asking about it and for directories to begin from (`O_PATH`).
    pub fn find(&self, relative: &[u8], wait: Wait) -> Result<Opened, OpenError> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        self.open_with(relative, How { flags, wait })
    }

    fn open_with(&self, relative: &[u8], how: How) -> Result<Opened, OpenError> {
        let handle = self.current(how.wait)?;
        let relative = if relative.is_empty() { b"." } else { relative };
        let fd = match open_within(handle.fd.as_fd(), relative, ResolveFlags::empty(), how) {
            // Absolute, but perhaps to a place in the root, or to one that may be followed.
            Err(OpenError::Outside) => {
                let places = std::iter::once(self).chain(&self.follow);
                follow::open(handle.fd.as_fd(), relative, places, how)?
            }
            outcome => outcome?,
        };
        let metadata = Metadata::of(&fd)?;
        Ok(Opened { fd, metadata })
    }

    /// The handle of what the path names now. One `stat` finds out whether the root was swapped.
    pub(super) fn current(&self, wait: Wait) -> Result<Arc<Handle>, OpenError> {
        let last = self.handle.load();
        if wait == Wait::Never && last.as_ref().is_none_or(|handle| handle.may_hang) {
            return Err(OpenError::WouldWait);
        }
        let now = rustix::fs::stat(&*self.path)?;
        match &*last {
            Some(handle) if (handle.device, handle.inode) == (now.st_dev, now.st_ino) => {
                return Ok(Arc::clone(handle));
            }
            _ if wait == Wait::Never => return Err(OpenError::WouldWait),
            _ => {}
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&*self.path, flags, Mode::empty())?;
        let opened = rustix::fs::fstat(&fd)?;
        let handle = Arc::new(Handle {
            may_hang: filesystem::may_hang(&fd),
            fd,
            device: opened.st_dev,
            inode: opened.st_ino,
        });
        handles::keep(&self.handle, Arc::clone(&handle));
        Ok(handle)
    }
}

/// What an open is for, and what it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    flags: OFlags,
    pub wait: Wait,
}

/// Opens beneath a directory, with more restrictions if wanted.
pub(super) fn open_within(
    root: impl AsFd + Copy,
    relative: &[u8],
    restrictions: ResolveFlags,
    How { flags, wait }: How,
) -> Result<OwnedFd, OpenError> {
    let contained = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | restrictions;
    let resolve = match wait {
        // A look-up in the kernel's memory is not all: a filesystem that is another's may have to be
        // asked for the opening itself.
        Wait::Never => contained | ResolveFlags::CACHED | ResolveFlags::NO_XDEV,
        Wait::Allowed => contained,
    };
    let mut last = Errno::AGAIN;
    for _ in 0..WALK_ATTEMPTS {
        match rustix::fs::openat2(root, relative, flags, Mode::empty(), resolve) {
            Ok(fd) => return Ok(fd),
            // From RESOLVE_CACHED; and on kernels before 5.12, which do not know the flag.
            Err(Errno::AGAIN | Errno::INVAL) if wait == Wait::Never => {
                return Err(OpenError::WouldWait);
            }
            // Out of the root, or onto another filesystem: a descriptor that is not opened tells.
            Err(Errno::XDEV) if wait == Wait::Never => {
                let (flags, resolve) = (
                    OFlags::PATH | OFlags::CLOEXEC,
                    resolve - ResolveFlags::NO_XDEV,
                );
                let found = rustix::fs::openat2(root, relative, flags, Mode::empty(), resolve);
                return Err(match found {
                    Ok(_) | Err(Errno::AGAIN) => OpenError::WouldWait,
                    Err(error) => error.into(),
                });
            }
            // A rename below the root made the walk uncertain.
            Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => last = Errno::INTR,
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.into())
}

impl Opened {
    /// Whether a directory has something of this name that is, or may lead to, a file.
    pub fn may_have_file(&self, name: &[u8], wait: Wait) -> Result<bool, OpenError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let how = How { flags, wait };
        match open_within(self.fd.as_fd(), name, ResolveFlags::empty(), how) {
            Ok(fd) => Ok(Metadata::of(fd)?.kind != Kind::Directory),
            Err(OpenError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Metadata {
    /// The metadata of what an absolute path names.
    pub fn at(path: &Path) -> Result<Self, OpenError> {
        Ok(Self::from(rustix::fs::stat(path)?))
    }

    /// The metadata of an open descriptor.
    pub fn of(fd: impl AsFd) -> Result<Self, OpenError> {
        Ok(Self::from(rustix::fs::fstat(fd)?))
    }

    /// What tells a file from every other: the device and its number there.
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// The version of the content.
    pub fn version(&self) -> Version {
        Version {
            size: self.size,
            modified: self.modified,
            changed: self.changed,
            status: (self.links, self.permissions, self.uid),
        }
    }
}

impl Version {
    /// Whether an open file still has this version. Whoever writes to a file may set back its
    /// modification time, but not its status change time; that changes too when another file takes
    /// the name of the open one, and then the status shows it.
    pub fn is_of(&self, fd: impl AsFd) -> bool {
        Metadata::of(fd).is_ok_and(|metadata| self.is_same(&metadata.version()))
    }

    /// Whether the content is the same in both.
    pub fn is_same(&self, other: &Self) -> bool {
        self.size == other.size
            && self.modified == other.modified
            && (self.changed == other.changed || self.status != other.status)
    }
}

impl From<Stat> for Metadata {
    // The kernel keeps nanoseconds below 10^9, so they fit in 32 bits.
    #[allow(clippy::cast_possible_truncation)]
    fn from(stat: Stat) -> Self {
        Self {
            kind: match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Directory,
                _ => Kind::Other,
            },
            device: stat.st_dev,
            inode: stat.st_ino,
            // A size is never negative for what can be opened.
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: (stat.st_mtime, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime, stat.st_ctime_nsec as u32),
            links: stat.st_nlink,
            permissions: stat.st_mode & 0o7777,
            uid: stat.st_uid,
        }
    }
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => Self::NotFound,
            // ENXIO: a socket, or a device without a driver.
            Errno::ACCESS | Errno::PERM | Errno::NXIO => Self::Denied,
            Errno::XDEV | Errno::LOOP => Self::Outside,
            other => Self::System(io::Error::from(other)),
        }
    }
}

/// Where the paths of one mapping lie: a root, and how much of a decoded URL path to leave off
/// before it is resolved there.
#[derive(Debug, Clone)]
pub struct Place {
    /// The containing root.
    pub root: Arc<Root>,
    /// How many leading bytes of the URL path are not part of the file's path: 1 (the slash) for
    /// files of the site's root, the key's length for a directory elsewhere.
    pub strip: usize,
}

impl Place {
    /// The part of a decoded URL path that is resolved beneath the root.
    pub fn relative<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        path.get(self.strip..).unwrap_or_default()
    }

    /// The absolute path of a file for people, scripts and `exec`.
    pub fn absolute(&self, path: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.root
            .path()
            .join(std::ffi::OsStr::from_bytes(self.relative(path)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn site() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("root")).unwrap();
        let root = Root::new(directory.path().join("root"));
        (directory, root)
    }

    #[test]
    fn a_file_inside_is_opened() {
        let (directory, root) = site();
        std::fs::write(directory.path().join("root/a.txt"), "four").unwrap();
        let opened = root.open(b"a.txt", Wait::Allowed).unwrap();
        assert_eq!(
            (opened.metadata.kind, opened.metadata.size),
            (Kind::File, 4)
        );
    }

    #[test]
    fn nothing_outside_is_opened() {
        let (directory, root) = site();
        std::fs::write(directory.path().join("secret"), "x").unwrap();
        symlink("../secret", directory.path().join("root/up")).unwrap();
        symlink("/etc/hostname", directory.path().join("root/absolute")).unwrap();
        symlink("loop", directory.path().join("root/loop")).unwrap();
        for path in [
            &b"../secret"[..],
            b"up",
            b"absolute",
            b"/etc/hostname",
            b"loop",
        ] {
            let outcome = root.open(path, Wait::Allowed);
            assert!(matches!(outcome, Err(OpenError::Outside)), "{path:?}");
        }
    }

    #[test]
    fn a_link_that_stays_inside_is_followed() {
        let (directory, root) = site();
        std::fs::write(directory.path().join("root/a"), "x").unwrap();
        symlink("a", directory.path().join("root/b")).unwrap();
        assert!(root.open(b"b", Wait::Allowed).is_ok());
    }

    #[test]
    fn a_swapped_root_is_followed() {
        let (directory, _) = site();
        for name in ["one", "two"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
            std::fs::write(directory.path().join(name).join(name), "x").unwrap();
        }
        let link = directory.path().join("current");
        symlink("one", &link).unwrap();
        let root = Root::new(&link);
        assert!(root.open(b"one", Wait::Allowed).is_ok());
        symlink("two", directory.path().join("next")).unwrap();
        std::fs::rename(directory.path().join("next"), &link).unwrap();
        assert!(root.open(b"two", Wait::Allowed).is_ok());
        assert!(matches!(
            root.open(b"one", Wait::Allowed),
            Err(OpenError::NotFound)
        ));
    }

    #[test]
    fn a_fifo_does_not_block_the_open() {
        let (directory, root) = site();
        let path = directory.path().join("root/fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        let opened = root.open(b"fifo", Wait::Allowed).unwrap();
        assert_eq!(opened.metadata.kind, Kind::Other);
    }

    #[test]
    fn a_root_may_appear_later() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path().join("later"));
        assert!(matches!(
            root.open(b"", Wait::Allowed),
            Err(OpenError::NotFound)
        ));
        std::fs::create_dir(directory.path().join("later")).unwrap();
        assert!(root.open(b"", Wait::Allowed).is_ok());
    }
}
