//! The directories that names are looked up in, watched from the root of all files down.

use std::{
    ffi::OsString,
    os::fd::OwnedFd,
    os::unix::ffi::OsStringExt,
    path::Component,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
};

use crate::{
    files::cache::{
        Cache,
        entry::{Known, Thing},
        watch::{Node, Watch},
    },
    fs::{OpenError, Root, Wait, filesystem},
};

/// So many symbolic links may be on the way to a root: as many as the kernel follows.
const LINKS: usize = 40;

/// How long what could not be watched is not tried again.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// A directory that is watched.
#[derive(Debug)]
pub(super) struct Directory {
    /// What it depends on.
    pub node: Arc<Node>,
    /// The number under which the names in it are watched.
    pub number: i32,
}

/// Why there is no directory to watch a name in.
#[derive(Debug)]
pub(super) enum Blind {
    /// It is not there, for as long as the node is valid.
    Absent(Arc<Node>),
    /// Its changes are not told.
    Untold,
    /// The look-up would wait.
    WouldWait,
}

impl Cache {
    /// The directory, at or below the root, that a name is looked up in.
    pub(super) fn directory_of(
        &self,
        root: &Root,
        name: &[u8],
        wait: Wait,
    ) -> Result<Directory, Blind> {
        let slash = name.iter().rposition(|&byte| byte == b'/');
        let name = &name[..slash.unwrap_or(0)];
        if let Some(known) = self.known_directory(root, name) {
            return known;
        }
        let mut directory = match self.known_directory(root, b"") {
            Some(known) => known?,
            // What is on the way to a root may be on a filesystem that never answers.
            None if wait == Wait::Never => return Err(Blind::WouldWait),
            None => self.root(root)?,
        };
        let slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends = slashes.map(|(at, _)| at).chain([name.len()]);
        for end in ends.filter(|&end| end > 0) {
            let prefix = &name[..end];
            if self.known_directory(root, prefix).is_none() {
                if let Err(OpenError::WouldWait) = self.look_up(&directory, root, prefix, wait) {
                    return Err(Blind::WouldWait);
                }
                // What may not be looked into, or is a link.
                if self.known_directory(root, prefix).is_none() {
                    self.keep(root, prefix, Known::Untold(Instant::now()));
                }
            }
            let known = self.known_directory(root, prefix);
            directory = known.unwrap_or(Err(Blind::Untold))?;
        }
        Ok(directory)
    }

    /// A directory below a root, if it is known whether it is there.
    fn known_directory(&self, root: &Root, name: &[u8]) -> Option<Result<Directory, Blind>> {
        match &*self.known(root, name)? {
            Known::Watched(node, thing) if node.is_valid() => Some(match thing {
                Thing::Directory(number) => Ok(Directory {
                    node: Arc::clone(node),
                    number: *number,
                }),
                Thing::Absent => Err(Blind::Absent(Arc::clone(node))),
                Thing::File(_) => Err(Blind::Untold),
            }),
            Known::Untold(since) if since.elapsed() < RETRY => Some(Err(Blind::Untold)),
            _ => None,
        }
    }

    /// A root, looked up.
    fn root(&self, root: &Root) -> Result<Directory, Blind> {
        let watched = self.watch.as_ref().map(|watch| watched(watch, root));
        let Some(Ok(directory)) = watched else {
            self.keep(root, b"", Known::Untold(Instant::now()));
            return Err(Blind::Untold);
        };
        let thing = Thing::Directory(directory.number);
        self.keep(
            root,
            b"",
            Known::Watched(Arc::clone(&directory.node), thing),
        );
        Ok(directory)
    }
}

/// Watches a root, which depends on every name that is on the way to it.
fn watched(watch: &Arc<Watch>, root: &Root) -> Result<Directory, Errno> {
    let node = watch.node(None);
    let place = walk(watch, &node, root)?;
    // By a path alone its flags are not told.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(&place, ".", flags, Mode::empty())?;
    if !filesystem::tells_names(&directory) {
        return Err(Errno::OPNOTSUPP);
    }
    let number = watch.directory(&node, &directory)?;
    Ok(Directory { node, number })
}

/// Opens what the path of a root leads to, and has the node depend on all names on the way, those of
/// symbolic links among them.
fn walk(watch: &Watch, node: &Arc<Node>, root: &Root) -> Result<OwnedFd, Errno> {
    let mut names: Vec<OsString> = Vec::new();
    let add = |path: &std::path::Path, names: &mut Vec<OsString>| {
        let components = path.components().rev();
        names.extend(components.map(|name| name.as_os_str().to_owned()));
    };
    add(root.path(), &mut names);
    let mut links = 0;
    let mut at = open_directory("/")?;
    while let Some(name) = names.pop() {
        match std::path::Path::new(&name).components().next() {
            Some(Component::RootDir) => at = open_directory("/")?,
            // Where it leads changes only together with a name that it was reached by.
            Some(Component::ParentDir) => at = open_at(&at, "..")?,
            Some(Component::Normal(name)) => {
                if !filesystem::tells_changes(&at) {
                    return Err(Errno::OPNOTSUPP);
                }
                let number = watch.directory(node, &at)?;
                watch.name(node, number, name.as_encoded_bytes())?;
                let found = open_at(&at, name)?;
                let metadata = rustix::fs::fstat(&found)?;
                if FileType::from_raw_mode(metadata.st_mode) == FileType::Symlink {
                    links += 1;
                    if links > LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
                    let target = OsString::from_vec(target.into_bytes());
                    add(target.as_ref(), &mut names);
                } else {
                    at = found;
                }
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    Ok(at)
}

fn open_directory(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Opens a name, and if it is a symbolic link, the link.
fn open_at(directory: &OwnedFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}
