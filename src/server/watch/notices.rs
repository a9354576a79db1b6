//! The kernel's notices of changes, of every directory on the way to a name, through symbolic links
//! as well, and of the file at its end.
//!
//! So a link that is swapped, a directory that is moved away or comes back, and one that never was
//! there are noticed, too. Where a directory cannot be watched, or lies on a filesystem that others
//! change, this is blind, and somebody has to look now and then.
//!
//! `notify` knows a watch by its path, the kernel by what is watched. When something leaves a path,
//! `notify` gives up whatever it watches there, also what has come in its place meanwhile; and two
//! names of one thing have one watch, which goes with either. So all is watched anew each time, but for
//! files of one name that are the same as before and that no notice was of: a change of one file among
//! 10,000 costs a look at each, and no call to the thread of `notify`. What is given up without being
//! asked, there is a notice of, and so it is watched again.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    ffi::OsString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use notify::{Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use rustix::{
    event::{EventfdFlags, eventfd},
    fs::{FileType, Mode, OFlags, Stat, lstat},
    io::Errno,
};

use crate::{
    config::{Seen, seen::What},
    fs::filesystem::tells_changes,
};

/// As many symbolic links as the kernel follows in one path.
const LINKS: usize = 40;

/// What is watched.
#[derive(Debug)]
pub struct Notices {
    watcher: Option<RecommendedWatcher>,
    /// The files of one name that are watched.
    files: HashMap<PathBuf, Identity>,
    heard: Arc<Heard>,
    is_blind: bool,
    /// Whether that was told, so that it is told but once.
    is_told: bool,
}

/// What the thread of `notify` works on. It is also what answers to a watch that is asked for, so
/// nobody asks with the lock in his hand.
#[derive(Debug)]
struct Heard {
    interest: Mutex<Interest>,
    /// Becomes readable with a notice that matters.
    news: OwnedFd,
}

/// Device and inode.
type Identity = (u64, u64);

/// What a notice has to be about to matter.
#[derive(Debug, Default)]
struct Interest {
    /// What there was a notice of since all was followed, of what is in `paths`.
    touched: HashSet<PathBuf>,
    /// Whether there was one of anything.
    is_shaken: bool,
    /// What is watched, and the names on the way.
    paths: HashSet<PathBuf>,
    /// Directories of which every name matters.
    listed: HashSet<PathBuf>,
}

impl Notices {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        let heard = Heard {
            interest: Mutex::default(),
            news: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        };
        Ok(Self {
            watcher: None,
            files: HashMap::new(),
            heard: Arc::new(heard),
            is_blind: false,
            is_told: false,
        })
    }

    /// Watches exactly what is on the way to these. To be called again after a change: the way may
    /// be another one now.
    pub fn follow(&mut self, seen: &[Seen]) {
        let mut way = Way {
            watcher: None,
            heard: &self.heard,
            directories: HashMap::new(),
            walked: HashMap::new(),
            looked_out: HashSet::new(),
            asked: HashSet::new(),
            standing: HashMap::new(),
            files: HashMap::new(),
            identities: HashMap::new(),
            is_blind: false,
            trouble: None,
        };
        match begun(&mut self.watcher, &self.heard) {
            Ok(watcher) => {
                way.watcher = Some(watcher);
                way.standing = std::mem::take(&mut self.files);
            }
            Err(error) => way.go_blind(error),
        }
        way.forget();
        for seen in seen {
            way.go(&seen.what);
        }
        way.leave();
        let Way {
            is_blind,
            trouble,
            files,
            ..
        } = way;
        self.files = files;
        self.is_blind = is_blind;
        self.is_told &= is_blind;
        if let Some(error) = trouble
            && !std::mem::replace(&mut self.is_told, true)
        {
            warn(error);
        }
    }

    /// Whether a change may go without a notice.
    pub fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// Can be read when there is a notice.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.heard.news.as_fd()
    }

    /// Whether there was a notice since this was asked last.
    pub fn has_news(&self) -> bool {
        rustix::io::read(&self.heard.news, &mut [0; 8]).is_ok()
    }
}

/// The watcher, if it has its thread: without one it panics when something is to be watched, and
/// when it is dropped.
fn begun<'w>(
    watcher: &'w mut Option<RecommendedWatcher>,
    heard: &Arc<Heard>,
) -> notify::Result<&'w mut RecommendedWatcher> {
    let watcher = if let Some(watcher) = watcher {
        watcher
    } else {
        let heard = Arc::clone(heard);
        let hear = move |event| heard.hear(event);
        watcher.insert(RecommendedWatcher::new(hear, Config::default())?)
    };
    watcher.configure(Config::default())?;
    Ok(watcher)
}

