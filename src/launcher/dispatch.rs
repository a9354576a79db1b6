//! The loop: what has happened, and what is done about it.
//!
//! Everything is waited for in one place and dealt with in the order in which it is listed; no
//! step waits. What a peer sends can only concern its own connection.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::Resource,
};

use crate::{
    cgi::wire::{Launch, MAX_MESSAGE, Refusal, Reply, Request},
    launcher::{StartError, admission, child::Child, connection::Connection, signals::Signals},
    site::Snapshot,
    sys::{
        seqpacket::{Listener, Socket},
        spawn::Spawner,
        wait,
    },
};

/// The most connections, and so the most scripts, at once.
const MAX_CONNECTIONS: usize = 4096;

/// Descriptors that are kept for other things than connections: the streams of a script that is
/// being started, its file and directory, the roots, the configuration's files.
const OTHER_DESCRIPTORS: u64 = 64;

/// How long no connection is accepted after the kernel had no descriptor or memory for one.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How many connections are accepted before the others have their turn again.
const ACCEPTED_AT_ONCE: usize = 16;

/// The most files that a script may open: what `select` can wait for, and what login shells give.
const OPEN_FILES: u64 = 1024;

/// The longest text of a configuration's errors that is sent, in bytes.
pub const MAX_REPORT: usize = 32 * 1024;

/// The launcher's state.
pub struct Launcher<L> {
    /// Absent when no more is to be started.
    listener: Option<Listener>,
    signals: Signals,
    connections: Vec<Connection>,
    max_connections: usize,
    /// Set when the kernel had no descriptor for a new connection.
    accept_after: Option<Instant>,
    load: L,
    snapshot: Snapshot,
    spawner: Spawner,
    /// The soft limit of open files that a script gets.
    open_files: u64,
    /// Where messages are received.
    buffer: Vec<u8>,
}

/// What an event is about.
#[derive(Clone, Copy)]
enum Event {
    Signal,
    Accept,
    Message(usize),
}

