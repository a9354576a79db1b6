//! What was looked at, and whether anything has happened to it since.
//!
//! The kernel puts an event into the queue of an inotify instance before the system call returns
//! that has changed something. So whoever looks at the queue before it answers from memory answers
//! with what is there: [`Watch::refresh`] is that look, one `poll` for a whole request.
//!
//! A directory is watched for its names, a file for its content: writes through another name of a
//! file (a hard link) tell the file, not the directory that it was found in. What the queue does
//! not tell is said in `filesystem`, and a mount is told by the table of mounts.

use std::{
    collections::HashMap,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
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
    .union(WatchFlags::ONLYDIR);

/// What changes a file: a write, its end (which is all that tells of writes through a mapping),
/// a change of its metadata or of the names it has.
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
    queue: OwnedFd,
    /// Whether a thread has taken events out of the queue that it has not acted on yet.
    is_draining: AtomicBool,
    /// What was looked at in an earlier one counts for nothing.
    epoch: AtomicU64,
    table: Mutex<Table>,
    /// What nodes have watched that are gone.
    released: Mutex<Vec<Use>>,
    has_warned: AtomicBool,
}

/// What is watched, by the kernel's number for it.
#[derive(Debug, Default)]
struct Table(HashMap<i32, Watched>);

/// A watched directory or file.
#[derive(Debug, Default)]
struct Watched {
    uses: usize,
    /// Who depends on it itself.
    own: Vec<Weak<Node>>,
    /// Who depends on a name in it.
    names: HashMap<Box<[u8]>, Vec<Weak<Node>>>,
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
    pub fn start() -> Result<Self, Errno> {
        Ok(Self {
            queue: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
            is_draining: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            table: Mutex::default(),
            released: Mutex::default(),
            has_warned: AtomicBool::new(false),
        })
    }

    /// Whatever happened before this call shows in [`Node::is_valid`] after it.
    pub fn refresh(&self) {
        let waiting = MOUNTS.with(|mounts| {
            let queue = PollFd::new(&self.queue, PollFlags::IN);
            // Without the table nothing is watched.
            let Some(mounts) = mounts.get(self) else {
                return PollFlags::empty();
            };
            let mut sources = [queue, PollFd::new(mounts, PollFlags::PRI)];
            if poll(&mut sources, Some(&Timespec::default())).is_err() {
                // As if something had happened.
                self.begin_anew();
            }
            if !sources[1].revents().is_empty() {
                self.begin_anew();
            }
            sources[0].revents()
        });
        if !waiting.is_empty() {
            self.drain();
        } else if self.is_draining.load(Ordering::Acquire) {
            drop(self.table());
        }
    }

    /// Forgets all that was looked at.
    fn begin_anew(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes the events that are in the queue.
    fn drain(&self) {
        let mut table = self.table();
        self.is_draining.store(true, Ordering::Release);
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.queue, &mut buffer);
        for count in 0.. {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    self.begin_anew();
                    self.warn("the queue of inotify is too short for the changes of files that are made (fs.inotify.max_queued_events)");
                }
                Ok(event) => {
                    let name = event.file_name().map(std::ffi::CStr::to_bytes);
                    table.apply(event.wd(), event.events(), name);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.begin_anew();
                    break;
                }
            }
            if count == EVENTS {
                self.begin_anew();
                break;
            }
        }
        self.is_draining.store(false, Ordering::Release);
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
        let name = folded(name);
        let mut table = self.table();
        let watched = table.0.get_mut(&directory).ok_or(Errno::NOENT)?;
        watched.uses += 1;
        let dependents = watched.names.entry(name.clone()).or_default();
        dependents.push(Arc::downgrade(node));
        node.note(directory, Some(name));
        Ok(())
    }

    fn watch(&self, node: &Arc<Node>, fd: impl AsFd, what: WatchFlags) -> Result<i32, Errno> {
        let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
        let mut table = self.table();
        self.release(&mut table);
        let number = inotify::add_watch(&self.queue, path, what).inspect_err(|error| {
            if matches!(*error, Errno::NOSPC | Errno::NOMEM) {
                self.warn("no more files can be watched (fs.inotify.max_user_watches)");
            }
        })?;
        let watched = table.0.entry(number).or_default();
        watched.uses += 1;
        watched.own.push(Arc::downgrade(node));
        node.note(number, None);
        Ok(number)
    }

    /// Ends the watches that nobody needs any more.
    fn release(&self, table: &mut Table) {
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

    fn warn(&self, what: &str) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("files are looked at with each request now and then: {what}");
        }
    }

    /// How many directories and files are watched.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        let mut table = self.table();
        self.release(&mut table);
        table.0.len()
    }
}

impl Table {
    fn apply(&mut self, number: i32, what: ReadFlags, name: Option<&[u8]>) {
        let Some(watched) = self.0.get(&number) else {
            return;
        };
        let dependents = match name {
            Some(name) => watched.names.get(&folded(name)),
            None => Some(&watched.own),
        };
        touch(dependents.into_iter().flatten());
        // The kernel has ended the watch.
        if what.contains(ReadFlags::IGNORED) {
            touch(watched.names.values().flatten());
            self.0.remove(&number);
        }
    }

    /// Whether that was the last use.
    fn release(&mut self, used: &Use) -> bool {
        let Some(watched) = self.0.get_mut(&used.number) else {
            return false;
        };
        let is_alive = |node: &Weak<Node>| node.strong_count() > 0;
        match &used.name {
            None => watched.own.retain(is_alive),
            Some(name) => {
                if let Some(dependents) = watched.names.get_mut(name) {
                    dependents.retain(is_alive);
                    if dependents.is_empty() {
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

/// Something has happened to what these depend on.
fn touch<'n>(nodes: impl Iterator<Item = &'n Weak<Node>>) {
    for node in nodes {
        if let Some(node) = node.upgrade() {
            node.is_untouched.store(false, Ordering::Release);
        }
    }
}

/// Names that a directory may take for the same, where it does not tell large letters from small
/// ones, are one.
fn folded(name: &[u8]) -> Box<[u8]> {
    name.to_ascii_lowercase().into()
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

/// The table of mounts, which tells each descriptor of it once that it has changed.
struct Mounts(std::cell::OnceCell<Option<OwnedFd>>);

thread_local! {
    static MOUNTS: Mounts = const { Mounts(std::cell::OnceCell::new()) };
}

impl Mounts {
    fn get(&self, watch: &Watch) -> Option<&OwnedFd> {
        let open = || {
            // What was changed before nobody has told to this thread.
            watch.begin_anew();
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::open("/proc/self/mountinfo", flags, Mode::empty()).ok()
        };
        self.0.get_or_init(open).as_ref()
    }
}
