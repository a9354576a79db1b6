//! Copies of the launcher that attend to one script each, seen from the original.

use std::ffi::OsStr;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::records::message_id;

/// Which of the launcher's processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one that takes requests.
    Launcher,
    /// A copy of it, for one script: what the script starts can have no other parent in the end
    /// (see [`super::family`]). And where the script runs as another user, that user's signals reach what
    /// is about to become the script; the process that waits for it then does so for no other one.
    Attendant,
}

/// The attendants that have not ended.
#[derive(Debug, Default)]
pub struct Attendants {
    all: Vec<Attendant>,
    /// Why there are no control groups, as long as nobody was told.
    untold: Option<String>,
}

/// One of them.
#[derive(Debug)]
struct Attendant {
    pid: Pid,
    /// What the control group of its script is called, if there is one.
    group: String,
}

impl Attendants {
    /// None yet. `no_groups` says why scripts have no control groups, if that is so.
    pub fn new(no_groups: Option<String>) -> Self {
        Self {
            all: Vec::new(),
            untold: no_groups,
        }
    }

    /// Adds one. With the first it is told what that means.
    pub fn add(&mut self, pid: Pid, group: String) {
        if let Some(reason) = self.untold.take() {
            tracing::info!("scripts are limited process by process: {reason}");
        }
        self.all.push(Attendant { pid, group });
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Whether this is one.
    pub fn has(&self, pid: Pid) -> bool {
        self.all.iter().any(|one| one.pid == pid)
    }

    /// What the control groups of their scripts are called.
    pub fn groups(&self) -> impl Iterator<Item = &OsStr> {
        self.all.iter().map(|one| OsStr::new(&one.group))
    }

    /// Forgets one that has ended; answers with what the control group of its script is called.
    pub fn remove(&mut self, pid: Pid) -> Option<String> {
        let at = self.all.iter().position(|one| one.pid == pid)?;
        Some(self.all.swap_remove(at).group)
    }

    /// Lets those go on that a script has stopped, as one of the same user can.
    pub fn resume(&self) {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        for Attendant { pid, .. } in &self.all {
            // An error says that it has ended, which is seen to next.
            if let Ok(Some(_)) = waitid(WaitId::Pid(*pid), options) {
                tracing::warn!(
                    MESSAGE_ID = message_id::LAUNCHER_STOPPED,
                    "the attendant of a script, {pid}, was stopped, and goes on"
                );
                let _ = kill_process(*pid, Signal::CONT);
            }
        }
    }

    /// Sends a signal to all.
    pub fn signal(&self, signal: Signal) {
        for Attendant { pid, .. } in &self.all {
            // One that has just ended needs none.
            let _ = kill_process(*pid, signal);
        }
    }
}
