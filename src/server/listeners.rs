//! All listening sockets, over one configuration after the other.
//!
//! Those of the next configuration are [prepared](Listeners::prepare) beside those in force, which
//! nothing changes before they are [put in their place](Listeners::put). A socket of a socket unit
//! stays open in any case: another configuration may name it again. Until then who connects to it is
//! turned away, for nobody else would accept him.
//!
//! What this process has bound itself is put into the service manager's store, if there is one, and
//! the next process takes it up: a restart closes no socket.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Weak},
};

use rustix::net::sockopt::socket_acceptconn;

use crate::{
    server::{
        error::StartError,
        listener::{Given, Listener, Origin, bound},
    },
    systemd::{
        sockets::Passed,
        store::{self, Store},
    },
    transport::Listen,
};

/// The sockets of the process.
#[derive(Debug)]
pub struct Listeners {
    current: Vec<Arc<Listener>>,
    /// Passed sockets that the configuration in force does not name.
    refusing: Vec<Arc<Listener>>,
    /// What workers may not have closed yet.
    leaving: Vec<Weak<Listener>>,
    passed: Vec<OwnedFd>,
    /// What an earlier process has left in the store, until the first configuration is in force.
    stored: Vec<OwnedFd>,
    store: Store,
}

impl Listeners {
    /// Nothing yet but what was passed in.
    pub fn new(passed: Passed, store: Store) -> Self {
        let mut sockets = passed.sockets;
        // What does not listen is nobody's to connect to.
        sockets.retain(|socket| socket_acceptconn(socket).unwrap_or(false));
        Self {
            current: Vec::new(),
            refusing: Vec::new(),
            leaving: Vec::new(),
            passed: sockets,
            stored: passed.stored,
            store,
        }
    }

    /// Those in force.
    pub fn current(&self) -> &[Arc<Listener>] {
        &self.current
    }

    /// All that connections are accepted from.
    pub fn all(&self) -> Vec<Arc<Listener>> {
        [&*self.current, &self.refusing].concat()
    }

    /// Where passed sockets are bound that no address in force names.
    pub fn aside(&self) -> impl Iterator<Item = &Listen> {
        self.refusing.iter().map(|listener| &listener.bound)
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
                let ours: Vec<_> = ours.chain(self.given().map(|(socket, _)| socket)).collect();
                let opened = Listener::open(address, &self.given().collect::<Vec<_>>(), &ours);
                Arc::new(opened.map_err(|error| self.refusal(address, error))?)
            };
            prepared.push(listener);
        }
        Ok(prepared)
    }

    /// Why there is no listener.
    fn refusal(&self, listen: &Listen, error: io::Error) -> StartError {
        let is_wider = |passed: &Listen| match (passed, listen) {
            (Listen::Tcp(passed), Listen::Tcp(wanted)) => {
                passed.port() == wanted.port() && passed.ip().is_unspecified()
            }
            _ => false,
        };
        let mut passed = self.passed.iter().filter_map(|one| bound(one.as_fd()).ok());
        match passed.find(is_wider) {
            Some(passed) if error.kind() == ErrorKind::AddrInUse => StartError::PassedWider {
                listen: listen.clone(),
                passed,
            },
            _ => StartError::bind(listen, error),
        }
    }

    /// What other processes have, too; those of socket units come first.
    fn given(&self) -> impl Iterator<Item = Given<'_>> {
        let passed = self.passed.iter().map(|one| (one.as_fd(), Origin::Passed));
        let stored = self.stored.iter().map(|one| (one.as_fd(), Origin::Stored));
        passed.chain(stored)
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
        for listener in &self.current {
            listener.have_kept(self.store);
        }
        self.forget_stored();
        self.refuse();
    }

    /// Nothing begins any more in sockets that only this process has: it stops.
    pub fn stop(&mut self) {
        for listener in self.current.drain(..).chain(self.refusing.drain(..)) {
            listener.leave();
        }
    }

    /// Closes what an earlier process has left and the first configuration does not name.
    fn forget_stored(&mut self) {
        for socket in self.stored.drain(..) {
            let Ok(bound) = bound(socket.as_fd()) else {
                continue;
            };
            if !self.current.iter().any(|used| used.bound == bound) {
                tracing::info!("{bound} is not in `listen` any more: it is closed");
                store::forget(&bound);
            }
        }
    }

    /// Turns those away who connect to passed sockets that no address names.
    fn refuse(&mut self) {
        let unnamed = |socket: &&OwnedFd| {
            let bound = bound(socket.as_fd());
            bound.is_ok_and(|bound| !self.current.iter().any(|used| used.bound == bound))
        };
        let refusing = self.passed.iter().filter(unnamed);
        let refusing: Vec<_> = refusing
            .filter_map(|socket| Listener::refusing(socket.as_fd()).ok())
            .map(Arc::new)
            .collect();
        for listener in &refusing {
            let bound = &listener.bound;
            if !self.refusing.iter().any(|known| known.bound == *bound) {
                tracing::warn!(
                    "a socket on {bound} was passed that is not in `listen`: who connects is turned \
                     away; add \"{bound}\" to `listen`, or take it out of its unit \
                     (`systemctl edit pywebd.socket`)"
                );
            }
        }
        self.refusing = refusing;
    }
}
