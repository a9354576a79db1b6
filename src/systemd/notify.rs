//! Messages to the service manager: `sd_notify(3)`.

use std::time::Duration;

use sd_notify::NotifyState;

/// Whether there is a service manager that hears.
pub fn is_heard() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// The service is ready, also after a reload, with a line for `systemctl status`.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// Another line for `systemctl status`.
pub fn status(status: &str) {
    send(&[NotifyState::Status(&one_line(status))]);
}

/// The configuration is being read again.
pub fn reloading() {
    // systemd 253 and later want both in one datagram, else the reload never ends.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        send(&[NotifyState::Reloading, now]);
    }
}

/// The service is ending.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// How often this process is to show that it lives, if it is (`WatchdogSec=`).
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

/// The service lives.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// The next sign of life comes within this time, and so do all after it.
pub fn expect_within(interval: Duration) {
    let microseconds = u32::try_from(interval.as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::WatchdogUsec(microseconds)]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}

/// A status is one line of the datagram, and a newline would begin another assignment.
fn one_line(status: &str) -> String {
    status.replace('\n', "; ")
}
