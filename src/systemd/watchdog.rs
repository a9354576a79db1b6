//! The watchdog of the service manager (`WatchdogSec=`), which ends a service that shows no sign of life.

use std::time::{Duration, Instant};

use crate::systemd::notify;

/// How much longer a loop may be silent that reads the configuration: the launcher has 30 s for it.
const READING: Duration = Duration::from_secs(60);

/// When the next sign of life is due.
#[derive(Debug)]
pub struct Watchdog {
    interval: Duration,
    /// The time from one sign to the next.
    pub pause: Duration,
    next: Instant,
}

impl Watchdog {
    /// As the environment says, with so many signs in its interval. Absent where nobody waits for them.
    pub fn start(signs: u32) -> Option<Self> {
        notify::watchdog().map(|interval| {
            let pause = interval / signs;
            Self {
                interval,
                pause,
                next: Instant::now() + pause,
            }
        })
    }

    /// When the next sign is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Whether a sign is due by now; then the next one is after a pause.
    pub fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.next <= now;
        if is_due {
            self.next = now + self.pause;
        }
        is_due
    }

    /// Reads the configuration, or has it read, and has the watchdog wait for it.
    pub fn patiently<T>(watchdog: Option<&Self>, read: impl FnOnce() -> T) -> T {
        let Some(Self { interval, .. }) = watchdog else {
            return read();
        };
        notify::expect_within(*interval + READING);
        let outcome = read();
        notify::expect_within(*interval);
        outcome
    }
}
