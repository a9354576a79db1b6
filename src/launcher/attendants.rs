//! Copies of the launcher that attend to one script each, seen from the original.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// The attendants that have not ended.
#[derive(Debug, Default)]
pub struct Attendants(Vec<Attendant>);

/// One of them.
#[derive(Debug)]
struct Attendant {
    pid: Pid,
    /// What the control group of its script is called, if there is one.
    group: String,
}

impl Attendants {
    /// Adds one.
    pub fn add(&mut self, pid: Pid, group: String) {
        self.0.push(Attendant { pid, group });
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether this is one.
    pub fn has(&self, pid: Pid) -> bool {
        self.0.iter().any(|one| one.pid == pid)
    }

    /// Forgets one that has ended; answers with what the control group of its script is called.
    pub fn remove(&mut self, pid: Pid) -> Option<String> {
        let at = self.0.iter().position(|one| one.pid == pid)?;
        Some(self.0.swap_remove(at).group)
    }

    /// Lets those go on that a script has stopped, as one of the same user can.
    pub fn resume(&self) {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        for Attendant { pid, .. } in &self.0 {
            // An error says that it has ended, which is seen to next.
            if let Ok(Some(_)) = waitid(WaitId::Pid(*pid), options) {
                tracing::warn!("the attendant of a script, {pid}, was stopped, and goes on");
                let _ = kill_process(*pid, Signal::CONT);
            }
        }
    }

    /// Sends a signal to all.
    pub fn signal(&self, signal: Signal) {
        for Attendant { pid, .. } in &self.0 {
            // One that has just ended needs none.
            let _ = kill_process(*pid, signal);
        }
    }
}
