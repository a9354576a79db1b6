//! All listening sockets, over one configuration after the other.
//!
//! Those of the next configuration are [prepared](Listeners::prepare) beside those in force, which
//! nothing changes before they are [put in their place](Listeners::put). A socket that was passed
//! in stays open in any case: another configuration may name it again.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Weak},
};

use crate::{
    server::{
        error::StartError,
        listener::{Listener, bound},
    },
    transport::Listen,
};

/// The sockets of the process.
#[derive(Debug)]
pub struct Listeners {
    current: Vec<Arc<Listener>>,
    /// What workers may not have closed yet.
    leaving: Vec<Weak<Listener>>,
    passed: Vec<OwnedFd>,
}

impl Listeners {
    /// Nothing yet but what was passed in.
    pub fn new(passed: Vec<OwnedFd>) -> Self {
        Self {
            current: Vec::new(),
            leaving: Vec::new(),
            passed,
        }
    }

    /// Those in force.
    pub fn current(&self) -> &[Arc<Listener>] {
        &self.current
    }

    /// Where passed sockets are bound that no address in force names.
    pub fn aside(&self) -> impl Iterator<Item = Listen> {
        let passed = self.passed.iter().filter_map(|socket| bound(socket).ok());
        passed.filter(|bound| !self.current.iter().any(|used| *used.listen == *bound))
    }

    /// A listener for every address, in order: the one in force, else a passed socket, else a new
    /// one. What is new is closed again when it is dropped, or when one cannot be had.
    pub fn prepare(&self, addresses: &[Listen]) -> Result<Vec<Arc<Listener>>, StartError> {
        // The name of a Unix socket goes at once, and the next one has a socket of its own.
        let is_tcp = |listener: &Arc<Listener>| matches!(*listener.listen, Listen::Tcp(_));
        let leaving = self.leaving.iter().filter_map(Weak::upgrade).filter(is_tcp);
        let known: Vec<_> = self.current.iter().cloned().chain(leaving).collect();
        let mut prepared: Vec<Arc<Listener>> = Vec::new();
        for address in addresses {
            let same = known.iter().find(|listener| *listener.listen == *address);
            let listener = if let Some(listener) = same {
                Arc::clone(listener)
            } else {
                let ours = known.iter().chain(&prepared).map(AsFd::as_fd);
                let ours: Vec<_> = ours.chain(self.passed.iter().map(AsFd::as_fd)).collect();
                let opened = Listener::open(address, &self.passed, &ours);
                Arc::new(opened.map_err(|error| StartError::bind(address, error))?)
            };
            prepared.push(listener);
        }
        Ok(prepared)
    }

    /// Puts what was prepared in force. The workers close the others.
    pub fn put(&mut self, prepared: Vec<Arc<Listener>>) {
        self.leaving.retain(|listener| listener.strong_count() > 0);
        for listener in &prepared {
            let is_same = |leaving: &Weak<Listener>| leaving.as_ptr() == Arc::as_ptr(listener);
            if self.leaving.iter().any(is_same) {
                listener.wind_up();
            }
        }
        for former in std::mem::replace(&mut self.current, prepared) {
            if !self
                .current
                .iter()
                .any(|listener| Arc::ptr_eq(listener, &former))
            {
                former.wind_down();
                self.leaving.push(Arc::downgrade(&former));
            }
        }
    }
}
