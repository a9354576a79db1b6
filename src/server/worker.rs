//! A worker: one thread, one runtime, its share of the connections.
//!
//! A connection stays with the worker that accepted it, so nothing about it is shared between
//! threads. Workers share the listening sockets, the snapshot and the queue of records.

use std::{
    cell::Cell,
    collections::HashMap,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::Sender,
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    task::AbortHandle,
    time::timeout,
};

use crate::{
    server::{
        connection,
        current::Current,
        error::StartError,
        event::Event,
        listener::{Accepted, Acceptor, Listener},
    },
    service::Service,
    transport::{Connection, Listen},
};

/// Threads for look-ups and reads that would wait for a disk, per worker.
const BLOCKING_THREADS: usize = 16;

/// How long connections are accepted from a listener where none begin any more: a handshake may take
/// so long. A client whose first SYN was dropped sends another one after a second, to whoever listens
/// then.
const HANDSHAKE: Duration = Duration::from_millis(500);

/// So many connections over the limit are kept for a moment: a part of the reserve of descriptors.
const TURNED_AWAY: usize = 64;

/// What all workers of the process count together.
#[derive(Debug)]
pub struct Counters {
    /// Connections that there are descriptors for.
    pub fitting: usize,
    /// Connections ever accepted; gives each its id.
    accepted: AtomicU64,
    /// Connections that are open.
    open: AtomicUsize,
    /// Connections over the limit whose clients are given time to read that they are.
    turned_away: Arc<Semaphore>,
}

impl Counters {
    /// Nothing yet, and descriptors for so many connections.
    pub fn new(fitting: usize) -> Arc<Self> {
        Arc::new(Self {
            fitting,
            accepted: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY.min(fitting / 2))),
        })
    }

    /// A place for a connection over the limit, so that its client can read that it is; where there
    /// is none, it may see a reset instead.
    pub fn turn_away(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turned_away).try_acquire_owned().ok()
    }
}

/// What the server tells a worker.
#[derive(Debug)]
enum Command {
    /// Accept from exactly these.
    Listen(Vec<Arc<Listener>>),
    /// Accept no more; finish what was begun, for so long at most, and end.
    Drain(Duration),
}

/// The server's handle of a worker.
#[derive(Debug)]
pub struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

/// What the connections of one worker share.
#[derive(Debug)]
pub struct Shared {
    /// The configuration in force.
    pub current: Current,
    /// What requests are served with.
    pub service: Service,
    /// Tells every connection that the server drains.
    pub drain: Notify,
    /// Whether it does.
    pub draining: Cell<bool>,
    /// What all workers count.
    pub counters: Arc<Counters>,
    /// Told whenever a connection ends.
    ended: Notify,
    open: Cell<usize>,
}

impl Worker {
    /// Starts a worker that listens to nothing yet.
    pub fn start(
        number: usize,
        current: Current,
        service: Service,
        counters: Arc<Counters>,
        events: Sender<Event>,
    ) -> Result<Self, StartError> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                // Told when the thread ends, also by a panic outside of a connection's task.
                let _ended = Ended(events);
                let shared = Shared {
                    current,
                    service,
                    drain: Notify::new(),
                    draining: Cell::new(false),
                    counters,
                    ended: Notify::new(),
                    open: Cell::new(0),
                };
                if let Err(error) = run(Rc::new(shared), receiver) {
                    tracing::error!("a worker cannot run: {error}");
                }
            })
            .map_err(StartError::system("starting a worker thread"))?;
        Ok(Self { commands, thread })
    }

    /// Accepts from exactly these listeners from now on.
    pub fn listen(&self, listeners: &[Arc<Listener>]) {
        let _ = self.commands.send(Command::Listen(listeners.to_vec()));
    }

    /// Accepts no more, and lets what was begun finish within `grace`.
    pub fn drain(&self, grace: Duration) {
        let _ = self.commands.send(Command::Drain(grace));
    }

    /// Waits until the worker has ended.
    pub fn join(self) {
        // A panic has been reported by the panic hook.
        let _ = self.thread.join();
    }
}

struct Ended(Sender<Event>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.send(Event::WorkerEnded);
    }
}

