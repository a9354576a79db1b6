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
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Handle, LocalOptions},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{
    server::{
        connection::{self, Seat},
        current::Current,
        error::StartError,
        event::Event,
        idle::Idle,
        listener::{Accepted, Acceptor, Listener, Purpose},
        repeats::Repeats,
        tally::Tally,
    },
    service::Service,
    transport::{Connection, Listen, socket::Socket},
};

/// Threads for look-ups, reads and listings that would wait for a disk, per worker, made when they are
/// wanted. Each site on a filesystem that never answers may keep eight of them (`service::elsewhere`).
const BLOCKING_THREADS: usize = 64;

/// How long connections are accepted from a listener where none begin any more: a handshake may take
/// so long. A client whose first SYN was dropped sends another one after a second, to whoever listens
/// then.
const HANDSHAKE: Duration = Duration::from_millis(500);

/// How often a worker that is to end looks whether all its work is done.
const NEXT_LOOK: Duration = Duration::from_millis(5);

/// The same for one that retires, which nobody waits for.
const RARE_LOOK: Duration = Duration::from_secs(1);

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
    pub open: AtomicUsize,
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
    /// Tell that this question was come to.
    Answer(u64),
    /// Accept no more, and end with the last connection.
    Retire,
    /// Accept no more; finish what was begun, for so long at most, and end.
    Drain(Duration),
    /// End at once.
    End,
}

/// The server's handle of a worker.
#[derive(Debug)]
pub struct Worker {
    /// What no other worker of the process has.
    pub number: usize,
    /// What it counts.
    pub tally: Arc<Tally>,
    /// The last question that it was asked.
    asked: u64,
    commands: mpsc::UnboundedSender<Command>,
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
    /// Since when it does.
    pub draining: Cell<Option<Instant>>,
    /// Connections that rest.
    pub idle: Idle,
    /// Answers that are given again.
    pub repeats: Repeats,
    /// What all workers count.
    pub counters: Arc<Counters>,
    /// What this one counts.
    pub tally: Arc<Tally>,
}

impl Worker {
    /// Starts a worker that listens to nothing yet. It ends when it is dropped.
    pub fn start(
        number: usize,
        current: Current,
        service: Service,
        counters: Arc<Counters>,
        events: Sender<Event>,
    ) -> Result<Self, StartError> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let tally = Arc::<Tally>::default();
        let own = Arc::clone(&tally);
        std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                // Told when the thread ends, also by a panic outside of a connection's task.
                let _ended = Ended { number, events };
                // What the cache asks on each thread is opened while there are descriptors.
                let _ = service.cache.current();
                let shared = |idle| Shared {
                    current,
                    service,
                    drain: Notify::new(),
                    draining: Cell::new(None),
                    idle,
                    repeats: Repeats::default(),
                    counters,
                    tally: own,
                };
                let ran = Idle::new().and_then(|idle| run(Rc::new(shared(idle)), receiver));
                if let Err(error) = ran {
                    tracing::error!("a worker cannot run: {error}");
                }
            })
            .map_err(StartError::system("starting a worker thread"))?;
        Ok(Self {
            number,
            tally,
            asked: 0,
            commands,
        })
    }

    /// Asks whether its runtime still turns: a question with a number higher than those before.
    pub fn ask(&mut self, question: u64) {
        self.asked = question;
        let _ = self.commands.send(Command::Answer(question));
    }

    /// Whether it has come to the last question by now.
    pub fn has_answered(&self) -> bool {
        self.tally.has_answered(self.asked)
    }

    /// Accepts from exactly these listeners from now on.
    pub fn listen(&self, listeners: &[Arc<Listener>]) {
        let _ = self.commands.send(Command::Listen(listeners.to_vec()));
    }

    /// Accepts no more, and ends with its last connection.
    pub fn retire(&self) {
        let _ = self.commands.send(Command::Retire);
    }

    /// Accepts no more, and lets what was begun finish within `grace`.
    pub fn drain(&self, grace: Duration) {
        let _ = self.commands.send(Command::Drain(grace));
    }

    /// Ends at once, whatever is still in flight.
    pub fn end(&self) {
        let _ = self.commands.send(Command::End);
    }
}

struct Ended {
    number: usize,
    events: Sender<Event>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.events.send(Event::WorkerEnded(self.number));
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

/// Follows the server's commands until it says to drain, or is gone.
async fn obey(shared: Rc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut accepting: Accepting = HashMap::new();
    let mut is_retiring = false;
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            () = finished(RARE_LOOK), if is_retiring => None,
        };
        match command {
            Some(Command::Listen(listeners)) => {
                listen(&shared, &mut accepting, &listeners);
                // There is another configuration.
                shared.repeats.forget();
                Idle::expect_trim(&shared);
            }
            Some(Command::Answer(question)) => shared.tally.prove_life(question),
            Some(Command::Retire) => {
                accepting.clear();
                is_retiring = true;
            }
            Some(Command::Drain(grace)) => {
                shared.draining.set(Some(Instant::now()));
                shared.drain.notify_waiters();
                drop(accepting);
                tokio::select! {
                    () = finished(NEXT_LOOK) => {}
                    () = sleep(grace) => tracing::warn!(
                        "what is not finished {} s after the stop is cut off", grace.as_secs()
                    ),
                    _ = commands.recv() => {}
                }
                return;
            }
            Some(Command::End) | None => return,
        }
    }
}

