//! What a service manager is told of the launcher: that it takes requests, how many scripts run, and
//! that it stops.

use std::time::{Duration, Instant};

use crate::systemd::notify;

/// The time from one line to the next.
const LINES: Duration = Duration::from_secs(3);

/// The line that was told last.
#[derive(Debug)]
pub struct Announcement {
    running: usize,
    next: Instant,
}

impl Announcement {
    /// Tells that requests are taken; absent where nobody hears it.
    pub fn begin() -> Option<Self> {
        notify::is_heard().then(|| {
            notify::ready(&line(0));
            Self {
                running: 0,
                next: Instant::now() + LINES,
            }
        })
    }

    /// When another line is due, if so many scripts run now.
    pub fn due(&self, running: usize) -> Option<Instant> {
        (running != self.running).then_some(self.next)
    }

    /// Tells how many scripts run, where it is due.
    pub fn tell(&mut self, running: usize) {
        let now = Instant::now();
        if self.due(running).is_some_and(|due| due <= now) {
            notify::status(&line(running));
            self.running = running;
            self.next = now + LINES;
        }
    }
}

fn line(running: usize) -> String {
    match running {
        0 => "no script runs".to_owned(),
        1 => "1 script runs".to_owned(),
        _ => format!("{running} scripts run"),
    }
}
