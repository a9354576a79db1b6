//! The network process: one loop over events owns the listeners, the snapshot and the workers.
//!
//! Requests never pass through here. Only this loop changes the server's state.

mod connection;
pub mod control;
pub mod current;
mod descriptors;
mod ending;
pub mod error;
pub mod event;
mod front;
mod idle;
pub mod launcher;
pub mod listener;
mod listeners;
pub mod logs;
mod outcome;
mod pulse;
mod refusal;
mod reload;
mod repeats;
pub mod status;
mod tally;
mod watch;
mod worker;
mod workers;

use std::{
    io, iter,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant, SystemTime},
};

use crate::{
    cgi::Gateway,
    config::{self, Values, compare::compare},
    files::Cache,
    records::message_id,
    service::Service,
    site::Snapshot,
    sys::heap,
    systemd,
    transport::Listen,
};

use control::{Answer, Asked, Control, Place, Request};
use current::Current;
use error::StartError;
use event::{Event, Signals};
use launcher::LauncherChild;
use listeners::Listeners;
use logs::Logs;
use outcome::Latest;
use pulse::Pulse;
use watch::Watch;
use worker::Counters;
use workers::Workers;

/// How long requests in flight may take to finish when the server stops.
const GRACE: Duration = Duration::from_secs(30);

/// Everything the server is started with.
#[derive(Debug)]
pub struct Start {
    /// Where the configuration came from, to read it again.
    pub source: config::Source,
    /// The configuration as loaded.
    pub snapshot: Snapshot,
    /// Its values, to tell what a reload changes.
    pub values: Values,
    /// What it was made from.
    pub seen: Vec<config::Seen>,
    /// Signals, taken since before the configuration was loaded.
    pub signals: Signals,
    /// Listening sockets that were passed in.
    pub sockets: systemd::sockets::Passed,
    /// The way to the launcher.
    pub gateway: Gateway,
    /// The launcher, where it is a child of this process and started again when it ends.
    pub launcher: Option<LauncherChild>,
    /// The log in use.
    pub logs: Logs,
    /// Where the control socket is to be, if there is to be one.
    pub control: Option<Place>,
}

/// A worker ended while the server ran: its connections are lost, and its share of new ones would
/// be. The server stops, to be started again.
#[derive(Debug, thiserror::Error)]
#[error("a worker has ended unexpectedly")]
pub struct WorkerLost;

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    source: config::Source,
    values: Values,
    current: Current,
    cache: Arc<Cache>,
    gateway: Gateway,
    /// Ends with the server.
    launcher: Option<LauncherChild>,
    listeners: Listeners,
    workers: Workers,
    watch: Watch,
    logs: Logs,
    /// Until the server stops.
    control: Option<Control>,
    /// When it has started, for people and for what has passed since.
    started: (SystemTime, Instant),
    /// When the configuration was put in force.
    in_force_since: SystemTime,
    /// The last reload.
    latest: Option<Latest>,
    pulse: Pulse,
    events: Receiver<Event>,
}

impl Server {
    /// Binds, starts the workers, and takes signals from now on.
    pub fn start(start: Start) -> Result<Self, StartError> {
        let store = systemd::store::Store::of_this_service();
        let mut listeners = Listeners::new(start.sockets, store);
        listeners.put(listeners.prepare(&start.snapshot.listen)?);
        let (sender, events) = channel();
        let watched = event::watch_signals(start.signals, sender.clone());
        watched.map_err(StartError::system("taking signals"))?;
        let watch = Watch::start(sender.clone());
        watch.follow(start.seen);
        if let Some(launcher) = &start.launcher {
            let kept = launcher.keep(sender.clone());
            kept.map_err(StartError::system("watching the launcher"))?;
        }
        let control = start.control.and_then(|place| control(place, &sender));
        let cache = Arc::new(Cache::new(start.snapshot.cache));
        let count = start.snapshot.workers;
        let current = Current::new(Arc::new(start.snapshot));
        let service = Service {
            gateway: start.gateway.clone(),
            cache: Arc::clone(&cache),
            sink: start.logs.sink.clone(),
        };
        let counters = Counters::new(descriptors::connections());
        let mut workers = Workers::new(current.clone(), service, counters, sender);
        let prepared = workers.prepare(count, listeners.current().len())?;
        workers.put(prepared, &listeners.all());
        let started = (SystemTime::now(), Instant::now());
        Ok(Self {
            source: start.source,
            values: start.values,
            current,
            cache,
            gateway: start.gateway,
            launcher: start.launcher,
            listeners,
            workers,
            watch,
            logs: start.logs,
            control,
            started,
            in_force_since: started.0,
            latest: None,
            pulse: Pulse::start(),
            events,
        })
    }

    /// Where the server listens, with the ports that were found.
    pub fn addresses(&self) -> impl Iterator<Item = &Listen> {
        let listeners = self.listeners.current().iter();
        listeners.map(|listener| &listener.bound)
    }

