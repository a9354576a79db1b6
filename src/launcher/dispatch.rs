//! The loop: what has happened, and what is done about it.
//!
//! Everything is waited for in one place and dealt with in the order in which it is listed; no
//! step waits. What a peer sends can only concern its own connection.

mod copy;
mod strays;

use std::{
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{Pid, Signal},
};

use crate::{
    cgi::wire::{Launch, MAX_MESSAGE, Refusal, Reply, Request},
    launcher::{
        StartError, admission,
        admission::Admitted,
        announcement::Announcement,
        attendants::{Attendants, Role},
        child::Child,
        connection::{Connection, Peers, shortened},
        descriptors,
        family::{self, Family},
        groups::{Group, Groups},
        signals::Signals,
    },
    site::Snapshot,
    sys::{
        fork::fork,
        seqpacket::{Listener, Socket},
        spawn::Spawner,
        wait::{self, Children},
    },
    systemd::notify,
};

/// How long no connection is accepted after the kernel had no descriptor or memory for one.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How many connections are accepted before the others have their turn again.
const ACCEPTED_AT_ONCE: usize = 16;

/// How long a launcher that is told to stop waits for scripts to end and for what it has killed.
const STOP: Duration = Duration::from_secs(5);

/// How long the end of what was killed is waited for, where nothing else is to be done.
const LAST: Duration = Duration::from_secs(2);

/// The launcher's state.
pub struct Launcher<L> {
    /// Absent when no more is to be started.
    listener: Option<Listener>,
    signals: Signals,
    peers: Peers,
    connections: Vec<Connection>,
    max_connections: usize,
    /// Set when the kernel had no descriptor for a new connection.
    accept_after: Option<Instant>,
    load: L,
    /// Absent before somebody wants something: the server says when it has read the configuration, and
    /// then it is read here.
    snapshot: Option<Arc<Snapshot>>,
    spawner: Spawner,
    family: Family,
    groups: Option<Groups>,
    role: Role,
    attendants: Attendants,
    /// How many scripts were to be started.
    launches: u64,
    /// What scripts have left that may stay, or that the kernel takes its time with.
    left: Vec<Group>,
    /// Set when it was told to stop: when it has waited long enough.
    stop_by: Option<Instant>,
    /// Where a service manager hears it.
    announcement: Option<Announcement>,
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
    /// Takes over the listening socket.
    pub fn new(
        listener: OwnedFd,
        (signals, groups): (Signals, Result<Groups, String>),
        peers: Peers,
        load: L,
    ) -> Result<Self, StartError> {
        let listener =
            Listener::from_fd(listener).map_err(StartError::at("taking over the socket"))?;
        let spawner = Spawner::new().map_err(StartError::at("mapping a stack"))?;
        Ok(Self {
            listener: Some(listener),
            signals,
            peers,
            connections: Vec::new(),
            max_connections: descriptors::connections(),
            accept_after: None,
            load,
            snapshot: None,
            spawner,
            family: Family::new(),
            attendants: Attendants::new(groups.as_ref().err().cloned()),
            groups: groups.ok(),
            role: Role::Launcher,
            launches: 0,
            left: Vec::new(),
            stop_by: None,
            announcement: None,
            buffer: vec![0; MAX_MESSAGE],
        })
    }

    /// Tells a service manager that requests are taken, and from now on how it goes.
    pub fn announce(&mut self) {
        self.announcement = Announcement::begin();
    }

    /// Whether more may come: it was not told to stop, or scripts are still ending.
    pub fn has_work(&self) -> bool {
        let is_late = self.stop_by.is_some_and(|by| by <= Instant::now());
        let is_busy = || {
            self.connections.iter().any(|one| one.child.is_some())
                || self.attendants.count() > 0
                || !self.left.is_empty()
        };
        // What a script has left to an attendant may stay.
        let has_children = || wait::children().is_ok_and(|children| children != Children::None);
        self.listener.is_some()
            || (!is_late && (is_busy() || (self.is_attendant() && has_children())))
    }

    /// Ends what is left when it was waited for long enough.
    pub fn finish(self) -> io::Result<()> {
        self.attendants.signal(Signal::KILL);
        family::end(Instant::now() + LAST)
    }

