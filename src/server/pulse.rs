//! The signs of life for a service manager: the watchdog's, and the line of `systemctl status`.
//!
//! The server's loop gives them, and only when every worker has come to a question that it was asked
//! a quarter of the interval before: a worker whose thread is blocked ends them. Workers are asked as
//! often as that and no more, so idle ones sleep.

use std::time::{Duration, Instant};

use crate::{
    server::workers::Workers,
    systemd::{notify, watchdog::Watchdog},
};

/// The time from one line to the next.
const LINES: Duration = Duration::from_secs(3);

/// How many signs of life fit into the interval of the watchdog. With two, the one after a sign that
/// was withheld comes at the end of the interval, too late for a worker that goes on.
const SIGNS: u32 = 4;

/// What the service manager is told, and when next.
#[derive(Debug)]
pub struct Pulse {
    /// Absent where nobody hears it.
    line: Option<Line>,
    /// Absent where nobody waits for it.
    watchdog: Option<Watchdog>,
    /// Workers that are known to be stuck.
    stuck: Vec<usize>,
}

/// The line that was told last.
#[derive(Debug)]
struct Line {
    text: String,
    next: Instant,
}

impl Pulse {
    /// As the environment says.
    pub fn start() -> Self {
        let line = || Line {
            text: String::new(),
            next: Instant::now() + LINES,
        };
        Self {
            line: notify::is_heard().then(line),
            watchdog: Watchdog::start(SIGNS),
            stuck: Vec::new(),
        }
    }

    /// When something is due.
    pub fn next(&self) -> Option<Instant> {
        let line = self.line.as_ref().map(|line| line.next);
        let watchdog = self.watchdog.as_ref().map(Watchdog::next);
        line.into_iter().chain(watchdog).min()
    }

    /// Tells that the service is ready.
    pub fn ready(&mut self, text: String) {
        notify::ready(&text);
        if let Some(line) = &mut self.line {
            line.text = text;
            line.next = Instant::now() + LINES;
        }
    }

    /// Whether it is time to tell how the service does.
    pub fn wants_line(&self) -> bool {
        let next = self.line.as_ref().map(|line| line.next);
        next.is_some_and(|next| next <= Instant::now())
    }

    /// Tells how the service does, where that is not the same as before.
    pub fn tell(&mut self, text: String) {
        let Some(line) = &mut self.line else { return };
        line.next = Instant::now() + LINES;
        if text != line.text {
            notify::status(&text);
            line.text = text;
        }
    }

    /// Gives the watchdog its sign of life, where it is time to and all workers turn.
    pub fn beat(&mut self, workers: &mut Workers) {
        let Some(watchdog) = &mut self.watchdog else {
            return;
        };
        if !watchdog.is_due() {
            return;
        }
        let silent = workers.silent();
        for number in silent.iter().filter(|one| !self.stuck.contains(one)) {
            tracing::error!(
                "worker {number} is stuck: it has done nothing for {:.1} s, and the service manager \
                 ends this process if it does not go on",
                watchdog.pause.as_secs_f32()
            );
        }
        for number in self.stuck.iter().filter(|one| !silent.contains(one)) {
            tracing::warn!("worker {number} goes on");
        }
        if silent.is_empty() {
            notify::alive();
        }
        self.stuck = silent;
        workers.ask();
    }

    /// Reads the configuration, or has it read, and has the watchdog wait for it.
    pub fn patiently<T>(&self, read: impl FnOnce() -> T) -> T {
        Watchdog::patiently(self.watchdog.as_ref(), read)
    }
}
