//! What names lead to, small files and their codings in memory, within a budget.
//!
//! A request that begins after a change of a file or a name has returned sees the change. So
//! everything here was looked up after it was watched, and counts only while nothing has happened
//! to it and to the directories that it was reached by (`watch`). What happens between the one and
//! the other makes it worthless from the beginning.
//!
//! Where changes are not told (a name that leads over a symbolic link, a network's filesystem, no
//! watches left) a file is opened each time, and its content is taken from memory while it is still
//! that version of that file.

mod directory;
mod entry;
mod filesystem;
mod vacancy;
mod watch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use quick_cache::{
    DefaultHashBuilder,
    sync::{Cache as Store, DefaultLifecycle},
};

use crate::{
    files::content::IN_MEMORY,
    fs::{Kind, OpenError, Opened, Root, Wait},
    semantics::coding::Coding,
};

use directory::{Blind, Directory};
pub use entry::Kept;
use entry::{Key, Known, NameKey, Thing, Value, Weight};
pub use vacancy::Vacancy;
use watch::Watch;

/// How names are looked up.
#[derive(Debug, Clone, Copy)]
pub struct Look<'c> {
    /// Whether it may wait for a disk.
    pub wait: Wait,
    /// What is known already, as of the beginning of the request ([`Cache::current`]).
    pub cache: Option<&'c Cache>,
}

/// What a name leads to, where that is something.
#[derive(Debug)]
pub enum Named {
    /// A small file that is in memory.
    Kept(Arc<Kept>),
    /// A directory that is known to be there.
    Directory,
    /// Something that was opened, and a place where its content may be kept.
    Opened(Opened, Option<Vacancy>),
}

/// The cache of the process, shared by all threads.
#[derive(Debug)]
pub struct Cache {
    store: Arc<Contents>,
    /// Absent where the kernel gives none.
    watch: Option<Arc<Watch>>,
    is_on: AtomicBool,
}

type Contents = Store<Key, Value, Weight>;

/// `[cache] size`: what is kept in memory at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A share of the machine's memory.
    Auto,
    /// Bytes; none is no cache.
    Bytes(u64),
}

impl Size {
    fn bytes(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Auto => {
                let system = rustix::system::sysinfo();
                let memory = system.totalram.saturating_mul(system.mem_unit.into());
                (memory / SHARE).clamp(LEAST, MOST)
            }
        }
    }
}

/// The share of a machine's memory, and its bounds.
const SHARE: u64 = 32;
const LEAST: u64 = 4 << 20;
const MOST: u64 = 128 << 20;

/// What an entry takes on average, as far as that matters to how the store is laid out.
const AVERAGE: u64 = 8 * 1024;

impl Look<'_> {
    /// With nothing known.
    pub fn plain(wait: Wait) -> Self {
        Self { wait, cache: None }
    }

    /// Looks up what `name` leads to below a root, as [`Root::open`] does.
    pub(super) fn open(&self, root: &Root, name: &[u8]) -> Result<Named, OpenError> {
        match self.cache {
            Some(cache) => cache.open(root, name, self.wait),
            None => Ok(Named::Opened(root.open(name, self.wait)?, None)),
        }
    }
}

impl Cache {
    /// An empty cache.
    pub fn new(size: Size) -> Self {
        let size = size.bytes();
        let watch = Watch::start()
            .map_err(|error| {
                tracing::warn!(
                    "changes of files are not told ({error}), so every request looks at them: \
                     see fs.inotify.max_user_instances"
                );
            })
            .ok();
        let items = usize::try_from(size / AVERAGE).unwrap_or(usize::MAX);
        let hashes = DefaultHashBuilder::default();
        let store = Store::with(items, size, Weight, hashes, DefaultLifecycle::default());
        Self {
            store: Arc::new(store),
            watch: watch.map(Arc::new),
            is_on: AtomicBool::new(size > 0),
        }
    }

    /// Keeps so much at most from now on; with a size of none it is not asked.
    pub fn resize(&self, size: Size) {
        let size = size.bytes();
        self.is_on.store(size > 0, Ordering::Relaxed);
        if self.store.capacity() != size {
            self.store.set_capacity(size);
        }
    }

