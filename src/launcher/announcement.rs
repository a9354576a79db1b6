//! What a service manager is told of the launcher: that it takes requests, how many scripts run, that
//! its loop turns, and that it stops.

use std::time::{Duration, Instant};

use crate::systemd::notify;

/// The time from one line to the next.
const LINES: Duration = Duration::from_secs(3);

/// How much longer reading the configuration may take than the loop is silent else.
const RELOAD: Duration = Duration::from_secs(60);

/// The line that was told last, and the signs of life.
#[derive(Debug)]
pub struct Announcement {
    running: usize,
    next: Instant,
    /// Absent where nobody waits for them.
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Watchdog {
    interval: Duration,
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
                watchdog: notify::watchdog().map(|interval| Watchdog {
                    interval,
                    next: Instant::now() + interval / 2,
                }),
            }
        })
    }

    /// When something is due, if so many scripts run now.
    pub fn due(&self, running: usize) -> Option<Instant> {
        let line = (running != self.running).then_some(self.next);
        let sign = self.watchdog.as_ref().map(|watchdog| watchdog.next);
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
        if let Some(watchdog) = self.watchdog.as_mut().filter(|one| one.next <= now) {
            notify::alive();
            watchdog.next = now + watchdog.interval / 2;
        }
    }

    /// Does what keeps the loop busy for long, and has the watchdog wait for it.
    pub fn patiently<T>(announcement: Option<&Self>, work: impl FnOnce() -> T) -> T {
        let Some(watchdog) = announcement.and_then(|one| one.watchdog.as_ref()) else {
            return work();
        };
        notify::expect_within(watchdog.interval + RELOAD);
        let outcome = work();
        notify::expect_within(watchdog.interval);
        outcome
    }
}

fn line(running: usize) -> String {
    match running {
        0 => "no script runs".to_owned(),
        1 => "1 script runs".to_owned(),
        _ => format!("{running} scripts run"),
    }
}