fn warn(error: notify::Error) {
    let place = error.paths.first();
    let place = place.map_or_else(String::new, |place| format!(" of {}", place.display()));
    let no_instance = Some(Errno::MFILE.raw_os_error());
    let cause = match error.kind {
        ErrorKind::MaxFilesWatch => {
            "no more can be watched; raise fs.inotify.max_user_watches".to_owned()
        }
        ErrorKind::Io(error) if error.raw_os_error() == no_instance => {
            format!("{error}; raise fs.inotify.max_user_instances")
        }
        kind => notify::Error::new(kind).to_string(),
    };
    tracing::warn!(
        "the kernel does not tell of changes{place}: {cause}. The configuration is looked at every \
         2 seconds instead"
    );
}

fn has_gone(error: &notify::Error) -> bool {
    let gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    matches!(error.kind, ErrorKind::PathNotFound) || is_io(error, &gone)
}

fn is_io(error: &notify::Error, kinds: &[io::ErrorKind]) -> bool {
    matches!(&error.kind, ErrorKind::Io(error) if kinds.contains(&error.kind()))
}

impl Heard {
    fn interest(&self) -> MutexGuard<'_, Interest> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: notify::Result<Event>) {
        if self.interest().is_touched(event) {
            let _ = rustix::io::write(&self.news, &1_u64.to_ne_bytes());
        }
    }
}

impl Interest {
    /// Whether a notice matters.
    fn is_touched(&mut self, event: notify::Result<Event>) -> bool {
        let event = event.ok().filter(|event| !event.need_rescan());
        let Some(event) = event else {
            self.is_shaken = true;
            return true;
        };
        // Who reads changes nothing, and this server reads.
        if matches!(event.kind, EventKind::Access(_)) {
            return false;
        }
        let mut matters = false;
        for path in event.paths {
            let directory = path.parent();
            matters |= directory.is_some_and(|directory| self.listed.contains(directory));
            if self.paths.contains(&path) {
                matters = true;
                self.touched.insert(path);
            }
        }
        matters
    }
}

/// A walk to all that is followed.
struct Way<'n> {
    watcher: Option<&'n mut RecommendedWatcher>,
    heard: &'n Heard,
    /// The directories on it by device and inode, and the path under which each is watched: what is
    /// mounted in two places is watched once, and heard of in one.
    directories: HashMap<Identity, PathBuf>,
    /// The directories of names that were gone to: where each is, and the path under which it is heard
    /// of.
    walked: HashMap<PathBuf, (PathBuf, PathBuf)>,
    /// Those that were looked at for changes from elsewhere.
    looked_out: HashSet<PathBuf>,
    /// Names that were gone to.
    asked: HashSet<PathBuf>,
    /// Files whose watch holds if they are the same.
    standing: HashMap<PathBuf, Identity>,
    /// The files of one name that are watched.
    files: HashMap<PathBuf, Identity>,
    /// The path under which each was watched last.
    identities: HashMap<Identity, PathBuf>,
    is_blind: bool,
    /// What is to be told of that.
    trouble: Option<notify::Error>,
}

