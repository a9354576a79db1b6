//! Something that happens again and again, and is said now and then.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long nothing is said after it was said.
const PAUSE: Duration = Duration::from_secs(10);

/// Counts what is not said.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    since: u64,
}

impl Seldom {
    /// For a static variable.
    pub const fn new() -> Self {
        Self(Mutex::new(State {
            said: None,
            since: 0,
        }))
    }

    /// It has happened: how often, with this time, since it was said; nothing if it is not yet to be
    /// said again.
    pub fn happened(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.since += 1;
        if state.said.is_some_and(|at| at.elapsed() < PAUSE) {
            return None;
        }
        state.said = Some(Instant::now());
        Some(std::mem::take(&mut state.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_again_at_once_is_counted_and_not_said() {
        let seldom = Seldom::new();
        assert_eq!(seldom.happened(), Some(1));
        assert_eq!(seldom.happened(), None);
        assert_eq!(seldom.happened(), None);
        let mut state = seldom.0.lock().unwrap();
        state.said = state.said.map(|at| at.checked_sub(PAUSE).unwrap());
        drop(state);
        assert_eq!(seldom.happened(), Some(3));
    }
}