    /// Serves until it is told to stop, then lets requests in flight finish; told again, ends at once.
    pub fn run(mut self) -> Result<(), WorkerLost> {
        self.pulse.ready(self.summary());
        let outcome = self.obey();
        systemd::notify::stopping();
        // Another server may take its place now.
        self.control = None;
        if let Some(launcher) = &self.launcher {
            launcher.let_go();
        }
        // The name of a Unix socket goes before those who have found it are accepted.
        self.listeners.stop();
        self.workers.drain(GRACE);
        self.finish();
        outcome
    }

    /// Waits until all workers have ended by themselves, or for another signal to stop.
    fn finish(&mut self) {
        while !self.workers.have_ended() {
            match self.events.recv() {
                Ok(Event::WorkerEnded(number)) => drop(self.workers.ended(number)),
                Ok(Event::Stop) => {
                    tracing::warn!("told to stop again: requests in flight are cut off");
                    self.workers.end();
                }
                Ok(Event::ReopenLogs) => self.logs.reopen(),
                // Who asks something is told, by the end of its channel, that the server stops.
                Ok(Event::Reload | Event::Changed | Event::Asked(_)) => {}
                Err(_) => return,
            }
        }
    }

    fn obey(&mut self) -> Result<(), WorkerLost> {
        loop {
            let first = self.next()?;
            let waiting: Vec<Event> = iter::once(first).chain(self.events.try_iter()).collect();
            if waiting.iter().any(|event| matches!(event, Event::Stop)) {
                tracing::info!(
                    MESSAGE_ID = message_id::STOPPING,
                    "stopping: requests in flight finish; another signal ends them"
                );
                return Ok(());
            }
            // One reading comes after all changes that were told of by now.
            if waiting.iter().any(Event::wants_reload) {
                drop(self.reload());
            }
            for event in waiting {
                match event {
                    Event::ReopenLogs => self.logs.reopen(),
                    Event::Asked(Asked { request, reply }) => {
                        // Who asked may be gone.
                        let _ = reply.send(self.answer(request));
                    }
                    Event::WorkerEnded(number) if self.workers.ended(number) => {
                        return Err(WorkerLost);
                    }
                    Event::WorkerEnded(_) | Event::Reload | Event::Changed | Event::Stop => {}
                }
            }
        }
    }

    /// Waits for the next event, and gives signs of life meanwhile.
    fn next(&mut self) -> Result<Event, WorkerLost> {
        loop {
            let received = match self.pulse.next() {
                None => self
                    .events
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
                Some(next) => {
                    let patience = next.saturating_duration_since(Instant::now());
                    self.events.recv_timeout(patience)
                }
            };
            self.pulse.beat(&mut self.workers);
            if self.pulse.wants_line() {
                self.pulse.tell(self.summary());
            }
            match received {
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(WorkerLost),
            }
        }
    }

    fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Status => outcome::status(&self.look()),
            Request::Reload => self.reload(),
            Request::Diff => {
                let preview = || outcome::preview(&self.source, &self.values);
                self.pulse.patiently(preview)
            }
        }
    }

    fn reload(&mut self) -> Answer {
        systemd::notify::reloading();
        let outcome = self.pulse.patiently(|| {
            reload::reload(
                &self.source,
                (&self.listeners, &mut self.workers),
                &self.gateway,
                &self.current,
            )
        });
        let time = SystemTime::now();
        let answer = match outcome {
            Ok(reloaded) => {
                let changes = compare(&self.values, &reloaded.values);
                self.values = reloaded.values;
                let prepared = reloaded.prepared;
                self.listeners.put(prepared.listeners);
                self.cache.resize(self.current.snapshot().cache);
                self.workers.put(prepared.workers, &self.listeners.all());
                self.watch.follow(reloaded.seen);
                let snapshot = self.current.snapshot();
                self.logs.change(&snapshot.log, prepared.records);
                outcome::log(&changes, &reloaded.report);
                self.in_force_since = time;
                self.latest = Some(Latest::done(time, &changes));
                self.pulse.ready(self.summary());
                outcome::answer(&changes, &reloaded.report, outcome::UNCHANGED)
            }
            Err((error, seen)) => {
                // What was broken is mended where it was looked for now.
                self.watch.follow(seen);
                error.log();
                self.latest = Some(Latest::failed(time, &error));
                self.pulse.ready(self.summary());
                error.answer()
            }
        };
        // Two configurations, and all that was read for one, were in memory.
        heap::trim();
        answer
    }
}

/// The control socket. A server serves without one, too.
fn control(place: Place, events: &Sender<Event>) -> Option<Control> {
    let remedy = "for `pywebd reload`, name one with --control; SIGHUP reloads without it";
    let (path, is_named) = match place {
        Place::Named(path) => (path, true),
        Place::Usual(path) => (path, false),
        Place::Unknown => {
            tracing::info!(
                "no control socket: neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR is set; {remedy}"
            );
            return None;
        }
    };
    let shown = path.display().to_string();
    let refused = |error: &io::Error| {
        if is_named {
            tracing::warn!(
                "no control socket at {shown}: {error}; `pywebd reload` does not reach this server"
            );
        } else {
            tracing::info!("no control socket at {shown}: {error}; {remedy}");
        }
    };
    Control::start(path, events.clone())
        .inspect_err(refused)
        .ok()
}
