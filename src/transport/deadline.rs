//! The timer of a connection.
//!
//! It is only ever moved to an earlier time; one that comes too early looks at the clock again. So
//! a request that flows never touches it, whatever its deadline.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tokio::time::{Sleep, sleep_until};

use crate::transport::progress::{Overdue, Patience, Progress};

/// Watches over the turns of a client.
#[derive(Debug)]
pub struct Deadline {
    /// How long each turn may take; may change from one to the next.
    pub patience: Patience,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Deadline {
    /// A deadline for each turn of a client.
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            timer: None,
        }
    }

    /// Ready when the client was too slow. To be polled whenever the progress may have changed;
    /// `unsent` tells how many bytes the client has not acknowledged.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        progress: &Progress,
        unsent: impl Fn() -> usize,
    ) -> Poll<Overdue> {
        while let Some((deadline, overdue)) = progress.deadline(&self.patience) {
            match &mut self.timer {
                Some((armed, timer)) if *armed <= deadline => {
                    if timer.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    let is_due = *armed == deadline;
                    self.timer = None;
                    let has_taken = overdue == Overdue::Response && progress.has_taken(unsent());
                    if is_due && !has_taken {
                        return Poll::Ready(overdue);
                    }
                }
                timer => *timer = Some((deadline, Box::pin(sleep_until(deadline.into())))),
            }
        }
        Poll::Pending
    }
}