impl Way<'_> {
    /// Gives up all watches but those of files that no notice was of, nor of what they lie in.
    fn forget(&mut self) {
        let before = std::mem::take(&mut *self.heard.interest());
        let mut touched = before.touched.iter();
        if before.is_shaken || !touched.all(|path| self.standing.contains_key(path)) {
            self.standing.clear();
        }
        let standing = &mut self.standing;
        standing.retain(|path, _| !before.touched.contains(path));
        let (stand, go): (HashSet<_>, HashSet<_>) = before
            .paths
            .into_iter()
            .partition(|path| standing.contains_key(path));
        self.heard.interest().paths.extend(stand);
        for path in go {
            self.unwatch(&path);
        }
    }

    /// Gives up the watches of files that are not followed any more.
    fn leave(&mut self) {
        for path in std::mem::take(&mut self.standing).into_keys() {
            self.heard.interest().paths.remove(&path);
            self.unwatch(&path);
        }
    }

    fn unwatch(&mut self, path: &Path) {
        if let Some(watcher) = &mut self.watcher {
            // It may have gone, or be but a name.
            let _ = watcher.unwatch(path);
        }
    }

    /// Watches each directory before it looks into it: what changes later is noticed.
    fn go(&mut self, what: &What) {
        let place = what.place();
        let path = match std::path::absolute(&place) {
            Ok(path) => path,
            Err(error) => return self.go_blind(notify::Error::io(error).add_path(place)),
        };
        let is_pattern = matches!(what, What::Pattern { .. });
        if !is_pattern && !self.asked.insert(path.clone()) {
            return;
        }
        let here = self.end_of(&path);
        if is_pattern {
            let heard_of = self.directory(&here);
            self.heard.interest().listed.insert(heard_of);
        }
        self.look_out(&here);
    }

    /// The last directory on the way to what an absolute path names; a file at its end is watched.
    fn end_of(&mut self, path: &Path) -> PathBuf {
        let walked = path.parent().and_then(|parent| self.walked.get(parent));
        let (mut here, mut heard_of, mut ahead) = match (walked, path.file_name()) {
            (Some((here, heard_of)), Some(name)) => {
                let last = vec![Part::Name(name.to_owned())];
                (here.clone(), Some(heard_of.clone()), last)
            }
            _ => (PathBuf::from("/"), None, parts(path)),
        };
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            let name = match part {
                Part::Root => {
                    here = PathBuf::from("/");
                    continue;
                }
                Part::Up => {
                    here.pop();
                    continue;
                }
                Part::Name(name) => name,
            };
            let next = here.join(&name);
            let directory = heard_of.take().unwrap_or_else(|| self.directory(&here));
            self.heard.interest().paths.insert(directory.join(&name));
            if ahead.is_empty() && links == 0 && path.file_name() == Some(&name) {
                let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
                self.walked.insert(parent, (here.clone(), directory));
            }
            let Ok(stat) = lstat(&next) else {
                // It may appear, and then it is noticed here.
                return here;
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink if links < LINKS => {
                    links += 1;
                    if let Ok(target) = std::fs::read_link(&next) {
                        ahead.extend(parts(&target));
                    }
                }
                FileType::Directory => here = next,
                _ => {
                    self.file(&next, &stat);
                    return here;
                }
            }
        }
        self.directory(&here);
        here
    }

    /// Sees to it that a file is watched.
    fn file(&mut self, path: &Path, stat: &Stat) {
        let identity = (stat.st_dev, stat.st_ino);
        let is_watched = match self.standing.remove(path) {
            Some(before) if before == identity && stat.st_nlink == 1 => true,
            Some(_) => {
                self.unwatch(path);
                self.watch(path)
            }
            None => self.files.get(path) == Some(&identity) || self.watch(path),
        };
        if !is_watched || stat.st_nlink != 1 {
            return;
        }
        // What is mounted in two places has one watch for both.
        match self.identities.insert(identity, path.to_owned()) {
            Some(other) if other != path => {
                self.files.remove(&other);
            }
            _ => {
                self.files.insert(path.to_owned(), identity);
            }
        }
    }

    /// Sees to it that a directory is watched. Returns the path under which it is heard of.
    fn directory(&mut self, path: &Path) -> PathBuf {
        let Ok(stat) = lstat(path) else {
            // It has gone in this moment, which its own directory tells.
            return path.to_owned();
        };
        match self.directories.entry((stat.st_dev, stat.st_ino)) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                new.insert(path.to_owned());
                self.watch(path);
                path.to_owned()
            }
        }
    }

    /// Whether that was possible.
    fn watch(&mut self, path: &Path) -> bool {
        self.heard.interest().paths.insert(path.to_owned());
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        match watcher.watch(path, RecursiveMode::NonRecursive) {
            Ok(()) => return true,
            // If it has gone in this moment, its directory tells.
            Err(error) if has_gone(&error) => {}
            Err(error) => self.go_blind(error),
        }
        false
    }

    fn go_blind(&mut self, error: notify::Error) {
        self.is_blind = true;
        // Another user's directory on the way: nothing is wrong.
        if !is_io(&error, &[io::ErrorKind::PermissionDenied]) {
            self.trouble.get_or_insert(error);
        }
    }

    /// Where changes come from elsewhere, there is no notice of them.
    fn look_out(&mut self, directory: &Path) {
        if !self.looked_out.insert(directory.to_owned()) {
            return;
        }
        // One that is gone or closed is heard of by its own directory.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory, flags, Mode::empty());
        self.is_blind |= opened.is_ok_and(|directory| !tells_changes(directory));
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, thread, time::Duration};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn following(paths: &[&Path]) -> Notices {
        let mut notices = Notices::new().unwrap();
        follow(&mut notices, paths);
        notices
    }

    fn follow(notices: &mut Notices, paths: &[&Path]) {
        let seen: Vec<_> = paths.iter().map(|path| Seen::path(path)).collect();
        notices.follow(&seen);
        notices.has_news();
    }

    /// Waits for a notice.
    fn tells(notices: &Notices) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(notices.fd(), PollFlags::IN)];
        let hang = Timespec::try_from(Duration::from_secs(20)).unwrap();
        poll(&mut fds, Some(&hang)).unwrap();
        // What else there is of the same change.
        thread::sleep(Duration::from_millis(20));
        notices.has_news()
    }

    fn is_silent(notices: &Notices) -> bool {
        thread::sleep(Duration::from_millis(50));
        !notices.has_news()
    }

    #[test]
    fn changes_of_what_is_followed_are_told_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a"), "one").unwrap();
        fs::create_dir(at("sites.d")).unwrap();
        let mut notices = following(&[&at("a"), &at("none/b")]);
        let pattern = Seen::pattern("sites.d/*", &at("a"));
        notices.follow(&[Seen::path(&at("a")), Seen::path(&at("none/b")), pattern]);
        fs::read(at("a")).unwrap();
        fs::write(at("other"), "").unwrap();
        assert!(is_silent(&notices));
        fs::write(at("a"), "two").unwrap();
        assert!(tells(&notices));
        fs::create_dir(at("none")).unwrap();
        assert!(tells(&notices));
        fs::write(at("sites.d/new"), "").unwrap();
        assert!(tells(&notices));
        // What is followed again tells nothing by itself, and what no longer is, nothing at all.
        follow(&mut notices, &[&at("sites.d")]);
        fs::write(at("a"), "three").unwrap();
        fs::write(at("sites.d/newer"), "").unwrap();
        assert!(is_silent(&notices));
    }

    #[test]
    fn a_file_that_was_replaced_is_watched_as_its_successor() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a"), "").unwrap();
        let mut notices = following(&[&at("a")]);
        // The last write is by a name that is not followed, so only the file tells.
        for round in 0..20 {
            for _ in 0..=round % 3 {
                fs::write(at("new"), "").unwrap();
                fs::rename(at("new"), at("a")).unwrap();
            }
            assert!(tells(&notices));
            follow(&mut notices, &[&at("a")]);
            let _ = fs::remove_file(at("link"));
            fs::hard_link(at("a"), at("link")).unwrap();
            // Which counts as a change of the file.
            assert!(tells(&notices));
            fs::write(at("link"), "more").unwrap();
            assert!(tells(&notices));
        }
    }

    #[test]
    fn what_no_notice_was_of_is_followed_as_before() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("d")).unwrap();
        let names = ["d/a", "d/b", "d/c"].map(at);
        for name in &names {
            fs::write(name, "").unwrap();
        }
        let followed = names.each_ref().map(PathBuf::as_path);
        let mut notices = following(&followed);
        for _ in 0..3 {
            fs::write(at("d/new"), "").unwrap();
            fs::rename(at("d/new"), at("d/a")).unwrap();
            assert!(tells(&notices));
            follow(&mut notices, &followed);
            // A link of it elsewhere: only the file itself tells of what is written there.
            fs::hard_link(at("d/b"), at("link")).unwrap();
            assert!(tells(&notices));
            follow(&mut notices, &followed);
            fs::write(at("link"), "more").unwrap();
            assert!(tells(&notices));
            fs::remove_file(at("link")).unwrap();
            follow(&mut notices, &followed);
            // With their directory they go, and come back.
            fs::rename(at("d"), at("away")).unwrap();
            assert!(tells(&notices));
            follow(&mut notices, &followed);
            fs::rename(at("away"), at("d")).unwrap();
            assert!(tells(&notices));
            follow(&mut notices, &followed);
        }
        follow(&mut notices, &followed[..2]);
        fs::write(at("d/c"), "more").unwrap();
        assert!(is_silent(&notices));
    }

    #[test]
    fn two_names_of_a_file_are_followed_each_for_itself() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a"), "").unwrap();
        fs::hard_link(at("a"), at("b")).unwrap();
        fs::hard_link(at("a"), at("c")).unwrap();
        symlink("b", at("link")).unwrap();
        let mut notices = following(&[&at("a"), &at("b"), &at("link")]);
        for rest in [[&at("a"), &at("link")], [&at("link"), &at("b")]] {
            fs::write(at("c"), "c").unwrap();
            assert!(tells(&notices));
            follow(&mut notices, &rest.map(PathBuf::as_path));
        }
        fs::remove_file(at("a")).unwrap();
        assert!(tells(&notices));
        follow(&mut notices, &[&at("link")]);
        fs::write(at("c"), "more").unwrap();
        assert!(tells(&notices));
    }
}
