//! The one thread that writes records, and waits for the log so that no request has to.

use std::{
    io::{self, Write},
    os::unix::net::UnixDatagram,
    sync::atomic::Ordering,
    thread::{self, JoinHandle},
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
    /// Nowhere.
    Nowhere,
}

impl Target {
    /// The journal, when there is one.
    pub fn journal() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(JOURNAL)?;
        Ok(Self::Journal(socket))
    }
}

/// Starts the writer. It ends when the last sink is gone and everything is written.
pub fn start(source: Source, target: Target) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("records".into())
        .spawn(move || write_all(&source, target))
}

fn write_all(source: &Source, mut target: Target) {
    while let Ok(record) = source.queue.recv() {
        write(&mut target, &record);
        let dropped = source.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!("{dropped} records were dropped: the log did not keep up");
        }
    }
}

/// A log that cannot be written to is no reason to stop serving, and there is nowhere to say so.
fn write(target: &mut Target, record: &Record) {
    match target {
        Target::Stderr => {
            let _ = anstream::stderr().write_all(format::terminal::line(record).as_bytes());
        }
        Target::Journal(socket) => {
            if socket.send(&format::journal::entry(record)).is_err()
                // journald was restarted: its socket is another one.
                && let Ok(Target::Journal(again)) = Target::journal()
            {
                *socket = again;
                let _ = socket.send(&format::journal::entry(record));
            }
        }
        Target::Nowhere => {}
    }
}
