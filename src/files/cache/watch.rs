//! What was looked at, and whether anything has happened to it since.
//!
//! The kernel puts an event into the queue of an inotify instance before the system call returns
//! that has changed something. So whoever looks at the queue before it answers from memory answers
//! with what is there: [`Watch::refresh`] is that look, one `epoll_wait` for a whole request.
//!
//! A directory is watched for its names, a file for its content: writes through another name of a
//! file (a hard link) tell the file, not the directory that it was found in. Mounts are told by their
//! table. What nobody tells is said in `fs::filesystem`; and writes through a mapping or by `io_submit(2)`
//! are told only when the file is closed.

use std::{
    cell::RefCell,
    collections::HashMap,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll, poll},
    fs::{
        Mode, OFlags,
        inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    },
    io::Errno,
};

/// What changes which names a directory has, or who may look for them.
const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// What changes a file: a write, the end of writing, a change of its metadata or of its names.
const CONTENT: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE_SELF);

/// So many events are taken at once: as many as the queue of a kernel with its defaults holds. Where
/// there are more, all is looked at anew: nobody who makes events keeps a request waiting.
const EVENTS: usize = 16_384;

/// An inotify instance and what is watched by it.
#[derive(Debug)]
pub(super) struct Watch {
    /// What no other of the process has.
    id: u64,
    queue: OwnedFd,
    /// Whether a thread has taken events out of the queue that it has not acted on yet.
    is_draining: AtomicBool,
    /// What was looked at in an earlier one counts for nothing.
    epoch: AtomicU64,
    /// Counts whatever has happened.
    generation: Arc<AtomicU64>,
    table: Mutex<Table>,
    /// What nodes have watched that are gone.
    released: Mutex<Vec<Use>>,
    has_overflowed: AtomicBool,
    is_used_up: AtomicBool,
}

/// What is watched, by the kernel's number for it.
#[derive(Debug, Default)]
struct Table(HashMap<i32, Watched>);

/// A watched directory or file.
#[derive(Debug, Default)]
struct Watched {
    uses: usize,
    /// Who depends on it itself.
    own: Dependents,
    /// Who depends on a name in it.
    names: HashMap<Box<[u8]>, Dependents>,
}

/// Nodes, of which some may be gone.
#[derive(Debug, Default)]
struct Dependents {
    nodes: Vec<Weak<Node>>,
    /// How many are not released.
    uses: usize,
}

/// A watch, and the name in the directory if it is about one.
#[derive(Debug)]
struct Use {
    number: i32,
    name: Option<Box<[u8]>>,
}

/// Something that was looked up: valid until an event says otherwise.
#[derive(Debug)]
pub(super) struct Node {
    watch: Arc<Watch>,
    epoch: u64,
    is_untouched: AtomicBool,
    /// The directory that it was looked up in.
    parent: Option<Arc<Node>>,
    uses: Mutex<Vec<Use>>,
}

