//! Watching what the configuration was made from: a change that has settled is an event.
//!
//! What counts is that something is found in another state than the configuration in force has
//! found it in ([`Seen`]); the kernel's notices ([`notices`]) only say when to look again. So
//! neither lost notices nor the server's own reading matter. A thread of its own does all of it
//! but hearing the kernel, for which `notify` has another one, and has no reason to end before the
//! server does.

mod notices;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::{config::Seen, server::event::Event};

use notices::Notices;

/// A change counts when nothing has moved for so long…
const SETTLE: Duration = Duration::from_millis(200);

/// …or after so long in any case.
const AT_MOST: Duration = Duration::from_secs(5);

/// The time from one look to the next, however much happens.
const PAUSE: Duration = Duration::from_millis(50);

/// The same where the kernel may tell nothing.
const SLOW: Duration = Duration::from_secs(2);

/// The watch over what the configuration in force was made from.
#[derive(Debug)]
pub struct Watch(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    /// What is to be followed from now on.
    next: Mutex<Option<Vec<Seen>>>,
    /// Becomes readable with it.
    wake: OwnedFd,
}

impl Watch {
    /// Begins to watch nothing; changes will be told to `events`.
    pub fn start(events: Sender<Event>) -> Self {
        let started = start(events);
        let warn = |error: &io::Error| {
            tracing::warn!(
                "changes of the configuration are not noticed, only SIGHUP reads it again: {error}"
            );
        };
        Self(started.inspect_err(warn).ok())
    }

    /// Follows exactly this from now on. What has changed since it was seen counts, too.
    pub fn follow(&self, seen: Vec<Seen>) {
        if let Some(shared) = &self.0 {
            *shared.lock() = Some(seen);
            let _ = rustix::io::write(&shared.wake, &1_u64.to_ne_bytes());
        }
    }
}

fn start(events: Sender<Event>) -> io::Result<Arc<Shared>> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let shared = Arc::new(Shared {
        next: Mutex::new(None),
        wake: eventfd(0, flags)?,
    });
    let watcher = Watcher {
        shared: Arc::clone(&shared),
        events,
        notices: Notices::new()?,
        seen: Vec::new(),
        stage: Stage::Quiet,
    };
    thread::Builder::new()
        .name("watch".into())
        .spawn(move || watcher.run())?;
    Ok(shared)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Seen>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watcher {
    shared: Arc<Shared>,
    events: Sender<Event>,
    notices: Notices,
    /// The states that the configuration was made from.
    seen: Vec<Seen>,
    stage: Stage,
}

enum Stage {
    /// All is as it was.
    Quiet,
    /// Something is not.
    Changing {
        /// Since when.
        first: Instant,
        /// What was found last, and since when it is so.
        last: (Vec<Seen>, Instant),
    },
    /// The server was told; it reads, and says what to follow.
    Told,
}

impl Watcher {
    fn run(mut self) {
        loop {
            self.wait();
            // Read, so that the next wait waits.
            let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
            let next = self.shared.lock().take();
            let has_news = self.notices.has_news() || self.notices.is_blind();
            let is_stale = match (next, &self.stage) {
                (Some(seen), _) => {
                    self.seen = seen;
                    self.stage = Stage::Quiet;
                    true
                }
                (None, Stage::Changing { .. }) => has_news,
                (None, Stage::Quiet) if has_news => true,
                (None, Stage::Quiet | Stage::Told) => continue,
            };
            // Watched before they are looked at: what changes after that is noticed.
            if is_stale {
                self.notices.follow(&self.seen);
            }
            if self.look().is_err() {
                return;
            }
        }
    }

    /// Returns when it is time for a look.
    fn wait(&mut self) {
        let wake = self.shared.wake.as_fd();
        match self.stage {
            Stage::Told => wait_for(&[wake], None),
            Stage::Changing { .. } => wait_for(&[wake], Some(PAUSE)),
            Stage::Quiet => {
                let timeout = self.notices.is_blind().then_some(SLOW);
                wait_for(&[wake, self.notices.fd()], timeout);
                // Where much happens it does not keep this thread busy.
                wait_for(&[wake], Some(PAUSE));
            }
        }
    }

    /// Compares what is there with what was. Fails when the server is gone.
    fn look(&mut self) -> Result<(), ()> {
        if self.seen.iter().all(Seen::is_same) {
            self.stage = Stage::Quiet;
            return Ok(());
        }
        let now = Instant::now();
        let found: Vec<Seen> = self.seen.iter().map(Seen::again).collect();
        let (first, since) = match &self.stage {
            Stage::Changing { first, last } if last.0 == found => (*first, last.1),
            Stage::Changing { first, .. } => (*first, now),
            Stage::Quiet | Stage::Told => (now, now),
        };
        if now - since < SETTLE && now - first < AT_MOST {
            let last = (found, since);
            self.stage = Stage::Changing { first, last };
            return Ok(());
        }
        self.stage = Stage::Told;
        self.events.send(Event::Changed).map_err(drop)
    }
}

/// Waits until one of them can be read, or for so long.
fn wait_for(fds: &[rustix::fd::BorrowedFd<'_>], timeout: Option<Duration>) {
    let mut fds: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // Whatever interrupts it: too early a look does no harm.
    if poll(&mut fds, timeout.as_ref()).is_err() {
        thread::sleep(PAUSE);
    }
}
