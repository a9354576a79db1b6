//! How many scripts of a site run at once, and how many requests wait for one.
//!
//! One queue serves a site in all worker threads. It is first come, first served; a queue that is
//! fair between clients would choose here whom a [`Permit`] that comes back goes to. Nothing
//! waits on a lock, and a request whose client leaves gives up its place with its future.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::semantics::failure::{Cause, Failure};

/// When a client that was refused may try again (`Retry-After`): most scripts take less.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The queue of one site: `max-running` at once, `max-queued` waiting.
#[derive(Debug)]
pub struct Queue {
    max_running: usize,
    max_queued: usize,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The right to run one script, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    _free: OwnedSemaphorePermit,
}

impl Queue {
    /// A queue with these limits.
    pub fn new(max_running: usize, max_queued: usize) -> Self {
        Self {
            max_running,
            max_queued,
            free: Arc::new(Semaphore::new(max_running.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The limits: running, queued.
    pub fn limits(&self) -> (usize, usize) {
        (self.max_running, self.max_queued)
    }

    /// Waits for the right to run a script. Fails with 503 at once when `max-queued` others wait.
    /// Dropping the future gives up the place.
    #[expect(clippy::missing_panics_doc, reason = "the semaphore is never closed")]
    pub async fn enter(&self) -> Result<Permit, Failure> {
        // The semaphore hands what comes back to those who wait, so this overtakes nobody.
        if let Ok(free) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Permit { _free: free });
        }
        let _place = self.take_place()?;
        let free = Arc::clone(&self.free)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        Ok(Permit { _free: free })
    }

    fn take_place(&self) -> Result<Place<'_>, Failure> {
        let take = |waiting: usize| (waiting < self.max_queued).then_some(waiting + 1);
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .map(|_| Place(&self.waiting))
            .map_err(|queued| {
                let running = self.max_running;
                Failure::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    Cause::TooManyScripts { running, queued },
                )
            })
    }
}

/// A place among those who wait.
struct Place<'q>(&'q AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn enter(queue: &Queue) -> Poll<Result<Permit, Failure>> {
        poll(pin!(queue.enter()))
    }

    #[test]
    fn a_request_waits_until_a_script_is_over() {
        let queue = Queue::new(1, 1);
        let Poll::Ready(Ok(permit)) = enter(&queue) else {
            panic!("the first one runs at once");
        };
        let mut second = pin!(queue.enter());
        assert!(poll(second.as_mut()).is_pending());
        drop(permit);
        assert!(matches!(poll(second.as_mut()), Poll::Ready(Ok(_))));
    }

    #[test]
    fn more_than_may_wait_are_refused_with_503() {
        let queue = Queue::new(1, 1);
        let _running = enter(&queue);
        let mut second = pin!(queue.enter());
        assert!(poll(second.as_mut()).is_pending());
        let Poll::Ready(Err(failure)) = enter(&queue) else {
            panic!("the third one is refused at once");
        };
        assert_eq!(failure.status, StatusCode::SERVICE_UNAVAILABLE);
        let cause = Cause::TooManyScripts {
            running: 1,
            queued: 1,
        };
        assert_eq!(failure.cause, cause);
    }

    #[test]
    fn a_client_that_leaves_gives_up_its_place() {
        let queue = Queue::new(1, 1);
        let _running = enter(&queue);
        for _ in 0..3 {
            assert!(enter(&queue).is_pending(), "the future is dropped here");
        }
    }

    #[test]
    fn who_comes_later_does_not_overtake() {
        let queue = Queue::new(1, 2);
        let Poll::Ready(Ok(permit)) = enter(&queue) else {
            panic!("the first one runs at once");
        };
        let mut second = pin!(queue.enter());
        assert!(poll(second.as_mut()).is_pending());
        drop(permit);
        assert!(enter(&queue).is_pending());
        assert!(matches!(poll(second.as_mut()), Poll::Ready(Ok(_))));
    }
}
