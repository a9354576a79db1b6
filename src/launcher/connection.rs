//! One connection of the network process: one script, from the request to its end.

use std::{io, mem, os::fd::OwnedFd, time::Instant};

use rustix::io::Errno;

use crate::{
    cgi::wire::{Exit, Launch, Refusal, Reply, Request},
    launcher::child::Child,
    records::message_id,
    sys::seqpacket::Socket,
};

/// The longest text of a configuration's errors that is sent, in bytes.
pub const MAX_REPORT: usize = 32 * 1024;

/// Who may ask for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peers {
    /// This process's own user, and root, who may do anything anyway.
    Own,
    /// Whoever the permissions of the socket let connect.
    Any,
}

impl Peers {
    /// Whether a process of this user is one.
    pub fn include(self, uid: u32) -> bool {
        self == Self::Any || uid == 0 || uid == rustix::process::geteuid().as_raw()
    }
}

/// A connection, or what it leaves behind.
#[derive(Debug)]
pub struct Connection {
    /// Absent when the peer has left or was shown the door.
    pub peer: Option<Socket>,
    /// The script, from its start until it is reaped.
    pub child: Option<Child>,
    /// Whether the peer knows that the script was started.
    is_told: bool,
    /// Whether a script is over, so that the peer may keep this for another one.
    pub has_served: bool,
}

impl Connection {
    /// A connection that has asked for nothing yet.
    pub fn new(peer: Socket) -> Self {
        Self {
            peer: Some(peer),
            child: None,
            is_told: false,
            has_served: false,
        }
    }

    /// The next request with its descriptors. Absent when there is none; what is not a request
    /// and what cannot be received has been dealt with then.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<(Request, Vec<OwnedFd>)> {
        match self.peer.as_ref()?.recv(buffer) {
            Ok((0, _)) => self.hang_up(),
            Ok((length, fds)) => match Request::decode(&buffer[..length]) {
                Ok(request) => return Some((request, fds)),
                Err(error) => self.reject(error.to_string()),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.reject(error.to_string());
            }
            Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
                tracing::warn!("receiving a script's streams: {error}");
                self.reply(&Reply::Refused(Refusal::System {
                    step: "recvmsg".into(),
                    errno: Errno::MFILE.raw_os_error(),
                }));
            }
            Err(_) => self.hang_up(),
        }
        None
    }

    /// Sends a reply. A peer that does not take it at once has stopped reading, and is let go.
    pub fn reply(&mut self, reply: &Reply) {
        let Some(peer) = &self.peer else { return };
        let sent = reply
            .encode()
            .map_err(io::Error::other)
            .and_then(|datagram| peer.send(&datagram, &[]));
        if let Err(error) = sent {
            tracing::debug!("a reply was not taken: {error}");
            self.hang_up();
        }
    }

    /// Tells that the script was started, if that is news.
    pub fn tell_start(&mut self) {
        if let Some(child) = &self.child
            && !self.is_told
        {
            let pid = child.number();
            self.is_told = true;
            self.reply(&Reply::Started { pid, exit: None });
        }
    }

    /// Tells that the script of this process id is over, and all it started: a short one is told of once.
    pub fn tell_end(&mut self, pid: u32, exit: Exit) {
        self.has_served = true;
        let reply = if mem::take(&mut self.is_told) {
            Reply::Exited(exit)
        } else {
            let exit = Some(exit);
            Reply::Started { pid, exit }
        };
        self.reply(&reply);
    }

    /// Answers that a script is not started, and says so.
    pub fn refuse(&mut self, launch: &Launch, refusal: Refusal) {
        let site = &*launch.site;
        let script = String::from_utf8_lossy(&launch.script_name);
        tracing::warn!(
            MESSAGE_ID = message_id::SCRIPT_REFUSED,
            PYWEBD_SITE = site,
            PYWEBD_SCRIPT_NAME = &*script,
            "{script:?} of site {site:?} was not started: {refusal}"
        );
        self.reply(&Reply::Refused(refusal));
    }

    /// Answers what is no request here, and closes the connection.
    pub fn reject(&mut self, reason: String) {
        tracing::warn!("the launcher was asked what it does not understand: {reason}");
        self.reply(&Reply::Refused(Refusal::Malformed(reason)));
        self.hang_up();
    }

    /// Closes the connection, which ends the script.
    fn hang_up(&mut self) {
        self.peer = None;
        if let Some(child) = &mut self.child {
            child.terminate(Instant::now());
        }
    }
}

/// As much of a configuration's errors as fits into a message.
pub fn shortened(mut report: String) -> String {
    let mut end = report.len().min(MAX_REPORT);
    while !report.is_char_boundary(end) {
        end -= 1;
    }
    report.truncate(end);
    report
}