impl Watch {
    /// An instance that watches nothing.
    pub fn start(generation: Arc<AtomicU64>) -> Result<Self, Errno> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            queue: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
            is_draining: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            generation,
            table: Mutex::default(),
            released: Mutex::default(),
            has_overflowed: AtomicBool::new(false),
            is_used_up: AtomicBool::new(false),
        })
    }

    /// Whatever happened before this call shows in [`Node::is_valid`] after it. Answers whether that
    /// could be found out.
    pub fn refresh(&self) -> bool {
        let look = |sources: &RefCell<Option<Sources>>| {
            let mut sources = sources.borrow_mut();
            if sources.as_ref().is_none_or(|known| known.of != self.id) {
                *sources = Some(Sources::of(self)?);
                // What has changed before, nobody has told to this thread.
                self.begin_anew();
            }
            sources
                .as_ref()
                .map_or(Ok(()), |sources| self.look(sources))
        };
        SOURCES.with(look).is_ok()
    }

    fn look(&self, sources: &Sources) -> Result<(), Errno> {
        let mut ready = [MaybeUninit::uninit(); 2];
        let (ready, _) = epoll::wait(&sources.epoll, &mut ready, Some(&Timespec::default()))?;
        let is_ready = |source| ready.iter().any(|event| event.data.u64() == source);
        if is_ready(MOUNTS) {
            self.begin_anew();
        }
        if is_ready(QUEUE) {
            self.drain();
        } else {
            self.wait_for_draining();
        }
        Ok(())
    }

    /// The same on any thread, though mounts show only on one that has refreshed before: another would
    /// begin anew.
    pub fn take_note(&self) {
        let look = |sources: &RefCell<Option<Sources>>| {
            let sources = sources.borrow();
            let known = sources.as_ref().filter(|known| known.of == self.id);
            known.is_some_and(|known| self.look(known).is_ok())
        };
        if SOURCES.with(look) {
            return;
        }
        let mut queue = [PollFd::new(&self.queue, PollFlags::IN)];
        if poll(&mut queue, Some(&Timespec::default())) == Ok(0) {
            self.wait_for_draining();
        } else {
            self.drain();
        }
    }

    /// Events that another thread has taken show when it has acted on them.
    fn wait_for_draining(&self) {
        if self.is_draining.load(Ordering::Acquire) {
            drop(self.table());
        }
    }

    /// Forgets all that was looked at.
    fn begin_anew(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Acts on the events that are in the queue.
    fn drain(&self) {
        let mut table = self.table();
        self.is_draining.store(true, Ordering::Release);
        let is_lost = self.take_events(&mut table);
        self.generation.fetch_add(1, Ordering::AcqRel);
        if is_lost {
            self.begin_anew();
        }
        self.is_draining.store(false, Ordering::Release);
        drop(table);
        if is_lost && !self.has_overflowed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "so many files change at once that the cache of files begins anew; if that is so often, \
                 raise fs.inotify.max_queued_events"
            );
        }
    }

    /// Answers whether events were lost.
    fn take_events(&self, table: &mut Table) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.queue, &mut buffer);
        for _ in 0..EVENTS {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => return true,
                Ok(event) => {
                    let name = event.file_name().map(std::ffi::CStr::to_bytes);
                    table.apply(event.wd(), event.events(), name);
                }
                Err(Errno::AGAIN) => return false,
                Err(Errno::INTR) => {}
                Err(_) => return true,
            }
        }
        true
    }

    /// A node for what is about to be looked up, in a directory if that was looked up, too.
    pub fn node(self: &Arc<Self>, parent: Option<&Arc<Node>>) -> Arc<Node> {
        Arc::new(Node {
            watch: Arc::clone(self),
            epoch: self.epoch.load(Ordering::Acquire),
            is_untouched: AtomicBool::new(true),
            parent: parent.cloned(),
            uses: Mutex::default(),
        })
    }

    /// Watches an open directory for its own sake. Returns the number that [`Watch::name`] takes.
    pub fn directory(&self, node: &Arc<Node>, directory: impl AsFd) -> Result<i32, Errno> {
        self.watch(node, directory, NAMES)
    }

    /// Watches the content of an open file.
    pub fn content(&self, node: &Arc<Node>, file: impl AsFd) -> Result<(), Errno> {
        self.watch(node, file, CONTENT).map(|_| ())
    }

    /// Has the node depend on a name in a watched directory. To be called before the name is looked
    /// up there. Fails where the directory is not watched any more.
    pub fn name(&self, node: &Arc<Node>, directory: i32, name: &[u8]) -> Result<(), Errno> {
        let mut table = self.table();
        self.release_from(&mut table);
        let watched = table.0.get_mut(&directory).ok_or(Errno::NOENT)?;
        watched.uses += 1;
        watched.names.entry(name.into()).or_default().add(node);
        node.note(directory, Some(name.into()));
        Ok(())
    }

    fn watch(&self, node: &Arc<Node>, fd: impl AsFd, what: WatchFlags) -> Result<i32, Errno> {
        let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
        let outcome = self.add(node, &path, what);
        if matches!(outcome, Err(Errno::NOSPC | Errno::NOMEM))
            && !self.is_used_up.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "no more files can be watched, so some are looked at with each request: raise \
                 fs.inotify.max_user_watches"
            );
        }
        outcome
    }

    fn add(&self, node: &Arc<Node>, path: &str, what: WatchFlags) -> Result<i32, Errno> {
        let mut table = self.table();
        self.release_from(&mut table);
        let number = inotify::add_watch(&self.queue, path, what)?;
        let watched = table.0.entry(number).or_default();
        watched.uses += 1;
        watched.own.add(node);
        node.note(number, None);
        Ok(number)
    }

    /// Ends the watches that nobody needs any more.
    pub fn release(&self) {
        self.release_from(&mut self.table());
    }

    fn release_from(&self, table: &mut Table) {
        let released = std::mem::take(&mut *lock(&self.released));
        for used in released {
            if table.release(&used) {
                // It may have ended with what it watched.
                let _ = inotify::remove_watch(&self.queue, used.number);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// How many directories and files are watched, and for how many names.
    #[cfg(test)]
    pub fn count(&self) -> (usize, usize) {
        let table = self.table();
        let names = table.0.values().map(|watched| watched.names.len());
        (table.0.len(), names.sum())
    }
}

impl Table {
    fn apply(&mut self, number: i32, what: ReadFlags, name: Option<&[u8]>) {
        let Some(watched) = self.0.get(&number) else {
            return;
        };
        let dependents = match name {
            Some(name) => watched.names.get(name),
            None => Some(&watched.own),
        };
        dependents.into_iter().for_each(Dependents::touch);
        // The kernel has ended the watch.
        if what.contains(ReadFlags::IGNORED) {
            watched.names.values().for_each(Dependents::touch);
            self.0.remove(&number);
        }
    }

    /// Whether that was the last use.
    fn release(&mut self, used: &Use) -> bool {
        let Some(watched) = self.0.get_mut(&used.number) else {
            return false;
        };
        match &used.name {
            None => watched.own.release(),
            Some(name) => {
                if let Some(dependents) = watched.names.get_mut(name) {
                    dependents.release();
                    if dependents.uses == 0 {
                        watched.names.remove(name);
                    }
                }
            }
        }
        watched.uses -= 1;
        let is_last = watched.uses == 0;
        if is_last {
            self.0.remove(&used.number);
        }
        is_last
    }
}

impl Dependents {
    fn add(&mut self, node: &Arc<Node>) {
        self.uses += 1;
        self.nodes.push(Arc::downgrade(node));
    }

    /// One of them is gone. They are looked through only when that is so of most.
    fn release(&mut self) {
        self.uses -= 1;
        if self.nodes.len() > 2 * self.uses {
            self.nodes.retain(|node| node.strong_count() > 0);
        }
    }

    /// Something has happened to what these depend on.
    fn touch(&self) {
        for node in self.nodes.iter().filter_map(Weak::upgrade) {
            node.is_untouched.store(false, Ordering::Release);
        }
    }
}

impl Node {
    /// By which it is watched.
    pub fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// Whether nothing has happened to it, as of the last [`Watch::refresh`].
    pub fn is_valid(&self) -> bool {
        let epoch = self.watch.epoch.load(Ordering::Acquire);
        let mut node = Some(self);
        while let Some(at) = node {
            if at.epoch != epoch || !at.is_untouched.load(Ordering::Acquire) {
                return false;
            }
            node = at.parent.as_deref();
        }
        true
    }

    fn note(&self, number: i32, name: Option<Box<[u8]>>) {
        lock(&self.uses).push(Use { number, name });
    }
}

/// What it has watched is released later: who drops it may hold the table.
impl Drop for Node {
    fn drop(&mut self) {
        let uses = self.uses.get_mut().unwrap_or_else(PoisonError::into_inner);
        lock(&self.watch.released).append(uses);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change of it stops halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a thread asks whether anything has happened. On nearly every look nothing has, and the list of an
/// `epoll` that is asked then is just empty: `poll` would have the kernel go through both sources.
#[derive(Debug)]
struct Sources {
    /// The watch whose queue is one of them.
    of: u64,
    epoll: OwnedFd,
    /// The table of mounts, which tells each descriptor of it once that it has changed.
    _mounts: OwnedFd,
}

/// The queue among the sources.
const QUEUE: u64 = 0;

/// The table of mounts among the sources.
const MOUNTS: u64 = 1;

thread_local! {
    static SOURCES: RefCell<Option<Sources>> = const { RefCell::new(None) };
}

impl Sources {
    fn of(watch: &Watch) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mounts = rustix::fs::open("/proc/self/mountinfo", flags, Mode::empty())?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64;
        epoll::add(&epoll, &watch.queue, data(QUEUE), epoll::EventFlags::IN)?;
        epoll::add(&epoll, &mounts, data(MOUNTS), epoll::EventFlags::PRI)?;
        Ok(Self {
            of: watch.id,
            epoll,
            _mounts: mounts,
        })
    }
}
