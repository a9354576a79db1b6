//! The kernel's notices of changes: inotify on every directory on the way to a name, through
//! symbolic links as well, and on the file at its end.
//!
//! So a link that is swapped, a directory that is moved away or comes back, and one that never was
//! there are noticed, too. Reading is not asked for. Where a directory cannot be watched, or lies
//! on a filesystem that others change, this is blind, and somebody has to look now and then.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::{OsStr, OsString},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{
        FileType,
        inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch},
        lstat, statfs,
    },
    io::Errno,
};

use crate::config::{Seen, seen::What};

/// What changes the names in a directory, or itself.
const DIRECTORY: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// What changes a file, whatever name it is written to by.
const FILE: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DONT_FOLLOW);

/// As many symbolic links as the kernel follows in one path.
const LINKS: usize = 40;

/// Filesystems that others than this kernel's programs change (`statfs(2)`): 9P, AFS, Ceph, FUSE,
/// NFS, SMB in three kinds.
const SHARED: [u32; 8] = [
    0x0102_1997,
    0x5346_414f,
    0x00c3_6400,
    0x6573_5546,
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
];

/// What is watched.
#[derive(Debug, Default)]
pub struct Notices {
    inotify: Option<OwnedFd>,
    /// By the kernel's number of the watch.
    watched: HashMap<i32, Interest>,
    is_blind: bool,
    /// Whether that was told, so that it is told but once.
    is_told: bool,
}

/// What of a directory's names matters; a file has none.
#[derive(Debug, Default)]
struct Interest {
    names: BTreeSet<OsString>,
    every_name: bool,
}

impl Notices {
    /// Watches exactly what is on the way to these. To be called again after a change: the way may
    /// be another one now.
    pub fn follow(&mut self, seen: &[Seen]) {
        self.is_blind = false;
        if self.inotify.is_none() && !seen.is_empty() {
            match init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
                Ok(inotify) => self.inotify = Some(inotify),
                Err(error) => self.go_blind(error, None),
            }
        }
        let before: Vec<i32> = std::mem::take(&mut self.watched).into_keys().collect();
        let mut way = Way {
            notices: self,
            directories: HashMap::new(),
            asked: HashSet::new(),
        };
        for seen in seen {
            way.go(&seen.what);
        }
        if let Some(inotify) = &self.inotify {
            for gone in before.iter().filter(|wd| !self.watched.contains_key(wd)) {
                // With what it watched it has gone by itself.
                let _ = remove_watch(inotify, *gone);
            }
        }
        self.is_told &= self.is_blind;
    }

    /// Whether a change may go without a notice.
    pub fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// Can be read when there is a notice.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Takes in the notices there are. Whether one of them is about what is followed.
    pub fn has_news(&mut self) -> bool {
        let Some(inotify) = &self.inotify else {
            return false;
        };
        let mut space = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(inotify, &mut space);
        let mut has_news = false;
        loop {
            match reader.next() {
                Ok(notice) => {
                    let is_lost = notice.events().contains(ReadFlags::QUEUE_OVERFLOW);
                    let interest = self.watched.get(&notice.wd());
                    let matters = |interest: &Interest| match notice.file_name() {
                        None => true,
                        Some(_) if interest.every_name => true,
                        Some(name) => interest.names.contains(OsStr::from_bytes(name.to_bytes())),
                    };
                    has_news |= is_lost || interest.is_some_and(matters);
                }
                Err(Errno::INTR) => {}
                // The rest is waited for again.
                Err(_) => return has_news,
            }
        }
    }

    fn go_blind(&mut self, error: Errno, at: Option<&Path>) {
        self.is_blind = true;
        let remedy = match error {
            // Another user's directory on the way: nothing is wrong.
            Errno::ACCESS => return,
            Errno::NOSPC => "; raise fs.inotify.max_user_watches",
            Errno::MFILE => "; raise fs.inotify.max_user_instances",
            _ => "",
        };
        if !std::mem::replace(&mut self.is_told, true) {
            let place = at.map_or_else(String::new, |at| format!(" of {}", at.display()));
            tracing::warn!(
                "the kernel does not tell of changes{place}: {error}{remedy}. The configuration is \
                 looked at every 2 seconds instead"
            );
        }
    }
}

/// A walk to all that is followed.
struct Way<'n> {
    notices: &'n mut Notices,
    /// The watches of the directories on it.
    directories: HashMap<PathBuf, i32>,
    /// Names that were gone to.
    asked: HashSet<PathBuf>,
}

impl Way<'_> {
    /// Watches each directory before it looks into it: what changes later is noticed.
    fn go(&mut self, what: &What) {
        let place = what.place();
        let Ok(path) = std::path::absolute(&place) else {
            return self.notices.go_blind(Errno::NOENT, Some(&place));
        };
        let is_pattern = matches!(what, What::Pattern { .. });
        if !is_pattern && !self.asked.insert(path.clone()) {
            return;
        }
        let mut here = PathBuf::from("/");
        let mut ahead = parts(&path);
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            match part {
                Part::Root => here = PathBuf::from("/"),
                Part::Up => {
                    here.pop();
                }
                Part::Name(name) => {
                    let next = here.join(&name);
                    if let Some(interest) = self.directory(&here) {
                        interest.names.insert(name);
                    }
                    match lstat(&next).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
                        Ok(FileType::Symlink) if links < LINKS => {
                            links += 1;
                            if let Ok(target) = std::fs::read_link(&next) {
                                ahead.extend(parts(&target));
                            }
                        }
                        Ok(FileType::Directory) => here = next,
                        Ok(_) => {
                            self.watch(&next, FILE);
                            return self.look_out(&here);
                        }
                        // It may appear, and then it is noticed here.
                        Err(_) => return self.look_out(&here),
                    }
                }
            }
        }
        if let Some(interest) = self.directory(&here) {
            interest.every_name |= is_pattern;
        }
        self.look_out(&here);
    }

    fn directory(&mut self, path: &Path) -> Option<&mut Interest> {
        let wd = if let Some(wd) = self.directories.get(path) {
            *wd
        } else {
            let wd = self.watch(path, DIRECTORY)?;
            self.directories.insert(path.to_owned(), wd);
            wd
        };
        self.notices.watched.get_mut(&wd)
    }

    fn watch(&mut self, path: &Path, flags: WatchFlags) -> Option<i32> {
        match add_watch(self.notices.inotify.as_ref()?, path, flags) {
            Ok(wd) => {
                self.notices.watched.entry(wd).or_default();
                Some(wd)
            }
            // It has gone in this moment, which its directory tells.
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(error) => {
                self.notices.go_blind(error, Some(path));
                None
            }
        }
    }

    /// Where changes come from elsewhere, there is no notice of them.
    fn look_out(&mut self, directory: &Path) {
        let is_shared = statfs(directory)
            .is_ok_and(|stat| SHARED.iter().any(|kind| i64::from(*kind) == stat.f_type));
        self.notices.is_blind |= is_shared;
    }
}

/// A step on the way.
enum Part {
    Root,
    Up,
    Name(OsString),
}

/// The steps of a path, the last one first.
fn parts(path: &Path) -> Vec<Part> {
    let part = |component: Component<'_>| match component {
        Component::RootDir => Some(Part::Root),
        Component::ParentDir => Some(Part::Up),
        Component::Normal(name) => Some(Part::Name(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(part).collect()
}
