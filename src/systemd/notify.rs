//! Messages to the service manager: `sd_notify(3)`.

use sd_notify::NotifyState;

/// The service is ready, also after a reload, with a line for `systemctl status`.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
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

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}

/// A status is one line of the datagram, and a newline would begin another assignment.
fn one_line(status: &str) -> String {
    status.replace('\n', "; ")
}
