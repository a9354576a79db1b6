//! Connections over which nobody asks for anything.
//!
//! Most connections of a server only wait, and a task with hyper's buffers takes 24 KiB for each. One
//! that has been idle for a moment comes to rest here: its task ends, and what is left is an entry in
//! a table and the socket's place in an `epoll` of the worker's own, which its runtime watches as one
//! descriptor. When something comes, or the client leaves, the connection has a task again. A request
//! right behind the other never gets here.
//!
//! 2,000 connections that have carried a request take 34 MiB with their tasks, and 0.7 MiB at rest: memory
//! that is free between what is in use goes back to the kernel some time after.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
};
use tokio::{sync::Notify, time::sleep_until};

use crate::{
    server::{
        connection::{self, LAST_CALL, Seat},
        repeats::Repeats,
        worker::Shared,
    },
    sys::{heap, nonblocking::Nonblocking},
};

/// So many of those that came back are looked at together.
const BATCH: usize = 64;

/// How long a connection may rest beyond its time, so that many are looked at together.
const LENIENCE: Duration = Duration::from_millis(100);

/// How long memory that connections leave behind is kept for others. A burst ends within it.
const KEPT: Duration = Duration::from_secs(2);

/// The connections of one worker that rest.
#[derive(Debug)]
pub struct Idle {
    epoll: Nonblocking,
    resting: RefCell<HashMap<u64, Resting>>,
    /// Whether a task attends to them.
    is_attended: Cell<bool>,
    /// When something is to be done unless somebody comes back before.
    next: Cell<Option<Instant>>,
    /// Told when that has become earlier.
    earlier: Notify,
    /// When memory is given back.
    trim: Cell<Option<Instant>>,
    /// When the last connection has left some behind.
    left: Cell<Instant>,
}

/// A connection that rests.
#[derive(Debug)]
struct Resting {
    seat: Seat,
    /// When its client was silent for too long.
    until: Instant,
}

impl Idle {
    /// Nobody rests yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Nonblocking::new(epoll::create(CreateFlags::CLOEXEC)?),
            resting: RefCell::default(),
            is_attended: Cell::new(false),
            next: Cell::new(None),
            earlier: Notify::new(),
            trim: Cell::new(None),
            left: Cell::new(Instant::now()),
        })
    }

    /// Has a connection rest until something comes, or until its client's time is over. Where the
    /// kernel has no place for it, it is given back.
    pub fn rest(worker: &Rc<Shared>, seat: Seat, until: Instant) -> Result<(), Seat> {
        let idle = &worker.idle;
        let id = seat.connection.id;
        let flags = EventFlags::IN | EventFlags::RDHUP;
        if epoll::add(&idle.epoll, &seat.socket, EventData::new_u64(id), flags).is_err() {
            return Err(seat);
        }
        idle.resting
            .borrow_mut()
            .insert(id, Resting { seat, until });
        idle.expect(until);
        Self::expect_trim(worker);
        Ok(())
    }

    /// A connection has left memory behind.
    pub fn expect_trim(worker: &Rc<Shared>) {
        let idle = &worker.idle;
        let now = Instant::now();
        idle.left.set(now);
        if idle.trim.get().is_none() {
            let trim = now + KEPT;
            idle.trim.set(Some(trim));
            idle.expect(trim);
        }
        if !idle.is_attended.replace(true) {
            tokio::task::spawn_local(attend(Rc::clone(worker)));
        }
    }

    fn expect(&self, time: Instant) {
        if self.next.get().is_none_or(|next| time < next) {
            self.next.set(Some(time));
            self.earlier.notify_one();
        }
    }

    /// Those that something has come for. Where they cannot be waited for together, all of them.
    fn poll_returned(&self, context: &mut Context<'_>) -> Poll<Vec<Seat>> {
        let ids: Vec<u64> = match ready!(self.poll_events(context)) {
            Ok(events) => events.iter().map(|event| event.data.u64()).collect(),
            Err(_) => self.resting.borrow().keys().copied().collect(),
        };
        Poll::Ready(ids.into_iter().filter_map(|id| self.leave(id)).collect())
    }

    fn poll_events(&self, context: &mut Context<'_>) -> Poll<io::Result<Vec<Event>>> {
        let returned = || {
            let mut events = Vec::<Event>::with_capacity(BATCH);
            let now = Timespec::default();
            epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&now),
            )?;
            if events.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(events)
        };
        self.epoll.poll_read(context, returned)
    }

    /// Takes a connection out.
    fn leave(&self, id: u64) -> Option<Seat> {
        let mut resting = self.resting.borrow_mut();
        let Resting { seat, .. } = resting.remove(&id)?;
        if resting.is_empty() {
            *resting = HashMap::new();
        }
        // Another handle of the socket would keep its place.
        let _ = epoll::delete(&self.epoll, &seat.socket);
        Some(seat)
    }

    /// Takes those out that were silent for too long, and finds out when the next one will have been.
    /// When the server has stopped, all have less time.
    fn overdue(&self, last_call: Option<Instant>, repeats: &Repeats) -> Vec<Seat> {
        let now = Instant::now();
        let mut overdue = Vec::new();
        let mut next = None;
        for (id, resting) in &*self.resting.borrow() {
            let until = last_call.unwrap_or(resting.until);
            if until <= now {
                overdue.push(*id);
            } else {
                next = Some(next.map_or(until, |next: Instant| next.min(until)));
            }
        }
        if self.trim.get().is_some_and(|time| time <= now) {
            repeats.forget();
            self.trim.set(heap::trim_what_was_left(self.left.get()));
        }
        let next = next.map(|next| next.max(now + LENIENCE));
        self.next.set(match (next, self.trim.get()) {
            (Some(next), Some(trim)) => Some(next.min(trim)),
            (next, trim) => next.or(trim),
        });
        overdue
            .into_iter()
            .filter_map(|id| self.leave(id))
            .collect()
    }
}

/// Has another task attend when this one ends, also by a panic.
struct Attended<'i>(&'i Idle);

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        self.0.is_attended.set(false);
    }
}

/// Has those served for whom something has come, and ends those for whom nothing has, until nobody
/// rests any more.
async fn attend(worker: Rc<Shared>) {
    let idle = &worker.idle;
    let _attended = Attended(idle);
    loop {
        let has_stopped = worker.drain.notified();
        let last_call = worker.draining.get().map(|since| since + LAST_CALL);
        if let Some(last_call) = last_call {
            idle.expect(last_call);
        }
        let is_done = idle.resting.borrow().is_empty();
        if is_done && (last_call.is_some() || idle.trim.get().is_none()) {
            return;
        }
        tokio::select! {
            biased;
            returned = poll_fn(|context| idle.poll_returned(context)) => {
                for seat in returned {
                    tokio::task::spawn_local(connection::serve(Rc::clone(&worker), seat));
                }
            }
            () = has_stopped, if last_call.is_none() => {}
            () = idle.earlier.notified() => {}
            () = until(idle.next.get()) => {
                for seat in idle.overdue(last_call, &worker.repeats) {
                    connection::dismiss(&worker, &seat);
                }
            }
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