/// Waits until nothing is left to do: no connection is open and no script is attended to, which may go
/// on when its client has its answer. No task of a worker goes on for ever.
async fn finished(next_look: Duration) {
    let runtime = Handle::current();
    while runtime.metrics().num_alive_tasks() > 0 {
        sleep(next_look).await;
    }
}

/// Who accepts on which address; to be told that it is taken out of the configuration, or by the
/// sender's end that the server stops.
type Accepting = HashMap<(Listen, Purpose), oneshot::Sender<Removed>>;

struct Removed;

fn listen(shared: &Rc<Shared>, accepting: &mut Accepting, listeners: &[Arc<Listener>]) {
    let key = |listener: &Listener| ((*listener.listen).clone(), listener.purpose);
    let is_unwanted =
        |known: &(Listen, Purpose), _: &mut _| !listeners.iter().any(|one| key(one) == *known);
    for (_, unwanted) in accepting.extract_if(is_unwanted) {
        let _ = unwanted.send(Removed);
    }
    for listener in listeners {
        if accepting.contains_key(&key(listener)) {
            continue;
        }
        match listener.acceptor() {
            Ok(acceptor) => {
                let (sender, end) = oneshot::channel();
                accepting.insert(key(listener), sender);
                match listener.purpose {
                    Purpose::Serve => {
                        tokio::task::spawn_local(accept(Rc::clone(shared), acceptor, end))
                    }
                    Purpose::Refuse => tokio::task::spawn_local(refuse(acceptor, end)),
                };
            }
            Err(error) => tracing::error!("cannot accept on {}: {error}", listener.listen),
        }
    }
}

/// Accepts connections until `end`, and then those that nobody else would accept: they wait in a
/// socket that is about to be closed. Those in a passed one wait for the next process.
async fn accept(shared: Rc<Shared>, acceptor: Acceptor, mut end: oneshot::Receiver<Removed>) {
    let listener = Arc::clone(acceptor.listen());
    let is_removed = loop {
        tokio::select! {
            biased;
            end = &mut end => break end.is_ok(),
            accepted = acceptor.accept() => welcome(&shared, &listener, accepted),
        }
    };
    if is_removed {
        let last = async {
            loop {
                let accepted = acceptor.accept().await;
                welcome(&shared, &listener, accepted);
            }
        };
        let _ = timeout(HANDSHAKE, last).await;
    } else if acceptor.has_heirs() {
        return;
    }
    let rest = acceptor.close(|accepted| welcome(&shared, &listener, accepted));
    if let Err(error) = rest {
        tracing::warn!("connections to {listener} that waited are lost: {error}");
    }
}

/// Resets every connection until `end`: there is no site for them, and nobody is to wait.
async fn refuse(acceptor: Acceptor, mut end: oneshot::Receiver<Removed>) {
    loop {
        tokio::select! {
            biased;
            _ = &mut end => return,
            (socket, ..) = acceptor.accept() => drop(Socket::new(socket).reset()),
        }
    }
}

/// Serves a connection in a task of its own.
fn welcome(shared: &Rc<Shared>, listener: &Arc<Listen>, (socket, local, remote): Accepted) {
    let Some(open) = Open::enter(shared) else {
        return connection::shed(shared, Socket::new(socket), remote);
    };
    let id = shared.counters.accepted.fetch_add(1, Ordering::Relaxed) + 1;
    let seat = Seat {
        connection: Connection {
            id,
            listener: Arc::clone(listener),
            local,
            remote,
        },
        socket,
        requests: 0,
        idle_since: Instant::now(),
        open,
    };
    tokio::task::spawn_local(connection::serve(Rc::clone(shared), seat));
}

/// An open connection in the count, also when its task panics.
#[derive(Debug)]
pub struct Open(Arc<Counters>);

impl Open {
    fn enter(shared: &Rc<Shared>) -> Option<Self> {
        let limit = shared.current.snapshot().limits.connections;
        let limit = limit.min(shared.counters.fitting);
        let before = shared.counters.open.fetch_add(1, Ordering::Relaxed);
        // From here on leaving the count is the guard's business, also over the limit.
        let open = Self(Arc::clone(&shared.counters));
        (before < limit).then_some(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
