//! What one worker counts. Its thread alone writes, so that counting is a load and a store in memory
//! which no other worker touches; who asks adds up what all have counted.

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering},
};

use http::StatusCode;

/// The first digits that a status can have.
const CLASSES: usize = 5;

/// The counters of one worker, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tally {
    requests: AtomicU64,
    answers: [AtomicU64; CLASSES],
    /// The last question that this worker has answered.
    answered: AtomicU64,
}

/// What was counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// Requests whose head has come.
    pub requests: u64,
    /// Answers that have begun, by the first digit of their status, from 1.
    pub answers: [u64; CLASSES],
}

impl Tally {
    /// A request has come.
    pub fn request(&self) {
        count(&self.requests);
    }

    /// An answer begins, also one to what was no request.
    pub fn answer(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(counter) = class.checked_sub(1).and_then(|at| self.answers.get(at)) {
            count(counter);
        }
    }

    /// The worker's runtime turns: it has come to this question.
    pub fn prove_life(&self, question: u64) {
        self.answered.store(question, Ordering::Relaxed);
    }

    /// Whether the worker has come to this question.
    pub fn has_answered(&self, question: u64) -> bool {
        self.answered.load(Ordering::Relaxed) >= question
    }

    /// What was counted until now.
    pub fn sum(&self) -> Sum {
        Sum {
            requests: self.requests.load(Ordering::Relaxed),
            answers: std::array::from_fn(|at| self.answers[at].load(Ordering::Relaxed)),
        }
    }
}

/// One thread writes, so nothing is lost between the two.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        for (own, other) in self.answers.iter_mut().zip(other.answers) {
            *own += other;
        }
    }
}