    /// Waits for events and deals with them.
    pub fn turn(&mut self) -> io::Result<()> {
        let role = self.role;
        for event in self.events()? {
            match event {
                Event::Signal => self.heed_signals()?,
                Event::Accept => self.accept(),
                Event::Message(index) => {
                    self.hear(index);
                    // Many may want a script at once, and an end is not to wait for all of them; that
                    // of the one just started is told with its start.
                    self.reap_ended()?;
                    self.connection(index).tell_start();
                    if self.role != role {
                        // The other events are those of the original.
                        break;
                    }
                }
            }
        }
        self.bury();
        let now = Instant::now();
        let children = self
            .connections
            .iter_mut()
            .filter_map(|one| one.child.as_mut());
        children.for_each(|child| child.press(now));
        let running = self.running();
        if let Some(announcement) = &mut self.announcement {
            announcement.tell(running);
        }
        let is_listening = self.listener.is_some();
        // Their peers make new ones, which others may have waited for.
        let is_full = self.room() == 0;
        self.connections.retain(|one| {
            let may_ask = one.peer.is_some() && is_listening && !(is_full && one.has_served);
            one.child.is_some() || may_ask
        });
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
        if let (Some(listener), 1.., None) = (&self.listener, self.room(), self.accept_after) {
            events.push(Event::Accept);
            fds.push(PollFd::new(listener, PollFlags::IN));
        }
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            // By one of those.
            Err(Errno::INTR) => return Ok(vec![Event::Signal]),
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
            .chain(self.stop_by)
            .chain(
                self.announcement
                    .as_ref()
                    .and_then(|one| one.due(self.running())),
            )
            .min()
    }

    /// How many scripts run.
    fn running(&self) -> usize {
        self.scripts().count() + self.attendants.count()
    }

    fn heed_signals(&mut self) -> io::Result<()> {
        self.signals.drain();
        if self.signals.tell_to_stop() && self.stop_by.is_none() {
            self.stop()?;
        }
        self.attendants.resume();
        self.reap_ended()
    }

    fn reap_ended(&mut self) -> io::Result<()> {
        let mut has_reaped = false;
        while let Children::Ended(pid) = wait::children()? {
            self.reap(pid)?;
            has_reaped = true;
        }
        if has_reaped && !self.is_attendant() {
            self.end_strays()?;
        }
        self.bury();
        Ok(())
    }

    fn reap(&mut self, pid: Pid) -> io::Result<()> {
        let mut children = self.connections.iter_mut();
        let script = children.find_map(|one| one.child.as_mut().filter(|one| one.pid() == pid));
        if let Some(script) = script {
            let may_stay = script.end()?;
            if self.is_attendant() && !may_stay {
                // An attendant has no other children, so all of them are the script's.
                family::end(Instant::now() + LAST)?;
            }
            return Ok(());
        }
        wait::reap(pid)?;
        let group = self.attendants.remove(pid);
        let find = |name: String| self.groups.as_ref()?.find(&name);
        if let Some(group) = group.and_then(find) {
            // It has ended before its script.
            group.end();
            self.left.push(group);
        }
        Ok(())
    }

    fn scripts(&self) -> impl Iterator<Item = &Child> {
        self.connections.iter().filter_map(|one| one.child.as_ref())
    }

    /// Takes no more requests, and ends every script.
    fn stop(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.announcement.take().is_some() {
            notify::stopping();
        }
        self.listener = None;
        self.stop_by = Some(now + STOP);
        for child in self
            .connections
            .iter_mut()
            .filter_map(|one| one.child.as_mut())
        {
            child.terminate(now);
        }
        // Each ends its script as this process does.
        self.attendants.signal(Signal::TERM);
        self.left.iter().for_each(Group::end);
        if self.is_attendant() && self.scripts().next().is_none() {
            family::end(now + LAST)?;
        }
        Ok(())
    }

