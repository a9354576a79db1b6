//! The one thread that writes records, and waits for the log so that no request has to.

use std::{
    io::{self, Write},
    os::unix::net::UnixDatagram,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::records::{Record, Source, format};

/// The journal's socket (systemd's "native" protocol).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where records are written.
#[derive(Debug)]
pub enum Target {
    /// Lines on standard error, colored on a terminal.
    Stderr,
    /// Entries of the journal.
    Journal(UnixDatagram),
}

impl Target {
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
    while let Some(record) = source.next() {
        write(&mut target, &record);
        if source.dropped.load(Ordering::Relaxed) > 0 && said.is_none_or(|at| at.elapsed() >= AGAIN)
        {
            let dropped = source.dropped.swap(0, Ordering::Relaxed);
            tracing::warn!("{dropped} records were dropped: the log did not keep up");
            said = Some(Instant::now());
        }
    }
}

/// A log that cannot be written to is no reason to stop serving, and there is nowhere to say so.
fn write(target: &mut Target, record: &Record) {
    match (target, record) {
        (_, Record::Message(line)) => {
            let _ = anstream::stderr().write_all(line);
        }
        (Target::Stderr, record) => {
            let line = format::terminal::line(record);
            let _ = anstream::stderr().write_all(line.as_bytes());
        }
        (Target::Journal(socket), record) => {
            let entry = format::journal::entry(record);
            if socket.send(&entry).is_err()
                // journald was restarted: its socket is another one.
                && let Ok(Target::Journal(again)) = Target::journal()
            {
                *socket = again;
                let _ = socket.send(&entry);
            }
        }
    }
}
