//! The one thread that writes records, and waits for the log so that no request has to.

use std::{
    io::{self, Write},
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::dispatcher::{Dispatch, with_default};

use crate::records::{
    Queued, Record, Source, file::AccessFile, format, journal::Journal, message_id,
};

/// Where records are written.
#[derive(Debug)]
pub struct Target {
    /// Those of requests, and of connections without one.
    pub requests: Requests,
    /// What scripts write to stderr.
    pub log: Log,
}

/// Where requests, and connections without one, are written down (`[log] access`).
#[derive(Debug)]
pub enum Requests {
    /// With everything else.
    Logged,
    /// In a file of their own.
    InFile(AccessFile),
    /// Nowhere.
    Ignored,
}

/// A log for people.
#[derive(Debug)]
pub enum Log {
    /// Lines on standard error, colored on a terminal.
    Stderr,
    /// Entries of the journal.
    Journal(Journal),
}

impl Log {
    /// The journal, when there is one.
    pub fn journal() -> io::Result<Self> {
        Journal::open().map(Self::Journal)
    }
}

/// How long the end of the process waits for a log that takes nothing more.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is said that records are dropped: a log that does not keep up is not given more.
const AGAIN: Duration = Duration::from_secs(1);

/// The writer at work.
#[derive(Debug)]
pub struct Writer(Receiver<()>);

/// Starts the writer. It ends when the last sink is gone and everything is written. `messages` makes
/// what writes messages down at once, the writer's own and those that come through the queue; only
/// this thread may wait for it.
pub fn start(
    source: Source,
    target: Target,
    messages: impl FnOnce() -> Dispatch + Send + 'static,
) -> io::Result<Writer> {
    source.shared.ignore_requests(target.ignores_requests());
    let (finished, wait) = channel();
    thread::Builder::new()
        .name("records".into())
        .spawn(move || {
            with_default(&messages(), || write_all(&source, target));
            drop(finished);
        })?;
    Ok(Writer(wait))
}

impl Writer {
    /// Waits until everything is written, but not for a log that is stuck.
    pub fn finish(self) {
        // Nothing is ever sent: the channel closes when the thread ends.
        let _ = self.0.recv_timeout(PATIENCE);
    }
}

fn write_all(source: &Source, mut target: Target) {
    let mut buffer = Vec::new();
    let mut losses = Losses::default();
    loop {
        let untold = losses.untold(source).then_some(AGAIN);
        let patience = target.requests.patience().into_iter().chain(untold).min();
        match source.next(patience) {
            Ok(Queued::Record(record)) => {
                if target.write(&record, &mut buffer).is_err() {
                    source.shared.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(Queued::Change(next)) => target = target.succeeded_by(next),
            Ok(Queued::Reopen) => target.requests.reopen(),
            Err(RecvTimeoutError::Timeout) => target.requests.flush(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if losses.untold(source) && losses.said.is_none_or(|at| at.elapsed() >= AGAIN) {
            losses.tell(source);
        }
    }
    if losses.untold(source) {
        losses.tell(source);
    }
    target.requests.finish();
}

/// What is said of the records that were dropped.
#[derive(Debug, Default)]
struct Losses {
    said: Option<Instant>,
    /// How many that told of.
    told: u64,
}

impl Losses {
    fn untold(&self, source: &Source) -> bool {
        source.shared.dropped.load(Ordering::Relaxed) > self.told
    }

    fn tell(&mut self, source: &Source) {
        let dropped = source.shared.dropped.load(Ordering::Relaxed);
        let more = dropped - self.told;
        tracing::warn!(
            MESSAGE_ID = message_id::RECORDS_DROPPED,
            PYWEBD_DROPPED = more,
            "{more} records were dropped: the log did not keep up"
        );
        (self.said, self.told) = (Some(Instant::now()), dropped);
    }
}

impl Target {
    /// Whether requests need not be handed in.
    pub fn ignores_requests(&self) -> bool {
        matches!(self.requests, Requests::Ignored)
    }

    /// Fails when the log cannot have this record.
    fn write(&mut self, record: &Record, buffer: &mut Vec<u8>) -> io::Result<()> {
        match (&mut self.requests, record) {
            (Requests::InFile(file), Record::Request(request)) => file.add(request),
            // What was on its way when requests began to be ignored.
            (Requests::Ignored, Record::Request(_)) => {}
            _ => return self.log.write(record, buffer),
        }
        Ok(())
    }

    fn succeeded_by(self, next: Self) -> Self {
        let requests = match (self.requests, next.requests) {
            (Requests::InFile(old), Requests::InFile(new)) => {
                Requests::InFile(old.succeeded_by(new))
            }
            (old, new) => {
                old.finish();
                new
            }
        };
        Self { requests, ..next }
    }
}

impl Requests {
    fn patience(&self) -> Option<Duration> {
        match self {
            Self::InFile(file) => file.patience(),
            Self::Logged | Self::Ignored => None,
        }
    }

    fn flush(&mut self) {
        if let Self::InFile(file) = self {
            file.flush();
        }
    }

    fn reopen(&mut self) {
        if let Self::InFile(file) = self {
            file.reopen();
        }
    }

    fn finish(self) {
        if let Self::InFile(file) = self {
            file.finish();
        }
    }
}

impl Log {
    /// A closed standard error is no reason to stop serving, and there is nowhere to say so.
    fn write(&mut self, record: &Record, buffer: &mut Vec<u8>) -> io::Result<()> {
        match (self, record) {
            (_, Record::Line(line)) => {
                let _ = anstream::stderr().write_all(line);
            }
            (log, Record::Message(message)) => {
                if let Self::Journal(journal) = log {
                    // The subscriber does not try again.
                    journal.await_journald();
                }
                message.dispatch();
            }
            (Self::Stderr, Record::Request(request)) => {
                let line = format::terminal::request(request);
                let _ = anstream::stderr().write_all(line.as_bytes());
            }
            (Self::Stderr, Record::Script(script)) => {
                let line = format::terminal::script(script);
                let _ = anstream::stderr().write_all(line.as_bytes());
            }
            (Self::Journal(journal), Record::Request(request)) => {
                buffer.clear();
                format::journal::request(request, buffer);
                return journal.send(buffer);
            }
            (Self::Journal(journal), Record::Script(script)) => {
                buffer.clear();
                format::journal::script(script, buffer);
                return journal.send(buffer);
            }
        }
        Ok(())
    }
}
