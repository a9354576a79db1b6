//! A service manager: it hears what services tell, keeps sockets for them, and passes them.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{net::UnixDatagram, process::CommandExt},
    },
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg,
    sockopt::{Timeout, set_socket_timeout},
};

use super::{Server, client::HANG, server::after};

/// The other end of `NOTIFY_SOCKET`.
pub struct Manager {
    directory: tempfile::TempDir,
    socket: UnixDatagram,
}

/// One datagram.
#[derive(Debug)]
pub struct Notification {
    pub text: String,
    pub sockets: Vec<OwnedFd>,
}

impl Notification {
    /// The value of an assignment.
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines().filter_map(|line| line.split_once('='));
        lines.find_map(|(key, value)| (key == name).then_some(value))
    }
}

impl Manager {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        Self { directory, socket }
    }

    /// The path of the socket.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    /// Starts a server with these sockets and their names, and these variables.
    pub fn start(
        &self,
        sockets: Vec<(OwnedFd, &str)>,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Server {
        let names: Vec<_> = sockets.iter().map(|(_, name)| *name).collect();
        let names = names.join(":");
        let count = sockets.len();
        let mut command = after("export LISTEN_PID=$$", arguments);
        command
            .env("NOTIFY_SOCKET", self.path())
            .env("LISTEN_FDS", count.to_string())
            .env("LISTEN_FDNAMES", names)
            .envs(variables.iter().copied());
        pass(
            &mut command,
            sockets.into_iter().map(|(socket, _)| socket).collect(),
        );
        Server::spawned(command)
    }

    /// The next notification with this in it.
    pub fn hear(&self, part: &str) -> Notification {
        self.hear_within(part, HANG)
            .unwrap_or_else(|| panic!("nobody tells of {part:?}"))
    }

    /// The same, if it comes within this time.
    pub fn hear_within(&self, part: &str, patience: Duration) -> Option<Notification> {
        let by = Instant::now() + patience;
        loop {
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let notification = self.receive(left)?;
            if notification.text.contains(part) {
                return Some(notification);
            }
        }
    }

    fn receive(&self, patience: Duration) -> Option<Notification> {
        set_socket_timeout(&self.socket, Timeout::Recv, Some(patience)).expect("a timeout");
        let mut text = [0; 8192];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(&mut text)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let length = recvmsg(&self.socket, &mut buffers, &mut control, flags)
            .ok()?
            .bytes;
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let sockets = rights.flatten().collect();
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        Some(Notification { text, sockets })
    }
}

/// Has a program find the sockets where `sd_listen_fds(3)` has them.
fn pass(command: &mut Command, sockets: Vec<OwnedFd>) {
    let place = move || {
        // Out of the way of each other first.
        let mut aside = [0; 8];
        for (aside, socket) in aside.iter_mut().zip(&sockets) {
            // SAFETY: the numbers are of descriptors that are open, and nothing is allocated.
            *aside = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) };
        }
        for (aside, at) in aside.iter().zip(3..).take(sockets.len()) {
            // SAFETY: as above; the child has nothing else that it needs at these numbers.
            if unsafe { libc::dup2(*aside, at) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure calls nothing but the system.
    unsafe {
        command.pre_exec(place);
    }
}