impl<L> Launcher<L>
where
    L: FnMut() -> Result<Snapshot, String>,
{
    /// Takes over the listening socket and reads the configuration.
    pub fn new(listener: OwnedFd, signals: Signals, mut load: L) -> Result<Self, StartError> {
        let listener =
            Listener::from_fd(listener).map_err(StartError::at("taking over the socket"))?;
        let snapshot = load().map_err(StartError::Configuration)?;
        let spawner = Spawner::new().map_err(StartError::at("mapping a stack"))?;
        let limit = rustix::process::getrlimit(Resource::Nofile).current;
        let limit = limit.unwrap_or(u64::MAX);
        let connections = usize::try_from(limit.saturating_sub(OTHER_DESCRIPTORS));
        Ok(Self {
            listener: Some(listener),
            signals,
            connections: Vec::new(),
            max_connections: connections.map_or(MAX_CONNECTIONS, |n| n.clamp(1, MAX_CONNECTIONS)),
            accept_after: None,
            load,
            snapshot,
            spawner,
            open_files: limit.min(OPEN_FILES),
            buffer: vec![0; MAX_MESSAGE],
        })
    }

    /// Whether more may come: it was not told to stop, or scripts are still ending.
    pub fn has_work(&self) -> bool {
        self.listener.is_some() || self.connections.iter().any(|one| one.child.is_some())
    }

    /// Waits for events and deals with them.
    pub fn turn(&mut self) -> io::Result<()> {
        for event in self.events()? {
            match event {
                Event::Signal => self.heed_signals()?,
                Event::Accept => self.accept(),
                Event::Message(index) => self.hear(index),
            }
        }
        let now = Instant::now();
        let children = self
            .connections
            .iter_mut()
            .filter_map(|one| one.child.as_mut());
        children.for_each(|child| child.press(now));
        let is_listening = self.listener.is_some();
        self.connections
            .retain(|one| one.child.is_some() || (one.peer.is_some() && is_listening));
        Ok(())
    }

    /// Waits until something happens or a deadline passes. A new connection comes last, so that
    /// the events of others keep their places in the list.
    fn events(&mut self) -> io::Result<Vec<Event>> {
        let now = Instant::now();
        self.accept_after = self.accept_after.filter(|after| *after > now);
        let timeout = self.deadline().map(|deadline| {
            Timespec::try_from(deadline.saturating_duration_since(now))
                .expect("the deadlines here are seconds away at most")
        });
        let mut events = vec![Event::Signal];
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        for (index, connection) in self.connections.iter().enumerate() {
            if let Some(peer) = &connection.peer {
                events.push(Event::Message(index));
                fds.push(PollFd::new(peer, PollFlags::IN));
            }
        }
        let has_room = self.connections.len() < self.max_connections;
        if let (Some(listener), true, None) = (&self.listener, has_room, self.accept_after) {
            events.push(Event::Accept);
            fds.push(PollFd::new(listener, PollFlags::IN));
        }
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let happened = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let ready = events.into_iter().zip(&fds);
        Ok(ready
            .filter_map(|(event, fd)| happened(fd).then_some(event))
            .collect())
    }

    /// When something is to be done even if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let children = self.connections.iter().filter_map(|one| one.child.as_ref());
        children
            .filter_map(Child::deadline)
            .chain(self.accept_after)
            .min()
    }

    fn heed_signals(&mut self) -> io::Result<()> {
        self.signals.drain();
        if self.signals.tell_to_stop() && self.listener.take().is_some() {
            tracing::debug!(
                "the launcher ends {} scripts and itself",
                self.connections.len()
            );
            let now = Instant::now();
            let children = self
                .connections
                .iter_mut()
                .filter_map(|one| one.child.as_mut());
            children.for_each(|child| child.terminate(now));
        }
        while let Some(pid) = wait::ended_child()? {
            let is_it = |child: &mut Child| child.pid() == pid;
            let mut connections = self.connections.iter_mut();
            match connections.find_map(|one| Some((one.child.take_if(is_it)?, one))) {
                Some((child, connection)) => connection.reply(&Reply::Exited(child.bury()?)),
                // Left behind by a script.
                None => drop(wait::reap(pid)?),
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTED_AT_ONCE.min(self.max_connections - self.connections.len()) {
            let Some(listener) = &self.listener else {
                return;
            };
            match listener.accept() {
                Ok((peer, uid)) => self.welcome(peer, uid),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The peer has left before its turn.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!("accepting a connection: {error}");
                    self.accept_after = Some(Instant::now() + BACK_OFF);
                    return;
                }
            }
        }
    }

    /// Takes the requests of this process's own user, and of root, who may do anything anyway.
    fn welcome(&mut self, peer: Socket, uid: u32) {
        if uid == rustix::process::geteuid().as_raw() || uid == 0 {
            self.connections.push(Connection::new(peer));
        } else {
            tracing::warn!("a process of user id {uid} asked the launcher and was turned away");
        }
    }

    /// Hears one message of a connection.
    fn hear(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some((request, streams)) = connection.receive(&mut self.buffer) else {
            return;
        };
        match request {
            Request::Launch(_) if self.listener.is_none() => {
                connection.reject("a script is wanted of a launcher that is ending".into());
            }
            Request::Launch(launch) if connection.child.is_none() => {
                self.launch(index, &launch, streams);
            }
            Request::Launch(_) => connection.reject("a second script on one connection".into()),
            Request::Kill => {
                // Without a script it has ended meanwhile.
                if let Some(child) = &mut connection.child {
                    child.terminate(Instant::now());
                }
            }
            Request::Reload => {
                let reply = self.reload();
                self.connections[index].reply(&reply);
            }
        }
    }

    fn launch(&mut self, index: usize, launch: &Launch, streams: Vec<OwnedFd>) {
        let connection = &mut self.connections[index];
        let Ok(streams) = <[OwnedFd; 3]>::try_from(streams) else {
            return connection.reject("a script has three streams".into());
        };
        let started = admission::admit(&self.snapshot, launch).and_then(|admitted| {
            Child::start(&mut self.spawner, &admitted, &streams, self.open_files)
        });
        // The peer sees the end of the script's output only when no copy is left here.
        drop(streams);
        match started {
            Ok(child) => {
                let pid = child.pid().as_raw_nonzero().get().unsigned_abs();
                connection.child = Some(child);
                connection.reply(&Reply::Started { pid });
            }
            Err(refusal) => {
                let Launch {
                    site, script_name, ..
                } = launch;
                let script = String::from_utf8_lossy(script_name);
                tracing::warn!("{script:?} of site {site:?} was not started: {refusal}");
                connection.reply(&Reply::Refused(refusal));
            }
        }
    }

    /// Reads the configuration again. One with errors changes nothing.
    fn reload(&mut self) -> Reply {
        match (self.load)() {
            Ok(snapshot) => {
                self.snapshot = snapshot;
                Reply::Reloaded
            }
            Err(mut report) => {
                let mut end = report.len().min(MAX_REPORT);
                while !report.is_char_boundary(end) {
                    end -= 1;
                }
                report.truncate(end);
                Reply::Refused(Refusal::Configuration(report))
            }
        }
    }
}