fn run(shared: Rc<Shared>, commands: mpsc::UnboundedReceiver<Command>) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build_local(LocalOptions::default())?;
    runtime.block_on(obey(shared, commands));
    runtime.shutdown_background();
    Ok(())
}

/// A task that accepts from one listener.
struct Accepting {
    task: AbortHandle,
    /// Has it accept what waits, and end.
    close: Rc<Notify>,
}

/// Follows the server's commands until it says to drain, or is gone.
async fn obey(shared: Rc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut accepting: HashMap<Listen, Accepting> = HashMap::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen(listeners) => listen(&shared, &mut accepting, &listeners),
            Command::Drain(grace) => {
                for (_, accept) in accepting.drain() {
                    accept.task.abort();
                }
                let _ = timeout(grace, drained(&shared)).await;
                return;
            }
        }
    }
}

fn listen(
    shared: &Rc<Shared>,
    accepting: &mut HashMap<Listen, Accepting>,
    listeners: &[Arc<Listener>],
) {
    accepting.retain(|address, accept| {
        let wanted = listeners
            .iter()
            .any(|listener| *listener.listen == *address);
        if !wanted {
            accept.close.notify_one();
        }
        wanted
    });
    for listener in listeners {
        if accepting.contains_key(&*listener.listen) {
            continue;
        }
        match listener.acceptor() {
            Ok(acceptor) => {
                let close = Rc::new(Notify::new());
                let accept = accept(Rc::clone(shared), acceptor, Rc::clone(&close));
                let task = tokio::task::spawn_local(accept).abort_handle();
                accepting.insert((*listener.listen).clone(), Accepting { task, close });
            }
            Err(error) => tracing::error!("cannot accept on {}: {error}", listener.listen),
        }
    }
}

/// Accepts connections until it is told to close, and serves each in a task of its own.
async fn accept(shared: Rc<Shared>, acceptor: Acceptor, close: Rc<Notify>) {
    let listener = Arc::clone(acceptor.listen());
    loop {
        tokio::select! {
            accepted = acceptor.accept() => welcome(&shared, &listener, accepted),
            () = close.notified() => break,
        }
    }
    let last = async {
        loop {
            let accepted = acceptor.accept().await;
            welcome(&shared, &listener, accepted);
        }
    };
    let _ = timeout(HANDSHAKE, last).await;
    let rest = acceptor.close(|accepted| welcome(&shared, &listener, accepted));
    if let Err(error) = rest {
        tracing::warn!("connections to {listener} that waited are lost: {error}");
    }
}

fn welcome(shared: &Rc<Shared>, listener: &Arc<Listen>, (socket, local, remote): Accepted) {
    let Some(open) = Open::enter(shared) else {
        return connection::shed(shared, socket, remote);
    };
    let connection = Arc::new(Connection {
        id: shared.counters.accepted.fetch_add(1, Ordering::Relaxed) + 1,
        listener: Arc::clone(listener),
        local,
        remote,
    });
    let shared = Rc::clone(shared);
    tokio::task::spawn_local(async move {
        connection::serve(shared, connection, socket).await;
        drop(open);
    });
}

/// Waits until no connection is open, after telling them all to finish.
async fn drained(shared: &Shared) {
    shared.draining.set(true);
    shared.drain.notify_waiters();
    while shared.open.get() > 0 {
        shared.ended.notified().await;
    }
}

/// An open connection in the counts, also when its task panics.
struct Open(Rc<Shared>);

impl Open {
    fn enter(shared: &Rc<Shared>) -> Option<Self> {
        let limit = shared.current.snapshot().limits.connections;
        let limit = limit.min(shared.counters.fitting);
        let before = shared.counters.open.fetch_add(1, Ordering::Relaxed);
        shared.open.set(shared.open.get() + 1);
        // From here on leaving the counts is the guard's business, also over the limit.
        let open = Self(Rc::clone(shared));
        (before < limit).then_some(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.open.fetch_sub(1, Ordering::Relaxed);
        self.0.open.set(self.0.open.get() - 1);
        self.0.ended.notify_one();
    }
}
