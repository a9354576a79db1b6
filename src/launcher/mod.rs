//! The launcher: a small process of one thread that starts scripts and ends them, so that the
//! network process never forks and can run nothing but what the configuration maps.
//!
//! One loop waits for everything: the listening socket, the connections ([`connection`]), signals
//! ([`signals`]) and the deadlines of scripts that are being ended. A request to launch is checked
//! against the launcher's own reading of the configuration ([`admission`], [`environment`]); then
//! the script is started and watched over ([`child`]). Nothing here ever waits for a peer or for a
//! script.
//!
//! What ends a script ends its process group: SIGTERM, after the grace time SIGKILL; and when the
//! script itself has ended, the rest of its group gets SIGKILL before the end is reported. A
//! process that made a group or a session of its own is not reached by this: it becomes a child
//! of the launcher, which reaps it when it ends. Control groups are what reaches those too.
//!
//! That a child has ended is learned from SIGCHLD alone. The launcher reaps every child itself, so
//! the process id of a script is not given to another process before that, and a descriptor of
//! the process would only tell the same a second time.

#![forbid(unsafe_code)]

mod admission;
mod child;
mod connection;
mod environment;
mod interpreter;
mod signals;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{Pid, Resource, Signal},
};

use crate::{
    cgi::wire::{Launch, MAX_MESSAGE, Refusal, Reply, Request},
    site::Snapshot,
    sys::{
        seqpacket::{Listener, Socket},
        spawn::Spawner,
        wait,
    },
};

use child::Child;
use connection::Connection;
use signals::Signals;

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
const MAX_REPORT: usize = 32 * 1024;

/// Why the launcher did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process that it was to serve has ended already.
    #[error("the process that started the launcher has ended")]
    Abandoned,
    /// The configuration has errors.
    #[error("{0}")]
    Configuration(String),
    /// The operating system refused something.
    #[error("{action}: {error}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
}

impl StartError {
    fn at<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System {
            action,
            error: error.into(),
        }
    }
}

/// Takes the listening socket that this process was given as its standard input, which reads
/// nothing from then on.
pub fn listener_from_stdin() -> io::Result<OwnedFd> {
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(listener)
}

/// Serves until SIGTERM; then ends every script and returns.
///
/// In the foreground `parent` is the process that started this one, from the thread that lives as
/// long as it: the launcher ends when that does. A service manager's launcher has none. `load`
/// reads the configuration, or says what is wrong with it; it is called now and for every request
/// to reload.
///
/// This makes the whole process the launcher: its signals, its children, its working directory.
pub fn run<L>(listener: OwnedFd, parent: Option<u32>, load: L) -> Result<(), StartError>
where
    L: FnMut() -> Result<Snapshot, String>,
{
    let signals = Signals::receive().map_err(StartError::at("handling signals"))?;
    parent.map_or(Ok(()), end_with)?;
    // Processes that a script leaves behind become children of this one.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(StartError::at("becoming a subreaper"))?;
    let mut launcher = Launcher::new(listener, signals, load)?;
    while launcher.listener.is_some() || launcher.has_scripts() {
        launcher
            .turn()
            .map_err(StartError::at("waiting for events"))?;
    }
    Ok(())
}

/// Has the kernel send SIGTERM when the parent ends.
fn end_with(parent: u32) -> Result<(), StartError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(StartError::at("following the parent's end"))?;
    // It may have ended before the kernel was asked.
    let now = rustix::process::getppid().map(Pid::as_raw_nonzero);
    match now.map(|pid| pid.get().unsigned_abs()) {
        Some(now) if now == parent => Ok(()),
        _ => Err(StartError::Abandoned),
    }
}

struct Launcher<L> {
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
    fn new(listener: OwnedFd, signals: Signals, mut load: L) -> Result<Self, StartError> {
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

    fn has_scripts(&self) -> bool {
        self.connections.iter().any(|one| one.child.is_some())
    }

    /// Waits for events and deals with them.
    fn turn(&mut self) -> io::Result<()> {
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