    /// The cache with all that has happened until now taken note of, for a request that has begun.
    pub fn current(&self) -> Option<&Self> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(watch) = &self.watch {
            watch.refresh();
        }
        Some(self)
    }

    fn open(&self, root: &Root, name: &[u8], wait: Wait) -> Result<Named, OpenError> {
        // Both are the same name, and with the slash only a directory.
        let bare = name.strip_suffix(b"/").unwrap_or(name);
        let is_directory = bare.len() < name.len();
        let Some(known) = self.known(root, bare) else {
            return self.find(root, name, wait);
        };
        let kept = match &*known {
            Known::Watched(node, thing) if node.is_valid() => match thing {
                Thing::Directory(_) => return Ok(Named::Directory),
                Thing::File(kept) if !is_directory => return Ok(Named::Kept(Arc::clone(kept))),
                Thing::Absent | Thing::File(_) => return Err(OpenError::NotFound),
            },
            Known::Watched(..) | Known::Untold(_) => return self.find(root, name, wait),
            Known::Unwatched(kept) => Some(kept),
            Known::Large => None,
        };
        let opened = root.open(name, wait)?;
        match kept {
            Some(kept) if kept.is_of(&opened.metadata) => Ok(Named::Kept(Arc::clone(kept))),
            None if opened.metadata.size > IN_MEMORY => Ok(Named::Opened(opened, None)),
            // It has become something else: the next request finds out what.
            _ => {
                self.store.remove(&Key::name(root.path(), bare));
                Ok(Named::Opened(opened, None))
            }
        }
    }

    fn known(&self, root: &Root, name: &[u8]) -> Option<Arc<Known>> {
        let root = root.path();
        match self.store.get(&NameKey { root, name })? {
            Value::Known(known) => Some(known),
            Value::Coded(_) => None,
        }
    }

    fn keep(&self, root: &Root, name: &[u8], known: Known) {
        let value = Value::Known(Arc::new(known));
        self.store.insert(Key::name(root.path(), name), value);
    }

    /// Looks up a name that nothing is known of, and makes it known.
    fn find(&self, root: &Root, name: &[u8], wait: Wait) -> Result<Named, OpenError> {
        let bare = name.strip_suffix(b"/").unwrap_or(name);
        let outcome = match self.directory_of(root, bare, wait) {
            Ok(directory) => self.look_up(&directory, root, bare, wait),
            Err(Blind::Absent(node)) => {
                self.keep(root, bare, Known::Watched(node, Thing::Absent));
                return Err(OpenError::NotFound);
            }
            Err(Blind::WouldWait) => return Err(OpenError::WouldWait),
            Err(Blind::Untold) => return self.find_unwatched(root, name, wait),
        };
        match outcome? {
            // With a slash at its end a name is only that of a directory.
            Named::Opened(opened, _)
                if bare.len() < name.len() && opened.metadata.kind != Kind::Directory =>
            {
                Err(OpenError::NotFound)
            }
            named => Ok(named),
        }
    }

    /// Looks up a name in its directory. The name has no slash at its end.
    fn look_up(
        &self,
        (parent, number): &Directory,
        root: &Root,
        name: &[u8],
        wait: Wait,
    ) -> Result<Named, OpenError> {
        let watch = parent.watch();
        let node = watch.node(Some(parent));
        if watch.name(&node, *number, last(name)).is_err() {
            return self.find_unwatched(root, name, wait);
        }
        let opened = match root.open_straight(name, wait) {
            Ok(opened) => opened,
            Err(OpenError::NotFound) => {
                self.keep(root, name, Known::Watched(node, Thing::Absent));
                return Err(OpenError::NotFound);
            }
            // Perhaps over a link that may be followed.
            Err(OpenError::Outside) => return self.find_unwatched(root, name, wait),
            Err(error) => return Err(error),
        };
        let is_told = filesystem::tells_changes(&opened.fd);
        match opened.metadata.kind {
            Kind::File if opened.metadata.size > IN_MEMORY => {
                self.keep(root, name, Known::Large);
                Ok(Named::Opened(opened, None))
            }
            Kind::File if is_told => {
                let is_watched = watch.content(&node, &opened.fd).is_ok();
                let vacancy = self.vacancy(root, name, is_watched.then_some(node));
                Ok(Named::Opened(opened, Some(vacancy)))
            }
            Kind::Directory => {
                let number = is_told.then(|| watch.directory(&node, &opened.fd));
                let known = match number {
                    Some(Ok(number)) => Known::Watched(node, Thing::Directory(number)),
                    Some(Err(_)) | None => Known::Untold(Instant::now()),
                };
                self.keep(root, name, known);
                Ok(Named::Directory)
            }
            Kind::File | Kind::Other => Ok(Named::Opened(opened, None)),
        }
    }

    /// What has to be looked at each time.
    fn find_unwatched(&self, root: &Root, name: &[u8], wait: Wait) -> Result<Named, OpenError> {
        let opened = root.open(name, wait)?;
        let metadata = &opened.metadata;
        let is_small = metadata.kind == Kind::File && metadata.size <= IN_MEMORY;
        // Times of what others change, too, are not to be relied on.
        let vacancy = is_small && filesystem::tells_changes(&opened.fd);
        let vacancy = vacancy.then(|| self.vacancy(root, name, None));
        Ok(Named::Opened(opened, vacancy))
    }

    /// A coding of a kept file.
    pub(super) fn coded(&self, kept: &Kept, coding: Coding) -> Option<Bytes> {
        match self.store.get(&Key::coding(kept, coding))? {
            Value::Coded(bytes) => Some(bytes),
            Value::Known(_) => None,
        }
    }

    /// Keeps a coding of a kept file.
    pub(super) fn keep_coded(&self, kept: &Kept, coding: Coding, bytes: Bytes) {
        let key = Key::coding(kept, coding);
        self.store.insert(key, Value::Coded(bytes));
    }
}

/// The last segment of a name.
fn last(name: &[u8]) -> &[u8] {
    name.rsplit(|&byte| byte == b'/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests;
