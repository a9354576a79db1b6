//! What a service manager is told of the launcher: that it takes requests, how many scripts run, that
//! its loop turns, and that it stops.

use std::time::{Duration, Instant};

use crate::systemd::{notify, watchdog::Watchdog};

/// The time from one line to the next.
const LINES: Duration = Duration::from_secs(3);

/// How many signs of life fit into the interval of the watchdog.
const SIGNS: u32 = 2;

/// The line that was told last, and the signs of life.
#[derive(Debug)]
pub struct Announcement {
    running: usize,
    next: Instant,
    /// Absent where nobody waits for them.
    watchdog: Option<Watchdog>,
}

impl Announcement {
    /// Tells that requests are taken; absent where nobody hears it.
    pub fn begin() -> Option<Self> {
        notify::is_heard().then(|| {
            notify::ready(&line(0));
            Self {
                running: 0,
                next: Instant::now() + LINES,
                watchdog: Watchdog::start(SIGNS),
            }
        })
    }

    /// When something is due, if so many scripts run now.
    pub fn due(&self, running: usize) -> Option<Instant> {
        let line = (running != self.running).then_some(self.next);
        let sign = self.watchdog.as_ref().map(Watchdog::next);
        line.into_iter().chain(sign).min()
    }

    /// Tells how many scripts run, and that the loop turns, where it is due.
    pub fn tell(&mut self, running: usize) {
        let now = Instant::now();
        if running != self.running && self.next <= now {
            notify::status(&line(running));
            self.running = running;
            self.next = now + LINES;
        }
        if self.watchdog.as_mut().is_some_and(Watchdog::is_due) {
            notify::alive();
        }
    }

    /// Reads the configuration, and has the watchdog wait for it.
    pub fn patiently<T>(announcement: Option<&Self>, read: impl FnOnce() -> T) -> T {
        Watchdog::patiently(announcement.and_then(|one| one.watchdog.as_ref()), read)
    }
}

fn line(running: usize) -> String {
    match running {
        0 => "no script runs".to_owned(),
        1 => "1 script runs".to_owned(),
        _ => format!("{running} scripts run"),
    }
}
