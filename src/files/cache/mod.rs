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
mod sight;
mod size;
mod vacancy;
mod watch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::{ArcSwapOption, Guard};
use bytes::Bytes;
use quick_cache::{DefaultHashBuilder, Lifecycle, sync::Cache as Store};

use crate::{
    files::content::{COPIED, IN_MEMORY},
    fs::{Kind, OpenError, Opened, Root, Wait, filesystem},
    semantics::coding::Coding,
};

use directory::{Blind, Directory, RETRY};
pub use entry::{Kept, Stored};
use entry::{Key, Known, NameKey, Thing, Value, Weight};
pub use sight::Sight;
pub use size::Size;
pub use vacancy::Vacancy;
use watch::Watch;

/// How names are looked up.
#[derive(Debug, Clone, Copy)]
pub struct Look<'c> {
    /// Whether it may wait for a disk.
    pub wait: Wait,
    /// What is known already, as of the beginning of the request ([`Cache::current`]).
    pub cache: Option<&'c Sight<'c>>,
}

/// What a name leads to, where that is something.
#[derive(Debug)]
pub enum Named {
    /// A small file that is in memory.
    Kept(Arc<Kept>),
    /// A directory that is known to be there.
    Directory,
    /// Something that was opened, and a place where its content may be kept.
    Opened(Opened, Option<Box<Vacancy>>),
}

/// The cache of the process, shared by all threads.
#[derive(Debug)]
pub struct Cache {
    /// Absent where nothing is to be kept.
    store: ArcSwapOption<Contents>,
    /// Absent where the kernel gives none.
    watch: Option<Arc<Watch>>,
    /// Counts what ends any of what is known.
    generation: Arc<AtomicU64>,
}

type Contents = Store<Key, Value, Weight, DefaultHashBuilder, Dropped>;

/// Counts what is dropped, to have room for more or for what has come in its place, and before it is: with
/// an entry its watch ends, and nobody tells any more what happens to that.
#[derive(Debug, Clone)]
struct Dropped(Arc<AtomicU64>);

impl Lifecycle<Key, Value> for Dropped {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, dropped: Value) {
        self.0.fetch_add(1, Ordering::AcqRel);
        drop(dropped);
    }
}

/// What an entry takes on average, as far as that matters to how the store is laid out.
const AVERAGE: u64 = 8 * 1024;

/// A large file is copied when it was asked for so often. A copy costs about what it saves in four
/// answers, and where there is no room for all, most are dropped before they are used.
const OFTEN: u32 = 16;

impl Look<'_> {
    /// With nothing known.
    pub fn plain(wait: Wait) -> Self {
        Self { wait, cache: None }
    }

    /// Whether all that was looked up so far held at one moment.
    pub(super) fn is_of_a_moment(&self) -> bool {
        self.cache.is_some_and(Sight::is_of_a_moment)
    }

    /// Has what is known end where that has changed by now.
    pub(super) fn take_note(&self) {
        if let Some(watch) = self.cache.and_then(|sight| sight.cache().watch.as_ref()) {
            watch.take_note();
        }
    }

    /// Looks up what `name` leads to below a root, as [`Root::open`] does.
    pub(super) fn open(&self, root: &Root, name: &[u8]) -> Result<Named, OpenError> {
        match self.cache {
            Some(sight) => sight.cache().open(root, name, self.wait, sight),
            None => Ok(Named::Opened(root.open(name, self.wait)?, None)),
        }
    }
}

impl Cache {
    /// An empty cache.
    pub fn new(size: Size) -> Self {
        let generation = Arc::<AtomicU64>::default();
        let watch = Watch::start(Arc::clone(&generation)).inspect_err(|error| {
            tracing::warn!(
                "changes of files are not told ({error}), so every request looks at them: raise \
                 fs.inotify.max_user_instances"
            );
        });
        let cache = Self {
            store: ArcSwapOption::empty(),
            watch: watch.ok().map(Arc::new),
            generation,
        };
        cache.resize(size);
        cache
    }

