//! Listening sockets: taken over from systemd or bound, and accepted from by every worker.

use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::{
    fs::{FileType, Stat},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, bind, listen,
        socket_with,
        sockopt::{
            set_ipv6_v6only, set_socket_reuseaddr, set_socket_reuseport, set_tcp_nodelay,
            socket_domain, socket_reuseport,
        },
    },
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;

use crate::{
    records::{message_id, seldom::Seldom},
    semantics::failure::is_exhausted,
    sys::{nonblocking::Nonblocking, syn_filter},
    systemd::store::{self, Store},
    transport::{Address, Listen, Local, Remote},
};

/// How many connections may wait to be accepted; the kernel cuts it at its own limit.
const BACKLOG: i32 = 4096;

/// How long nothing is accepted after the process ran out of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(50);

/// That nothing can be accepted.
static EXHAUSTED: Seldom = Seldom::new();

/// A bound socket that all workers share.
#[derive(Debug)]
pub struct Listener {
    /// The configured address.
    pub listen: Arc<Listen>,
    /// Where it really listens: the port that was found for port 0.
    pub bound: Listen,
    /// Whether it serves or turns away who connects.
    pub purpose: Purpose,
    socket: OwnedFd,
    /// Whether it is a socket unit's.
    is_passed: bool,
    /// Whether the service manager was given a copy.
    is_stored: AtomicBool,
    /// Whether that copy is known to be there, and the next process comes to have it.
    is_kept: AtomicBool,
    /// The name of a Unix socket that this process has made, until it is removed.
    made: Mutex<Option<Name>>,
}

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// They are served.
    Serve,
    /// They are reset: no site is for them.
    Refuse,
}

/// Whose a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// This process has bound it, and it goes with it.
    Own,
    /// This service has bound it, and the service manager keeps it over a restart.
    Stored,
    /// A socket unit's.
    Passed,
}

/// A socket that was there before this process.
pub type Given<'s> = (BorrowedFd<'s>, Origin);

/// The name of a socket goes with it.
impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_name();
    }
}

