//! What the server's loop waits for, and signals as such events.

use std::{io, sync::mpsc::Sender, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
pub use signal_hook::iterator::Signals;

use crate::server::control::Asked;

/// Something that changes the server's state.
#[derive(Debug)]
pub enum Event {
    /// SIGTERM, SIGINT: finish and end.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: open the access log again by its name.
    ReopenLogs,
    /// A file of the configuration changed.
    Changed,
    /// Somebody asks over the control socket.
    Asked(Asked),
    /// The worker with this number has ended, on its own accord or by a panic.
    WorkerEnded(usize),
}

impl Event {
    /// Whether the configuration is to be read again.
    pub fn wants_reload(&self) -> bool {
        matches!(self, Self::Reload | Self::Changed)
    }
}

/// Takes the signals that the server knows: from now on none of them ends the process by itself.
pub fn take_signals() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
}

/// Turns signals into events, on a thread of its own.
pub fn watch_signals(mut signals: Signals, events: Sender<Event>) -> io::Result<()> {
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in &mut signals {
                let event = match signal {
                    SIGHUP if !lost_terminal() => Event::Reload,
                    SIGUSR1 => Event::ReopenLogs,
                    _ => Event::Stop,
                };
                if events.send(event).is_err() {
                    return;
                }
            }
        })?;
    Ok(())
}

/// Whether a SIGHUP means what its name says: the terminal that the server was started in is gone.
fn lost_terminal() -> bool {
    use rustix::{io::Errno, termios::tcgetattr};
    matches!(tcgetattr(rustix::stdio::stdin()), Err(Errno::IO))
}
