//! How many scripts of a site run at once, and which of the requests that wait runs next.
//!
//! One queue serves a site in all worker threads, and is fair between its clients. A place that
//! comes free goes to the waiting client that has the fewest scripts running, of several to the one
//! that waits longest; the requests of one client keep their order. Where no more may wait, room is
//! made at the cost of the client that has the most waiting. So who asks for much waits for it,
//! and the memory is bounded by what runs and what waits.
//!
//! The lock is held for a look at the clients, never across an await. A request whose client leaves
//! gives up its place with its future; a [`Permit`] that is on its way to it then comes back as any
//! other does.
//!
//! A queue lives as long as its site, whatever configuration that has: what runs and what waits is
//! counted on when the limits change.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::sync::oneshot;

use crate::{
    records::{message_id, seldom::Seldom},
    semantics::failure::{Cause, Failure},
};

/// When a client that was refused may try again (`Retry-After`): most scripts take less.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The part of an IPv6 address that is one client: a customer is given 64 bits of addresses at
/// least, and may use a new one for every request.
const PREFIX: u128 = !(u64::MAX as u128);

/// Who counts as one in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(Option<IpAddr>);

impl Client {
    /// The client with this address; all that come by a Unix socket, which have none, are one.
    pub fn new(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & PREFIX).into(),
            address @ IpAddr::V4(_) => address,
        }))
    }
}

/// The queue of one site: `max-running` at once, `max-queued` waiting.
#[derive(Debug)]
pub struct Queue {
    line: Arc<Mutex<Line>>,
    /// That it is full.
    full: Seldom,
}

/// `max-running` and `max-queued`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Scripts at once.
    pub running: usize,
    /// Requests that wait.
    pub queued: usize,
}

/// The right to run one script, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    line: Arc<Mutex<Line>>,
    client: Client,
}

impl Queue {
    /// A queue with these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            line: Arc::new(Mutex::new(Line::new(limits))),
            full: Seldom::default(),
        }
    }

    /// Has these limits from now on. Where fewer may run, those that run go on, and no other begins
    /// until enough are over; those that wait keep their places.
    pub fn limit(&self, limits: Limits) {
        lock(&self.line).limits = limits;
        loop {
            // Bound first, for the lock to be free when the permit is sent.
            let next = lock(&self.line).admit();
            let Some((client, waiter)) = next else { return };
            drop(waiter.turn.send(Ok(self.permit(client))));
        }
    }

    /// The right to take in content before a script starts, for as many requests as may run scripts:
    /// more would fill the disk before anything is done about them. Fails with 503.
    pub fn spooling(&self) -> Result<Spooling<'_>, Failure> {
        let mut line = lock(&self.line);
        if line.spooling >= line.limits.running {
            return Err(line.refusal());
        }
        line.spooling += 1;
        Ok(Spooling { line: &self.line })
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        lock(&self.line).limits
    }

    /// How many scripts run, and how many requests wait.
    pub fn load(&self) -> Limits {
        let line = lock(&self.line);
        Limits {
            running: line.running,
            queued: line.waiting,
        }
    }

    /// Waits for the right to run a script. Fails with 503 when too many wait: at once, or when
    /// another client needs the place more. Dropping the future gives up the place.
    #[expect(clippy::missing_panics_doc, reason = "who waits is never forgotten")]
    pub async fn enter(&self, client: Client) -> Result<Permit, Failure> {
        let (_place, turn) = {
            let mut line = lock(&self.line);
            // A place is never free while someone waits, so this overtakes nobody.
            if line.running < line.limits.running {
                line.run(client);
                return Ok(self.permit(client));
            }
            if line.waiting >= line.limits.queued {
                let last = line.make_room(client).ok_or_else(|| line.refusal())?;
                // Who left in this moment needs no answer.
                drop(last.turn.send(Err(line.refusal())));
            }
            let (number, turn) = line.wait(client);
            let line = &self.line;
            (
                Place {
                    line,
                    client,
                    number,
                },
                turn,
            )
        };
        turn.await.expect("who waits is told before he is let go")
    }

    /// Says now and then that requests of the site were refused.
    pub fn tell(&self, site: &str, refusal: &Failure) {
        if let Some(count) = self.full.happened() {
            tracing::warn!(
                MESSAGE_ID = message_id::SCRIPT_QUEUE_FULL,
                PYWEBD_SITE = site,
                "site {site:?}: requests for scripts were refused ({count}): {refusal}"
            );
        }
    }

    fn permit(&self, client: Client) -> Permit {
        let line = Arc::clone(&self.line);
        Permit { line, client }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = lock(&self.line).leave(self.client);
        if let Some((client, waiter)) = next {
            let line = Arc::clone(&self.line);
            // Who left in this moment does not get it, and it is dropped in turn.
            drop(waiter.turn.send(Ok(Permit { line, client })));
        }
    }
}