impl Listener {
    /// Takes up the socket among `given` that is bound to the address, or opens a new one. It may
    /// overlap with `ours`: connections go to the narrower one.
    pub fn open(
        address: &Listen,
        given: &[Given<'_>],
        ours: &[BorrowedFd<'_>],
    ) -> io::Result<Self> {
        let is_meant = |bound: Listen| bound == *address || stands_for(&bound, address);
        let adopted = given
            .iter()
            .find(|(socket, _)| bound(*socket).is_ok_and(is_meant));
        let (socket, made) = match (adopted, address) {
            (Some((socket, _)), _) => (socket.try_clone_to_owned()?, None),
            (None, Listen::Tcp(address)) => (tcp(address, ours)?, None),
            (None, Listen::Unix(path)) => (unix(path)?, Name::of(path)),
        };
        let origin = adopted.map_or(Origin::Own, |(_, origin)| *origin);
        if origin == Origin::Stored {
            // The process that has put it aside may have closed it to new connections. Where there
            // is no filter this fails, and nothing is wrong.
            let _ = syn_filter::detach(&socket);
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        if matches!(address, Listen::Tcp(_)) {
            // An answer that is handed over is complete: waiting for more of it would only delay it.
            // Connections have it from the socket that they were accepted from.
            set_tcp_nodelay(&socket, true)?;
        }
        Ok(Self {
            listen: Arc::new(address.clone()),
            bound: bound(socket.as_fd())?,
            purpose: Purpose::Serve,
            socket,
            is_passed: origin == Origin::Passed,
            is_stored: AtomicBool::new(origin == Origin::Stored),
            is_kept: AtomicBool::new(origin == Origin::Stored),
            made: Mutex::new(made),
        })
    }

    /// Turns everybody away who connects to a socket that was passed.
    pub fn refusing(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let bound = bound(socket)?;
        let given = [(socket, Origin::Passed)];
        let mut listener = Self::open(&bound, &given, &[])?;
        listener.purpose = Purpose::Refuse;
        Ok(listener)
    }

    /// Whose it is.
    pub fn origin(&self) -> Origin {
        match (self.is_passed, self.is_stored.load(Ordering::Relaxed)) {
            (true, _) => Origin::Passed,
            (false, true) => Origin::Stored,
            (false, false) => Origin::Own,
        }
    }

    /// Puts it into the store, unless it is there or is another's. A socket that has a name in the
    /// filesystem is not worth it: the name goes with this process.
    pub fn have_kept(&self, store: Store) {
        // A port that was found is another one the next time.
        let is_fixed = match &*self.listen {
            Listen::Tcp(address) => address.port() != 0,
            Listen::Unix(_) => false,
        };
        if self.origin() == Origin::Own && is_fixed && store != Store::Absent {
            store::keep(self, &self.bound);
            self.is_stored.store(true, Ordering::Relaxed);
            self.is_kept
                .store(store == Store::Present, Ordering::Relaxed);
        }
    }

    /// Lets no connection begin any more, for the configuration does not name it. Of a socket unit's
    /// all is as it was: nobody is reset while it is open.
    pub fn wind_down(&self) {
        if self.is_stored.swap(false, Ordering::Relaxed) {
            store::forget(&self.bound);
            self.is_kept.store(false, Ordering::Relaxed);
        }
        self.leave();
    }

    /// Lets no connection begin any more, for this process stops. Of what another process comes to
    /// have all is as it was.
    pub fn leave(&self) {
        self.remove_name();
        if !self.has_heirs() && matches!(*self.listen, Listen::Tcp(_)) {
            // Where the kernel does not let it, those who come in the last moment are reset.
            let _ = syn_filter::attach(self);
        }
    }

    /// Whether another process comes to have it, which serves those who wait.
    fn has_heirs(&self) -> bool {
        self.is_passed || self.is_kept.load(Ordering::Relaxed)
    }

    /// Lets connections begin again, before it was closed.
    pub fn wind_up(&self) {
        if !self.is_passed && matches!(*self.listen, Listen::Tcp(_)) {
            // Where there is no filter this fails, and nothing is wrong.
            let _ = syn_filter::detach(self);
        }
    }

    /// Removes the name of a Unix socket: nobody can connect any more, and the name can be had by
    /// another one at once.
    fn remove_name(&self) {
        let made = self
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // Somebody else's by now, it stays.
        if let Some(name) = made.filter(|name| Name::of(&name.path).as_ref() == Some(name)) {
            let _ = std::fs::remove_file(name.path);
        }
    }

    /// A handle of the same socket for one worker's runtime.
    pub fn acceptor(self: &Arc<Self>) -> io::Result<Acceptor> {
        Ok(Acceptor {
            socket: Nonblocking::new(self.socket.try_clone()?),
            listener: Arc::clone(self),
        })
    }

    /// Our end of a connection that was accepted here. Only where the address does not tell it the
    /// kernel is asked: on every address, and where a socket unit may have made the socket transparent.
    fn local(&self, socket: &OwnedFd) -> io::Result<Local<Address>> {
        Ok(Local(match self.bound {
            Listen::Unix(_) => Address::Unix,
            Listen::Tcp(bound) if !self.is_passed && !bound.ip().is_unspecified() => {
                Address::Tcp(bound)
            }
            Listen::Tcp(_) => Address::Tcp(rustix::net::getsockname(socket)?.try_into()?),
        }))
    }
}

/// The name of a socket in the filesystem, and what it names.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Name {
    fn of(path: &Path) -> Option<Self> {
        let stat = rustix::fs::lstat(path).ok()?;
        Some(Self {
            path: path.to_owned(),
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

/// Whether a passed socket on `0.0.0.0` is meant by `[::]`, which a machine without IPv6 does not have.
fn stands_for(bound: &Listen, address: &Listen) -> bool {
    let (Listen::Tcp(bound), Listen::Tcp(address)) = (bound, address) else {
        return false;
    };
    let is_every = bound.ip() == Ipv4Addr::UNSPECIFIED && address.ip() == Ipv6Addr::UNSPECIFIED;
    is_every && bound.port() == address.port() && !has_ipv6()
}

fn has_ipv6() -> bool {
    let (family, kind) = (AddressFamily::INET6, SocketType::STREAM);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None);
    !matches!(socket, Err(Errno::AFNOSUPPORT))
}

fn tcp(address: &SocketAddr, ours: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
    if address.ip() == Ipv6Addr::UNSPECIFIED && !has_ipv6() {
        let every = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        tracing::warn!("this machine has no IPv6: {every} takes the place of {address}");
        return tcp(&every, ours);
    }
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A restart may bind again while old connections are still in TIME-WAIT.
    set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 as well, whatever the system's default is.
        set_ipv6_v6only(&socket, false)?;
    }
    let open = || bind(&socket, address).and_then(|()| listen(&socket, BACKLOG));
    match open() {
        Err(Errno::ADDRINUSE) => beside(&socket, address.port(), ours, open)?,
        outcome => outcome?,
    }
    Ok(socket)
}

/// Opens a socket on a port that this process has already, for addresses that overlap: from
/// `[::]:80` to `127.0.0.1:80` both are there for a while. The kernel lets sockets of one user share
/// a port that all of them offer to share, which they do only in this moment: another program does
/// not get between them by mistake.
fn beside(
    socket: &OwnedFd,
    port: u16,
    ours: &[BorrowedFd<'_>],
    open: impl FnOnce() -> rustix::io::Result<()>,
) -> io::Result<()> {
    let has_port = |fd: &&BorrowedFd<'_>| {
        let address = rustix::net::getsockname(fd).map(SocketAddr::try_from);
        matches!(address, Ok(Ok(address)) if address.port() == port)
    };
    let mut others: Vec<_> = ours.iter().filter(has_port).collect();
    if others.is_empty() {
        // Else two servers could share the port: the kernel remembers who has offered it before.
        return Err(Errno::ADDRINUSE.into());
    }
    others.retain(|fd| !socket_reuseport(fd).unwrap_or(true));
    let offer = |offered| {
        let own = set_socket_reuseport(socket, offered);
        let mut all = others.iter().map(|fd| set_socket_reuseport(fd, offered));
        own.and(all.by_ref().collect())
    };
    let outcome = offer(true).and_then(|()| open());
    offer(false)?;
    Ok(outcome?)
}

fn unix(path: &Path) -> io::Result<OwnedFd> {
    let family = AddressFamily::UNIX;
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let address = SocketAddrUnix::new(path)?;
    match bind(&socket, &address) {
        Err(Errno::ADDRINUSE) if is_abandoned(path, &address) => {
            std::fs::remove_file(path)?;
            bind(&socket, &address)?;
        }
        outcome => outcome?,
    }
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Whether nobody listens at a Unix socket any more: its name outlived its process. What is no
/// socket is somebody's file.
pub(super) fn is_abandoned(path: &Path, address: &SocketAddrUnix) -> bool {
    let is_socket = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
    if !rustix::fs::lstat(path).is_ok_and(is_socket) {
        return false;
    }
    let family = AddressFamily::UNIX;
    // One that has many connections waiting is not waited for.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None)
        .and_then(|socket| rustix::net::connect(&socket, address))
        == Err(Errno::CONNREFUSED)
}

/// The address that a socket listens on.
pub fn bound(socket: BorrowedFd<'_>) -> io::Result<Listen> {
    let address = rustix::net::getsockname(socket)?;
    if socket_domain(socket)? == AddressFamily::UNIX {
        let address = SocketAddrUnix::try_from(address)?;
        let path = address.path_bytes().unwrap_or_default();
        let path = std::os::unix::ffi::OsStrExt::from_bytes(path);
        let path: &std::ffi::OsStr = path;
        return Ok(Listen::Unix(path.into()));
    }
    Ok(Listen::Tcp(SocketAddr::try_from(address)?))
}

/// A listening socket in one worker's runtime.
#[derive(Debug)]
pub struct Acceptor {
    socket: Nonblocking,
    listener: Arc<Listener>,
}

/// A connection with its two ends.
pub type Accepted = (OwnedFd, Local<Address>, Remote<Address>);

impl Acceptor {
    /// Whether another process comes to have the socket.
    pub fn has_heirs(&self) -> bool {
        self.listener.has_heirs()
    }

    /// The configured address.
    pub fn listen(&self) -> &Arc<Listen> {
        &self.listener.listen
    }

    /// The next connection. Waits out a lack of descriptors or memory; never ends by an error.
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> Accepted {
        let mut is_first = true;
        loop {
            match poll_fn(|context| self.poll_accept(context)).await {
                Ok(accepted) => return accepted,
                Err(error) if is_exhausted(&error) => {
                    if std::mem::take(&mut is_first) && EXHAUSTED.happened().is_some() {
                        tracing::warn!(
                            MESSAGE_ID = message_id::CONNECTIONS_EXHAUSTED,
                            "no connection can be accepted for now: {error}"
                        );
                    }
                    tokio::time::sleep(BACK_OFF).await;
                }
                // The client gave up before it was accepted: RFC 9293's reset, a route that broke. An
                // error that stays is not met again and again at full speed.
                Err(error) => {
                    tracing::debug!("a connection ended before it was accepted: {error}");
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        tokio::time::sleep(BACK_OFF).await;
                    }
                }
            }
        }
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        loop {
            ready!(self.socket.poll_read_ready(context))?;
            let accepted = self.socket.try_io(Interest::READABLE, || self.waiting());
            if !matches!(&accepted, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                return Poll::Ready(accepted);
            }
        }
    }

    /// A connection that waits to be accepted.
    fn waiting(&self) -> io::Result<Accepted> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, remote) = acceptfrom_with(&self.socket, flags)?;
        let local = self.listener.local(&socket)?;
        let remote = match (local.0, remote) {
            (Address::Tcp(_), Some(remote)) => Address::Tcp(remote.try_into()?),
            _ => Address::Unix,
        };
        Ok((socket, local, Remote(remote)))
    }

    /// Accepts what waits already, and closes the socket: who has connected is not reset. At most as
    /// many as can wait, for more may come all the time.
    pub fn close(self, mut welcome: impl FnMut(Accepted)) -> io::Result<()> {
        for _ in 0..BACKLOG {
            match self.waiting() {
                Ok(accepted) => welcome(accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_exhausted(&error) => return Err(error),
                // The client was faster.
                Err(_) => {}
            }
        }
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_wait_in_a_socket_are_accepted_before_it_is_closed() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.unwrap();
        let _entered = runtime.enter();
        let address = Listen::Tcp(([127, 0, 0, 1], 0).into());
        let listener = Arc::new(Listener::open(&address, &[], &[]).unwrap());
        let acceptor = listener.acceptor().unwrap();
        let Listen::Tcp(address) = listener.bound else {
            unreachable!("it listens on TCP");
        };
        let clients = [(); 3].map(|()| std::net::TcpStream::connect(address).unwrap());
        // The runtime has not looked at the socket at all.
        let mut accepted = Vec::new();
        acceptor
            .close(|connection| accepted.push(connection))
            .unwrap();
        let theirs = clients.map(|client| client.local_addr().unwrap());
        assert_eq!(accepted.len(), theirs.len());
        for ((_, local, remote), theirs) in accepted.iter().zip(theirs) {
            assert_eq!(local.0, Address::Tcp(address));
            assert_eq!(remote.0, Address::Tcp(theirs));
        }
    }
}