    /// Keeps so much at most from now on. With another size it begins anew.
    pub fn resize(&self, size: Size) {
        let size = size.bytes();
        let capacity = self.store().as_ref().map_or(0, |store| store.capacity());
        if capacity == size {
            return;
        }
        let items = usize::try_from(size / AVERAGE).unwrap_or(usize::MAX);
        let hashes = DefaultHashBuilder::default();
        let dropped = Dropped(Arc::clone(&self.generation));
        let store = || Store::with(items, size, Weight, hashes, dropped);
        let old = self.store.swap((size > 0).then(store).map(Arc::new));
        // Before the watches end.
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(old);
        if let Some(watch) = &self.watch {
            watch.release();
        }
    }

    /// What is kept, and what may be, in bytes.
    pub fn usage(&self) -> (u64, u64) {
        let store = self.store();
        let store = store.as_ref();
        store.map_or((0, 0), |store| (store.weight(), store.capacity()))
    }

    fn store(&self) -> Guard<Option<Arc<Contents>>> {
        self.store.load()
    }

    /// The cache with all that has happened until now taken note of, for a request that has begun.
    pub fn current(self: &Arc<Self>) -> Option<Sight<'_>> {
        self.store().as_ref()?;
        let is_current = self.watch.as_ref().is_none_or(|watch| watch.refresh());
        is_current.then(|| Sight::of(self))
    }

    fn open(
        &self,
        root: &Root,
        name: &[u8],
        wait: Wait,
        sight: &Sight<'_>,
    ) -> Result<Named, OpenError> {
        // Both are the same name, and with the slash only a directory.
        let bare = name.strip_suffix(b"/").unwrap_or(name);
        let named = self.open_bare(root, bare, wait, sight)?;
        let is_directory = match &named {
            Named::Directory => true,
            Named::Opened(opened, _) => opened.metadata.kind == Kind::Directory,
            Named::Kept(_) => false,
        };
        if bare.len() < name.len() && !is_directory {
            return Err(OpenError::NotFound);
        }
        Ok(named)
    }

    fn open_bare(
        &self,
        root: &Root,
        name: &[u8],
        wait: Wait,
        sight: &Sight<'_>,
    ) -> Result<Named, OpenError> {
        let known = self.known(root, name);
        if let Some(Known::Watched(node, thing)) = known.as_deref()
            && node.is_valid()
        {
            return match thing {
                Thing::Directory(_) => Ok(Named::Directory),
                Thing::File(kept) => Ok(Named::Kept(Arc::clone(kept))),
                Thing::Absent => Err(OpenError::NotFound),
            };
        }
        sight.holds_for_now();
        let Some(known) = known else {
            return self.find(root, name, wait);
        };
        let kept = match &*known {
            Known::Unwatched(kept, since) if since.elapsed() < RETRY => kept,
            Known::Large(asked) => return self.open_large(root, name, wait, asked),
            Known::Watched(..) | Known::Unwatched(..) | Known::Untold(_) => {
                return self.find(root, name, wait);
            }
        };
        let opened = root.open(name, wait)?;
        if kept.is_of(&opened.metadata) {
            return Ok(Named::Kept(Arc::clone(kept)));
        }
        self.forget(root, name);
        Ok(Named::Opened(opened, None))
    }

    /// Opens what was a large file. One that is asked for often is copied.
    fn open_large(
        &self,
        root: &Root,
        name: &[u8],
        wait: Wait,
        asked: &AtomicU32,
    ) -> Result<Named, OpenError> {
        let opened = root.open(name, wait)?;
        if opened.metadata.size <= IN_MEMORY {
            self.forget(root, name);
        } else if opened.metadata.size <= self.largest()
            && asked.fetch_add(1, Ordering::Relaxed) >= OFTEN
        {
            return self.find(root, name, wait);
        }
        Ok(Named::Opened(opened, None))
    }

    /// Whether a file is too large to be kept, or for how often it is asked for. Its turn comes once.
    fn is_passed_over(&self, root: &Root, name: &[u8], size: u64) -> bool {
        if size <= IN_MEMORY {
            return false;
        }
        let known = self.known(root, name).filter(|_| size <= self.largest());
        let is_due = known.is_some_and(|known| match &*known {
            Known::Large(asked) => asked.swap(0, Ordering::Relaxed) > OFTEN,
            _ => false,
        });
        !is_due
    }

    /// What is known of a name does not hold any more: the next request finds out what does.
    fn forget(&self, root: &Root, name: &[u8]) {
        if let Some(store) = &*self.store() {
            store.remove(&Key::name(root.path(), name));
        }
    }

    /// The largest file that is kept: not so large that it drives out many others.
    fn largest(&self) -> u64 {
        let store = self.store();
        let store = store.as_ref();
        store.map_or(0, |store| {
            let share = (store.capacity() / 64).min(store.shard_capacity() / 2);
            share.min(COPIED)
        })
    }

    fn known(&self, root: &Root, name: &[u8]) -> Option<Arc<Known>> {
        let root = root.path();
        match self.store().as_ref()?.get(&NameKey { root, name })? {
            Value::Known(known) => Some(known),
            Value::Coded(_) => None,
        }
    }

    fn keep(&self, root: &Root, name: &[u8], known: Known) {
        if let Some(store) = &*self.store() {
            let value = Value::Known(Arc::new(known));
            store.insert(Key::name(root.path(), name), value);
        }
    }

    /// Looks up a name that nothing is known of, and makes it known.
    fn find(&self, root: &Root, name: &[u8], wait: Wait) -> Result<Named, OpenError> {
        match self.directory_of(root, name, wait) {
            Ok(directory) => self.look_up(&directory, root, name, wait),
            Err(Blind::Absent(node)) => {
                self.keep(root, name, Known::Watched(node, Thing::Absent));
                Err(OpenError::NotFound)
            }
            Err(Blind::WouldWait) => Err(OpenError::WouldWait),
            Err(Blind::Untold) => self.find_unwatched(root, name, wait),
        }
    }

    /// Looks up a name in its directory.
    fn look_up(
        &self,
        directory: &Directory,
        root: &Root,
        name: &[u8],
        wait: Wait,
    ) -> Result<Named, OpenError> {
        let watch = directory.node.watch();
        let node = watch.node(Some(&directory.node));
        if watch.name(&node, directory.number, last(name)).is_err() {
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
        match opened.metadata.kind {
            Kind::File if self.is_passed_over(root, name, opened.metadata.size) => {
                self.keep(root, name, Known::Large(AtomicU32::new(0)));
                Ok(Named::Opened(opened, None))
            }
            Kind::File if filesystem::tells_changes(&opened.fd) => {
                let is_watched = watch.content(&node, &opened.fd).is_ok();
                // Nothing tells that somebody has been writing to a larger one all the while.
                if !is_watched && opened.metadata.size > IN_MEMORY {
                    return Ok(Named::Opened(opened, None));
                }
                let vacancy = self.vacancy(root, name, is_watched.then_some(node), &opened);
                Ok(Named::Opened(opened, vacancy))
            }
            Kind::Directory => {
                let is_told = filesystem::tells_names(&opened.fd);
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
        let vacancy = match opened.metadata.kind {
            Kind::File if opened.metadata.size > IN_MEMORY => {
                self.keep(root, name, Known::Large(AtomicU32::new(0)));
                None
            }
            // Times of what others change, too, are not to be relied on.
            Kind::File if filesystem::tells_changes(&opened.fd) => {
                self.vacancy(root, name, None, &opened)
            }
            _ => None,
        };
        Ok(Named::Opened(opened, vacancy))
    }

    /// A coding of a kept file.
    pub(super) fn coded(&self, kept: &Kept, coding: Coding) -> Option<Bytes> {
        match self.store().as_ref()?.get(&Key::coding(kept, coding))? {
            Value::Coded(bytes) => Some(bytes),
            Value::Known(_) => None,
        }
    }

    /// Keeps a coding of a kept file.
    pub(super) fn keep_coded(&self, kept: &Kept, coding: Coding, bytes: Bytes) {
        if let Some(store) = &*self.store() {
            store.insert(Key::coding(kept, coding), Value::Coded(bytes));
        }
    }
}

/// The last segment of a name.
fn last(name: &[u8]) -> &[u8] {
    name.rsplit(|&byte| byte == b'/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests;
