//! The one thread that writes records, and waits for the log so that no request has to.

use std::{
    io::{self, Write},
    os::unix::net::UnixDatagram,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::records::{Queued, Record, Source, file::AccessFile, format};

/// The journal's socket (systemd's "native" protocol).
const JOURNAL: &str = "/run/systemd/journal/socket";

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
    Journal(UnixDatagram),
}

impl Log {
    /// The journal, when there is one.
    pub fn journal() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(JOURNAL)?;
        Ok(Self::Journal(socket))
    }
}

/// How long the end of the process waits for a log that takes nothing more.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is said that records are dropped: a log that does not keep up is not given more.
const AGAIN: Duration = Duration::from_secs(1);

/// The writer at work.
#[derive(Debug)]
pub struct Writer(Receiver<()>);

/// Starts the writer. It ends when the last sink is gone and everything is written.
pub fn start(source: Source, target: Target) -> io::Result<Writer> {
    source.shared.ignore_requests(target.ignores_requests());
    let (finished, wait) = channel();
    thread::Builder::new()
        .name("records".into())
        .spawn(move || {
            write_all(&source, target);
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
    let mut said = None::<Instant>;
    let mut told = 0;
    loop {
        match source.next(target.requests.patience()) {
            Ok(Queued::Record(record)) => target.write(&record),
            Ok(Queued::Change(next)) => target = target.succeeded_by(next),
            Ok(Queued::Reopen) => target.requests.reopen(),
            Err(RecvTimeoutError::Timeout) => target.requests.flush(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let dropped = source.shared.dropped.load(Ordering::Relaxed);
        if dropped > told && said.is_none_or(|at| at.elapsed() >= AGAIN) {
            let more = dropped - told;
            tracing::warn!("{more} records were dropped: the log did not keep up");
            (said, told) = (Some(Instant::now()), dropped);
        }
    }
    target.requests.finish();
}

impl Target {
    /// Whether requests need not be handed in.
    pub fn ignores_requests(&self) -> bool {
        matches!(self.requests, Requests::Ignored)
    }

    fn write(&mut self, record: &Record) {
        match (&mut self.requests, record) {
            (Requests::InFile(file), Record::Request(request)) => file.add(request),
            // What was on its way when requests began to be ignored.
            (Requests::Ignored, Record::Request(_)) => {}
            _ => self.log.write(record),
        }
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
    /// A log that cannot be written to is no reason to stop serving, and there is nowhere to say so.
    fn write(&mut self, record: &Record) {
        match (self, record) {
            (_, Record::Message(line)) => {
                let _ = anstream::stderr().write_all(line);
            }
            (Self::Stderr, record) => {
                let line = format::terminal::line(record);
                let _ = anstream::stderr().write_all(line.as_bytes());
            }
            (Self::Journal(socket), record) => {
                let entry = format::journal::entry(record);
                if socket.send(&entry).is_err()
                    // journald was restarted: its socket is another one.
                    && let Ok(Self::Journal(again)) = Self::journal()
                {
                    *socket = again;
                    let _ = socket.send(&entry);
                }
            }
        }
    }
}