/// The right to take in content, until it is dropped.
#[derive(Debug)]
pub struct Spooling<'q> {
    line: &'q Mutex<Line>,
}

impl Drop for Spooling<'_> {
    fn drop(&mut self) {
        lock(self.line).spooling -= 1;
    }
}

/// A place among those who wait, given up with its future. Nothing is left to do if the turn came.
struct Place<'q> {
    line: &'q Mutex<Line>,
    client: Client,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(self.line).give_up(self.client, self.number);
    }
}

/// What runs and what waits.
#[derive(Debug)]
struct Line {
    limits: Limits,
    running: usize,
    waiting: usize,
    /// How many take in content.
    spooling: usize,
    /// How many ever waited: the number of the next one.
    arrivals: u64,
    /// Those who have something running or waiting.
    clients: BTreeMap<Client, Share>,
}

/// A client's part.
#[derive(Debug, Default)]
struct Share {
    running: usize,
    /// In the order of their numbers.
    waiting: VecDeque<Waiter>,
}

/// A request that waits.
#[derive(Debug)]
struct Waiter {
    number: u64,
    turn: oneshot::Sender<Result<Permit, Failure>>,
}

/// No change of it can panic half-way.
fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            running: 0,
            waiting: 0,
            spooling: 0,
            arrivals: 0,
            clients: BTreeMap::new(),
        }
    }

    fn refusal(&self) -> Failure {
        let cause = Cause::TooManyScripts {
            running: self.limits.running,
            queued: self.limits.queued,
        };
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, cause)
    }

    fn run(&mut self, client: Client) {
        self.running += 1;
        self.clients.entry(client).or_default().running += 1;
    }

    /// One that ran is over: who runs next.
    fn leave(&mut self, client: Client) -> Option<(Client, Waiter)> {
        self.running -= 1;
        if let Some(share) = self.clients.get_mut(&client) {
            share.running -= 1;
        }
        self.forget(client);
        self.admit()
    }

    /// Who runs next, where there is room. It counts as running from here on.
    fn admit(&mut self) -> Option<(Client, Waiter)> {
        if self.running >= self.limits.running {
            return None;
        }
        let next = self.next()?;
        let waiter = self.take(next, VecDeque::pop_front)?;
        self.run(next);
        Some((next, waiter))
    }

    /// Whose turn it is.
    fn next(&self) -> Option<Client> {
        let waiting = self.clients.iter().filter_map(|(client, share)| {
            let first = share.waiting.front()?;
            Some((share.running, first.number, *client))
        });
        waiting.min().map(|(_, _, client)| client)
    }

    /// Takes the last one of the client that has the most waiting, if this one has fewer even with one
    /// more. Of several clients the one whose last one came latest: who waits longer stays.
    fn make_room(&mut self, client: Client) -> Option<Waiter> {
        let waiting = self.clients.iter().filter_map(|(client, share)| {
            let last = share.waiting.back()?;
            Some((share.waiting.len(), last.number, *client))
        });
        let (most, _, greediest) = waiting.max()?;
        let own = self
            .clients
            .get(&client)
            .map_or(0, |share| share.waiting.len());
        // Not even: two clients would turn each other away in turns.
        if own + 1 >= most {
            return None;
        }
        self.take(greediest, VecDeque::pop_back)
    }

    fn wait(&mut self, client: Client) -> (u64, oneshot::Receiver<Result<Permit, Failure>>) {
        let (turn, receiver) = oneshot::channel();
        let number = self.arrivals;
        self.arrivals += 1;
        self.waiting += 1;
        let share = self.clients.entry(client).or_default();
        share.waiting.push_back(Waiter { number, turn });
        (number, receiver)
    }

    /// Forgets one that waits, if it still does.
    fn give_up(&mut self, client: Client, number: u64) {
        self.take(client, |waiting| {
            let at = waiting.binary_search_by_key(&number, |waiter| waiter.number);
            waiting.remove(at.ok()?)
        });
    }

    /// Takes one of a client's requests that wait.
    fn take(
        &mut self,
        client: Client,
        which: impl FnOnce(&mut VecDeque<Waiter>) -> Option<Waiter>,
    ) -> Option<Waiter> {
        let waiter = which(&mut self.clients.get_mut(&client)?.waiting)?;
        self.waiting -= 1;
        self.forget(client);
        Some(waiter)
    }

    /// Forgets a client with nothing left.
    fn forget(&mut self, client: Client) {
        let is_idle = |share: &Share| share.running == 0 && share.waiting.is_empty();
        if self.clients.get(&client).is_some_and(is_idle) {
            self.clients.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests;
