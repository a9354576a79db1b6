//! The cache as one request sees it.

use std::{
    cell::Cell,
    sync::{Arc, atomic::Ordering},
};

use crate::files::cache::Cache;

/// The cache with all that had happened when a request began, and whether what the request is told
/// holds until more happens.
#[derive(Debug)]
pub struct Sight<'c> {
    cache: &'c Arc<Cache>,
    generation: u64,
    is_lasting: Cell<bool>,
}

impl<'c> Sight<'c> {
    /// The cache as it is, without a look whether anything has happened: for a thread that goes on with
    /// a request.
    pub fn of(cache: &'c Arc<Cache>) -> Self {
        Self {
            cache,
            generation: cache.known_generation(),
            is_lasting: Cell::new(true),
        }
    }

    /// The cache itself.
    pub fn cache(&self) -> &'c Arc<Cache> {
        self.cache
    }

    /// The answer has to do with something that nobody tells the end of, or that nobody knew.
    pub(in crate::files) fn holds_for_now(&self) {
        self.is_lasting.set(false);
    }

    /// Whether all that the request was told held at one moment.
    pub(in crate::files) fn is_of_a_moment(&self) -> bool {
        self.lasting() == Some(self.cache.known_generation())
    }

    /// The generation that all the request was told belongs to: for as long as
    /// [`Cache::generation`] says the same, everybody is told the same. None where that is not all.
    pub fn lasting(&self) -> Option<u64> {
        self.is_lasting.get().then_some(self.generation)
    }
}

impl Cache {
    /// The generation, as far as somebody has taken note of what has happened.
    pub fn known_generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The generation of all that is known, with everything that has happened until now taken note
    /// of. None where that cannot be found out, or nothing is kept.
    pub fn generation(&self) -> Option<u64> {
        self.store().as_ref()?;
        let watch = self.watch.as_ref()?;
        watch.refresh().then(|| self.known_generation())
    }
}
