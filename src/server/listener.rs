//! Listening sockets: taken over from systemd or bound, and accepted from by every worker.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener as StdUnixListener,
    },
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rustix::{
    fs::{FileType, Stat},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
        sockopt::{set_ipv6_v6only, set_socket_reuseaddr, socket_domain},
    },
};
use tokio::net::{TcpListener, UnixListener};

use crate::{
    semantics::failure::is_exhausted,
    server::error::StartError,
    transport::{Address, Listen, Local, Remote, stream::Socket},
};

/// How many connections may wait to be accepted; the kernel cuts it at its own limit.
const BACKLOG: i32 = 4096;

/// How long nothing is accepted after the process ran out of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A bound socket that all workers share.
#[derive(Debug)]
pub struct Listener {
    /// The configured address.
    pub listen: Arc<Listen>,
    /// Where it really listens: the port that was found for port 0.
    pub bound: Listen,
    socket: OwnedFd,
    /// The name of a Unix socket that this process has made.
    made: Option<PathBuf>,
}

/// The name of a socket goes with it.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    /// A listener for every address, in order: one of `passed` where it is bound there already,
    /// else a new one. `running` are kept as they are.
    pub fn all(
        addresses: &[Listen],
        running: &[Arc<Listener>],
        passed: &mut Vec<OwnedFd>,
    ) -> Result<Vec<Arc<Self>>, StartError> {
        let kept: HashMap<&Listen, &Arc<Listener>> = running
            .iter()
            .map(|listener| (&*listener.listen, listener))
            .collect();
        addresses
            .iter()
            .map(|address| match kept.get(address) {
                Some(listener) => Ok(Arc::clone(listener)),
                None => Self::open(address, passed)
                    .map(Arc::new)
                    .map_err(|error| StartError::bind(address, error)),
            })
            .collect()
    }

    fn open(address: &Listen, passed: &mut Vec<OwnedFd>) -> io::Result<Self> {
        let adopted = passed
            .iter()
            .position(|socket| bound(socket).is_ok_and(|bound| bound == *address));
        let (socket, made) = match (adopted, address) {
            (Some(index), _) => (passed.swap_remove(index), None),
            (None, Listen::Tcp(address)) => (tcp(address)?, None),
            (None, Listen::Unix(path)) => (unix(path)?, Some(path.clone())),
        };
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            listen: Arc::new(address.clone()),
            bound: bound(&socket)?,
            socket,
            made,
        })
    }

    /// A handle of the same socket for one worker's runtime.
    pub fn acceptor(&self) -> io::Result<Acceptor> {
        let socket = self.socket.try_clone()?;
        Ok(match &*self.listen {
            Listen::Tcp(_) => Acceptor::Tcp(TcpListener::from_std(socket.into())?),
            Listen::Unix(_) => {
                Acceptor::Unix(UnixListener::from_std(StdUnixListener::from(socket))?)
            }
        })
    }
}

fn tcp(address: &SocketAddr) -> io::Result<OwnedFd> {
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
    bind(&socket, address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
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
fn bound(socket: &OwnedFd) -> io::Result<Listen> {
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
pub enum Acceptor {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Acceptor {
    /// The next connection. Waits out a lack of descriptors or memory; never ends by an error.
    pub async fn accept(&self) -> (Rc<Socket>, Local<Address>, Remote<Address>) {
        let mut is_first = true;
        loop {
            let accepted = match self {
                Self::Tcp(listener) => accept_tcp(listener).await,
                Self::Unix(listener) => listener.accept().await.map(|(socket, _)| {
                    let unix = Address::Unix;
                    (Socket::Unix(socket), Local(unix), Remote(unix))
                }),
            };
            match accepted {
                Ok((socket, local, remote)) => return (Rc::new(socket), local, remote),
                Err(error) if is_exhausted(&error) => {
                    if std::mem::take(&mut is_first) {
                        tracing::warn!("no connection can be accepted for now: {error}");
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
}

async fn accept_tcp(
    listener: &TcpListener,
) -> io::Result<(Socket, Local<Address>, Remote<Address>)> {
    let (socket, remote) = listener.accept().await?;
    // An answer that is handed over is complete: waiting for more of it would only delay it.
    socket.set_nodelay(true)?;
    let local = socket.local_addr()?;
    Ok((
        Socket::Tcp(socket),
        Local(Address::Tcp(local)),
        Remote(Address::Tcp(remote)),
    ))
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
