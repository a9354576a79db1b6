//! The states that a tree has had, and which of them a request may have met.

use std::{
    collections::VecDeque,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::tree::Tree;

/// So many states are kept; a request that lasted longer proves nothing.
const KEPT: usize = 256;

/// So many steps are shown of what led to a failure.
const SHOWN: usize = 40;

/// The states of one tree in their order. The last one may be on its way: its operation has begun.
pub struct History(Mutex<States>);

struct States {
    /// The number of the first state that is kept.
    first: usize,
    kept: VecDeque<(String, Arc<Tree>)>,
    /// The number of the last state whose operation has returned.
    settled: usize,
}

impl History {
    pub fn new(tree: Tree) -> Self {
        Self(Mutex::new(States {
            first: 0,
            kept: VecDeque::from([("the beginning".to_owned(), Arc::new(tree))]),
            settled: 0,
        }))
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation begins that leads to this state.
    pub fn begin(&self, what: String, tree: Tree) {
        let mut states = self.states();
        states.kept.push_back((what, Arc::new(tree)));
        if states.kept.len() > KEPT {
            states.kept.pop_front();
            states.first += 1;
        }
    }

    /// The operation has returned: only its state is right for a request that begins now.
    pub fn settle(&self) {
        let mut states = self.states();
        states.settled = states.first + states.kept.len() - 1;
    }

    /// The last state.
    pub fn last(&self) -> Tree {
        let states = self.states();
        Tree::clone(&states.kept.back().expect("at least one").1)
    }

    /// The number of the state that a request which begins now sees at least.
    pub fn now(&self) -> usize {
        self.states().settled
    }

    /// The states that a request could see which has begun at `begin` and ended just now; none where
    /// they are not kept any more.
    pub fn since(&self, begin: usize) -> Option<Vec<Arc<Tree>>> {
        let states = self.states();
        let skipped = begin.checked_sub(states.first)?;
        let trees = states.kept.iter().skip(skipped);
        Some(trees.map(|(_, tree)| Arc::clone(tree)).collect())
    }

    /// How many steps ago a state was that `fits`, before the one that a request began with.
    pub fn age(&self, begin: usize, fits: impl Fn(&Tree) -> bool) -> Option<usize> {
        let states = self.states();
        let before = begin.saturating_sub(states.first);
        let before = states.kept.iter().take(before).rev();
        let mut ages = before.enumerate().filter(|(_, (_, tree))| fits(tree));
        ages.next().map(|(age, _)| age + 1)
    }

    /// The last steps, and where among them a request began.
    pub fn told(&self, begin: usize) -> String {
        let states = self.states();
        let mut text = String::new();
        let skipped = states.kept.len().saturating_sub(SHOWN);
        for (at, (what, _)) in states.kept.iter().enumerate().skip(skipped) {
            let number = states.first + at;
            let mark = match number {
                _ if number == begin => " <- the request began after this",
                _ if number > states.settled => " <- on its way",
                _ => "",
            };
            let _ = writeln!(text, "  {number} {what}{mark}");
        }
        text
    }
}
