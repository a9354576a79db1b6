//! `AF_UNIX` sockets of type `SOCK_SEQPACKET`: connections that carry whole messages with file
//! descriptors (unix(7)).
//!
//! Nothing here ever waits: what would block is [`io::ErrorKind::WouldBlock`]. Every descriptor,
//! also a received one, is closed on exec. A message that does not fit is an error, never cut.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use rustix::{
    fs::OFlags,
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
    },
};

pub use rustix::net::SocketAddrUnix as Address;

/// Connections that wait to be accepted; one more is refused with `WouldBlock`. The kernel takes
/// less if `net.core.somaxconn` is less.
const BACKLOG: i32 = 4096;

/// The most descriptors that a message may carry.
pub const MAX_DESCRIPTORS: usize = 3;

/// A listening socket.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// One end of a connection.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Listener {
    /// Listens on an abstract address that the kernel makes up. Every local user can connect to
    /// it, so the peers' user ids must be looked at.
    pub fn bind_abstract() -> io::Result<Self> {
        let fd = socket()?;
        rustix::net::bind(&fd, &Address::new_unnamed())?;
        rustix::net::listen(&fd, BACKLOG)?;
        Ok(Self(fd))
    }

    /// Takes over a listening socket that was made elsewhere. Fails for anything else.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let is_right = sockopt::socket_domain(&fd)? == AddressFamily::UNIX
            && sockopt::socket_type(&fd)? == SocketType::SEQPACKET
            && sockopt::socket_acceptconn(&fd)?;
        if !is_right {
            let reason = "not a listening AF_UNIX socket of type SOCK_SEQPACKET";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Self(fd))
    }

    /// Where to connect to.
    pub fn address(&self) -> io::Result<Address> {
        Ok(Address::try_from(rustix::net::getsockname(&self.0)?)?)
    }

    /// The next connection and the user id that its other end had when it connected.
    pub fn accept(&self) -> io::Result<(Socket, u32)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = retry_on_intr(|| rustix::net::accept_with(&self.0, flags))?;
        let uid = sockopt::socket_peercred(&fd)?.uid.as_raw();
        Ok((Socket(fd), uid))
    }
}

fn socket() -> io::Result<OwnedFd> {
    let fd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    Ok(fd)
}

impl Socket {
    /// Connects. With too many others waiting to be accepted this is `WouldBlock`, and nothing
    /// tells when there is room again.
    pub fn connect(address: &Address) -> io::Result<Self> {
        let fd = socket()?;
        retry_on_intr(|| rustix::net::connect(&fd, address))?;
        Ok(Self(fd))
    }

    /// Sends one message with descriptors, at most [`MAX_DESCRIPTORS`].
    pub fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        // The space for an odd number of descriptors holds one more.
        if fds.len() > MAX_DESCRIPTORS
            || !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds))
        {
            let reason = "too many descriptors for a message";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let message = [IoSlice::new(message)];
        retry_on_intr(|| {
            rustix::net::sendmsg(&self.0, &message, &mut control, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }

    /// Receives one message: its length and its descriptors. A length of 0 is the end of the
    /// connection.
    ///
    /// Fails with `InvalidData` when the buffer is too small or there are too many descriptors,
    /// and with `EMFILE` when this process may not have more; the message is lost then.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_intr(|| {
            let mut message = [IoSliceMut::new(buffer)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            rustix::net::recvmsg(&self.0, &mut message, &mut control, flags)
        })?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) && fds.len() < MAX_DESCRIPTORS {
            return Err(Errno::MFILE.into());
        }
        let is_cut = received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
        if is_cut || fds.len() > MAX_DESCRIPTORS {
            let reason = "the message is too long or has too many descriptors";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok((received.bytes, fds))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.0
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    fn connection() -> (Socket, Socket) {
        let listener = Listener::bind_abstract().unwrap();
        let near = Socket::connect(&listener.address().unwrap()).unwrap();
        let (far, uid) = listener.accept().unwrap();
        assert_eq!(uid, rustix::process::geteuid().as_raw());
        (near, far)
    }

    /// Tries until it does not wait: where one end was closed, a program that another test starts
    /// just now may have it, too.
    fn settled<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let begun = Instant::now();
        loop {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
                outcome => return outcome,
            }
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
    }

    #[test]
    fn messages_keep_their_bounds_and_the_end_is_empty() {
        let (near, far) = connection();
        let mut buffer = [0; 16];
        let waits = far.recv(&mut buffer).unwrap_err();
        assert_eq!(waits.kind(), io::ErrorKind::WouldBlock);
        near.send(b"one", &[]).unwrap();
        near.send(b"three", &[]).unwrap();
        drop(near);
        for expected in [&b"one"[..], b"three", b""] {
            let (length, fds) = settled(|| far.recv(&mut buffer)).unwrap();
            assert_eq!((&buffer[..length], fds.len()), (expected, 0));
        }
    }

    #[test]
    fn descriptors_arrive_and_are_closed_on_exec() {
        let (near, far) = connection();
        let (mut reader, writer) = io::pipe().unwrap();
        near.send(b"pipe", &[writer.as_fd()]).unwrap();
        drop(writer);
        let (_, mut fds) = far.recv(&mut [0; 16]).unwrap();
        let flags = rustix::io::fcntl_getfd(&fds[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let mut writer = std::fs::File::from(fds.remove(0));
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_message_that_does_not_fit_is_an_error_and_not_cut() {
        let (near, far) = connection();
        near.send(b"too long", &[]).unwrap();
        near.send(b"fits", &[]).unwrap();
        let error = far.recv(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(far.recv(&mut [0; 4]).unwrap().0, 4);
    }

    #[test]
    fn too_many_descriptors_are_neither_sent_nor_taken() {
        let (near, far) = connection();
        let stdin = std::io::stdin();
        for count in [4, 5, 60] {
            let fds = vec![stdin.as_fd(); count];
            assert!(near.send(b"x", &fds).is_err());
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(60))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
            let message = [IoSlice::new(b"x")];
            rustix::net::sendmsg(&near, &message, &mut control, SendFlags::NOSIGNAL).unwrap();
            let error = far.recv(&mut [0; 4]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{count}");
        }
    }

    #[test]
    fn a_peer_that_does_not_read_blocks_nobody() {
        let (near, far) = connection();
        let error = (0..10_000).find_map(|_| near.send(&[0; 1024], &[]).err());
        assert_eq!(error.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(far);
        let error = settled(|| near.send(b"x", &[])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = near.send(b"x", &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn only_a_listening_socket_of_the_kind_is_taken_over() {
        let listener = Listener::bind_abstract().unwrap();
        assert!(Listener::from_fd(listener.into()).is_ok());
        let (near, _far) = connection();
        assert!(Listener::from_fd(near.0).is_err());
        let (stream, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(Listener::from_fd(stream.into()).is_err());
        let (reader, _writer) = io::pipe().unwrap();
        assert!(Listener::from_fd(reader.into()).is_err());
    }
}
