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

use rustix::{
    io::retry_on_intr,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg,
        sockopt::{Timeout, set_socket_timeout},
    },
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
        Server::spawned(self.command(sockets, variables, arguments))
    }

    /// The same as on a machine without IPv6.
    pub fn start_without_ipv6(&self, sockets: Vec<(OwnedFd, &str)>, arguments: &[&str]) -> Server {
        let mut command = self.command(sockets, &[], arguments);
        // SAFETY: the function calls nothing but the system.
        unsafe {
            command.pre_exec(forbid_ipv6);
        }
        Server::spawned(command)
    }

    fn command(
        &self,
        sockets: Vec<(OwnedFd, &str)>,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Command {
        let names: Vec<_> = sockets.iter().map(|(_, name)| *name).collect();
        let mut command = after("export LISTEN_PID=$$", arguments);
        command
            .env("NOTIFY_SOCKET", self.path())
            .env("LISTEN_FDS", sockets.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .envs(variables.iter().copied());
        let sockets = sockets.into_iter().map(|(socket, _)| socket);
        pass(&mut command, sockets.collect());
        command
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
        // A timeout on a socket makes the kernel give up for any signal.
        let received = retry_on_intr(|| recvmsg(&self.socket, &mut buffers, &mut control, flags));
        let length = received.ok()?.bytes;
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

/// Has `socket(AF_INET6)` fail with EAFNOSUPPORT from here on, also in what is executed.
fn forbid_ipv6() -> std::io::Result<()> {
    // The code, the jumps, the value: see seccomp(2), and BPF in the kernel's networking/filter.rst.
    let load = |offset| (0x20, 0, 0, offset);
    let skip_unless = |count, value| (0x15, 0, count, value);
    let end = |value| (0x06, 0, 0, value);
    let number = u32::try_from(libc::SYS_socket).map_err(std::io::Error::other)?;
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT.cast_unsigned();
    let mut statements = [
        load(0),
        skip_unless(3, number),
        load(16),
        skip_unless(1, libc::AF_INET6.cast_unsigned()),
        end(refusal),
        end(libc::SECCOMP_RET_ALLOW),
    ]
    .map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k });
    let program = libc::sock_fprog {
        len: 6,
        filter: statements.as_mut_ptr(),
    };
    // SAFETY: the program lives as long as the calls.
    let outcome = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    match outcome {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