    /// Tells the end of scripts of which nothing is left.
    fn bury(&mut self) {
        for connection in &mut self.connections {
            let exit = connection.child.as_ref().and_then(Child::over);
            if let (Some(exit), Some(child)) = (exit, connection.child.take_if(|_| exit.is_some()))
            {
                let pid = child.number();
                // What was told of is gone.
                self.left.extend(child.leave());
                connection.tell_end(pid, exit);
            }
        }
        self.left.retain(|group| !group.remove());
    }

    fn is_attendant(&self) -> bool {
        self.role == Role::Attendant
    }

    /// How many more connections there may be.
    fn room(&self) -> usize {
        let taken = self.connections.len() + self.attendants.count();
        self.max_connections.saturating_sub(taken)
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTED_AT_ONCE.min(self.room()) {
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

    /// Takes the requests of those who may ask.
    fn welcome(&mut self, peer: Socket, uid: u32) {
        if self.peers.include(uid) {
            self.connections.push(Connection::new(peer));
        } else {
            // Every user of the machine can connect, as often as they like.
            tracing::debug!("a process of user id {uid} asked the launcher and was turned away");
        }
    }

    /// Hears one message of a connection.
    fn hear(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if self.listener.is_none() && connection.child.is_none() && self.role == Role::Launcher {
            // The peer is told that nobody has received what it asks for, and asks the next launcher.
            return;
        }
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
                let reply = self.read();
                let reply = reply.map_or_else(Reply::Refused, |_| Reply::Reloaded);
                self.connections[index].reply(&reply);
            }
        }
    }

    fn launch(&mut self, index: usize, launch: &Launch, streams: Vec<OwnedFd>) {
        let Ok(streams) = <[OwnedFd; 3]>::try_from(streams) else {
            return self.connections[index].reject("a script has three streams".into());
        };
        let started = match self.snapshot() {
            Err(refusal) => Some(Err(refusal)),
            Ok(snapshot) => match admission::admit(&snapshot, launch) {
                Ok(admitted) => self.start(index, launch, &admitted, &streams),
                Err(refusal) => Some(Err(refusal)),
            },
        };
        // The peer sees the end of the script's output only when no copy is left here.
        drop(streams);
        let connection = self.connection(index);
        match started {
            None => {}
            Some(Ok(child)) => connection.child = Some(child),
            Some(Err(refusal)) => connection.refuse(launch, refusal),
        }
    }

    /// Starts a script, in a copy of this process if it needs one: then nothing is left to do here.
    fn start(
        &mut self,
        index: usize,
        launch: &Launch,
        admitted: &Admitted<'_>,
        streams: &[OwnedFd; 3],
    ) -> Option<Result<Child, Refusal>> {
        self.launches += 1;
        let name = format!("{}.{}", launch.site, self.launches);
        if self.groups.is_none() || admitted.account.is_some() {
            let launcher = std::process::id();
            match fork() {
                Ok(Some(attendant)) => {
                    self.attendants.add(attendant, name);
                    self.connections[index].peer = None;
                    return None;
                }
                Ok(None) => {
                    if let Err(error) = self.become_attendant(launcher, index) {
                        return Some(Err(Refusal::system("attendant", &error)));
                    }
                }
                Err(error) => return Some(Err(Refusal::system("fork", &error))),
            }
        }
        let group = (self.groups.as_ref(), &*name);
        Some(Child::start(&mut self.spawner, admitted, streams, group))
    }

    /// The connection at a place; a copy has kept none but that of its script.
    fn connection(&mut self, index: usize) -> &mut Connection {
        match self.role {
            Role::Launcher => &mut self.connections[index],
            Role::Attendant => &mut self.connections[0],
        }
    }

    /// The configuration, read now where that was not asked for yet.
    fn snapshot(&mut self) -> Result<Arc<Snapshot>, Refusal> {
        match &self.snapshot {
            Some(snapshot) => Ok(Arc::clone(snapshot)),
            None => self.read(),
        }
    }

    /// Reads the configuration. One with errors changes nothing.
    fn read(&mut self) -> Result<Arc<Snapshot>, Refusal> {
        let read = Announcement::patiently(self.announcement.as_ref(), &mut self.load);
        let read = read.map_err(|report| Refusal::Configuration(shortened(report)))?;
        Ok(Arc::clone(self.snapshot.insert(Arc::new(read))))
    }
}
