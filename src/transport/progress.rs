//! How far a connection has come: who has to do something next, and since when.
//!
//! The byte stream and the service note what happens; the connection's task asks for the deadline
//! that follows. Nothing here is a timer, so a request that flows costs two looks at the clock.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The client's: the next request has not begun.
    Idle,
    /// The client's: part of a head has come.
    Head,
    /// Ours: a request is being answered.
    Answering,
    /// The network's: the content has been handed over and is being sent.
    Answered,
}

/// How long each turn of the client may last.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until the next request begins.
    pub idle: Duration,
    /// From the first byte of a head to its end.
    pub head: Duration,
    /// Without taking a byte of the answer.
    pub response: Duration,
}

impl Patience {
    /// None at all.
    pub const NONE: Self = Self {
        idle: Duration::ZERO,
        head: Duration::ZERO,
        response: Duration::ZERO,
    };
}

/// The turn the client was too slow in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// No request came.
    Idle,
    /// The head did not end.
    Head,
    /// The answer was not taken.
    Response,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Progress {
    phase: Cell<Phase>,
    since: Cell<Instant>,
    blocked: Cell<Option<Blocked>>,
    /// How often everything handed over has been sent.
    flushes: Cell<u64>,
    /// Who waits for the next time.
    waiting: RefCell<Option<Waker>>,
}

/// The client takes nothing for now.
#[derive(Debug, Clone, Copy)]
struct Blocked {
    since: Instant,
    /// What it had not acknowledged then, in bytes.
    unsent: usize,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            phase: Cell::new(Phase::Idle),
            since: Cell::new(Instant::now()),
            blocked: Cell::new(None),
            flushes: Cell::new(0),
            waiting: RefCell::default(),
        }
    }
}

impl Progress {
    /// Whose turn it is.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Since when it is whose turn it is, but for ours.
    pub fn since(&self) -> Instant {
        self.since.get()
    }

    /// A client whose turn it is to send a request has all its time from then on.
    pub fn idle_since(&self, since: Instant) {
        if self.phase.get() == Phase::Idle {
            self.since.set(since);
        }
    }

    /// Bytes came.
    pub fn received(&self) {
        if self.phase.get() == Phase::Idle {
            self.phase.set(Phase::Head);
            self.since.set(Instant::now());
        }
    }

    /// A whole head came, and its request is being answered.
    pub fn answering(&self) {
        self.phase.set(Phase::Answering);
    }

    /// The content of the answer has been handed over, or given up.
    pub fn answered(&self) {
        self.phase.set(Phase::Answered);
    }

    /// Everything handed over has been sent.
    pub fn flushed(&self) {
        self.flushes.set(self.flushes.get() + 1);
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        if self.phase.get() == Phase::Answered {
            self.phase.set(Phase::Idle);
            self.since.set(Instant::now());
        }
    }

    /// Waits until everything has been sent that was handed over before the first poll of this:
    /// hyper flushes whenever it has nothing more to do, and throws away what it holds when an
    /// answer fails. One at a time may wait.
    pub async fn until_flushed(&self) {
        let before = self.flushes.get();
        poll_fn(|context| {
            if self.flushes.get() == before {
                self.waiting.replace(Some(context.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// The client took some bytes.
    pub fn sent(&self) {
        self.blocked.set(None);
    }

    /// The client takes no more for now, and has not acknowledged `unsent` bytes.
    pub fn blocked(&self, unsent: usize) {
        if self.blocked.get().is_none() {
            let since = Instant::now();
            self.blocked.set(Some(Blocked { since, unsent }));
        }
    }

    /// Whether a client that seemed to take nothing has taken something after all: the kernel says
    /// that there is room only when there is plenty. Its turn then begins anew.
    pub fn has_taken(&self, unsent: usize) -> bool {
        let has_taken = self
            .blocked
            .get()
            .is_some_and(|blocked| unsent < blocked.unsent);
        if has_taken {
            self.sent();
            self.blocked(unsent);
        }
        has_taken
    }

    /// When the client's turn ends, and which turn that is.
    pub fn deadline(&self, patience: &Patience) -> Option<(Instant, Overdue)> {
        if let Some(blocked) = self.blocked.get() {
            return Some((blocked.since + patience.response, Overdue::Response));
        }
        match self.phase.get() {
            Phase::Idle => Some((self.since.get() + patience.idle, Overdue::Idle)),
            Phase::Head => Some((self.since.get() + patience.head, Overdue::Head)),
            Phase::Answering | Phase::Answered => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        idle: Duration::from_secs(60),
        head: Duration::from_secs(10),
        response: Duration::from_secs(30),
    };

    fn overdue(progress: &Progress) -> Option<Overdue> {
        progress.deadline(&PATIENCE).map(|(_, overdue)| overdue)
    }

    #[test]
    fn a_request_passes_through_the_phases() {
        let progress = Progress::default();
        assert_eq!(overdue(&progress), Some(Overdue::Idle));
        progress.received();
        assert_eq!(overdue(&progress), Some(Overdue::Head));
        progress.answering();
        assert_eq!(overdue(&progress), None);
        progress.flushed();
        assert_eq!(progress.phase(), Phase::Answering);
        progress.answered();
        progress.flushed();
        assert_eq!(overdue(&progress), Some(Overdue::Idle));
    }

    #[test]
    fn the_deadline_of_a_head_does_not_move_with_its_bytes() {
        let progress = Progress::default();
        progress.received();
        let first = progress.deadline(&PATIENCE);
        progress.received();
        assert_eq!(progress.deadline(&PATIENCE), first);
    }

    #[test]
    fn a_blocked_write_has_the_deadline_of_the_response() {
        let progress = Progress::default();
        progress.answering();
        progress.blocked(0);
        assert_eq!(overdue(&progress), Some(Overdue::Response));
        progress.sent();
        assert_eq!(overdue(&progress), None);
    }
}
