//! The connections to the launcher: one for each script at a time.
//!
//! A connection whose script is over stays open for the next one of this worker, which spares both ends
//! to make it, to accept it and to have it watched: some ten system calls for each script. A launcher that ends
//! one closes it; what was sent then and not received is known to be so, and is sent again.

use std::{
    cell::RefCell,
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use http::StatusCode;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    net::{Shutdown, shutdown},
};

use crate::{
    cgi::wire::{Exit, MAX_MESSAGE, Reply, Request},
    semantics::failure::{Cause, Failure},
    sys::{
        seqpacket::{Address, Socket},
        watched::Watched,
    },
};

/// How soon a launcher is asked again that has as many connections waiting as it lets wait. The
/// kernel does not tell when there is room.
const AGAIN: Duration = Duration::from_millis(5);

/// No reply about a script is longer: at most it names a path.
const REPLY: usize = 16 * 1024;

/// How many connections of all workers wait for the next script at most.
const IDLE: usize = 64;

/// How many do.
static WAITING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The connections of this worker whose scripts are over. They belong to its runtime.
    static OVER: RefCell<Vec<(Launcher, Place)>> = const { RefCell::new(Vec::new()) };
}

/// A place among the connections that wait.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let place = Self;
        (WAITING.fetch_add(1, Ordering::Relaxed) < IDLE).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection to the launcher. Closing it ends the script that was started by it.
#[derive(Debug)]
pub struct Launcher {
    socket: Watched,
    address: Address,
}

impl Launcher {
    /// Sends a request with descriptors, and answers with the first reply.
    pub async fn ask(
        address: &Address,
        request: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<(Self, Reply)> {
        while let Some(launcher) = Self::idle(address) {
            match launcher.exchange(request, fds).await {
                // It was closed before the request was received.
                Err(error) if is_lost(&error) => {}
                outcome => return outcome.map(|reply| (launcher, reply)),
            }
        }
        let launcher = Self::connect(address).await?;
        match launcher.exchange(request, fds).await {
            // It was about to end; the next one has the same address.
            Err(error) if is_lost(&error) => {
                let launcher = Self::connect(address).await?;
                let reply = launcher.exchange(request, fds).await?;
                Ok((launcher, reply))
            }
            outcome => outcome.map(|reply| (launcher, reply)),
        }
    }

    /// A connection whose script is over.
    fn idle(address: &Address) -> Option<Self> {
        OVER.with_borrow_mut(|over| {
            let at = over.iter().rposition(|(one, _)| one.address == *address)?;
            Some(over.swap_remove(at).0)
        })
    }

    /// Keeps a connection whose script is over for another one.
    pub fn keep(self) {
        self.socket.has_all();
        if let Some(place) = Place::take() {
            OVER.with_borrow_mut(|over| over.push((self, place)));
        }
    }

    async fn exchange(&self, request: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<Reply> {
        self.socket.send(request, fds)?;
        self.receive().await
    }

    /// Connects to the launcher. One that is behind is waited for.
    async fn connect(address: &Address) -> io::Result<Self> {
        loop {
            match Socket::connect(address) {
                Ok(socket) => {
                    return Ok(Self {
                        socket: Watched::new(socket)?,
                        address: address.clone(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Has the script killed and all it started. Returns when it is over.
    pub async fn kill(&self) -> io::Result<Exit> {
        let request = Request::Kill.encode().map_err(io::Error::other)?;
        match self.socket.send(&request, &[]) {
            // What has closed its end may have told the script's before.
            Err(error) if !is_lost(&error) => return Err(error),
            _ => {}
        }
        match self.exited().await {
            // The kernel tells once, and first, that it has not received the order.
            Err(error) if is_lost(&error) => self.exited().await,
            outcome => outcome,
        }
    }

    /// Waits for the next reply. Dropping the future loses none.
    async fn receive(&self) -> io::Result<Reply> {
        let mut message = vec![0; REPLY];
        match self.socket.recv(&mut message).await? {
            (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
            (length, _) => Reply::decode(&message[..length]).map_err(io::Error::other),
        }
    }

    /// Waits for the end of the script. Dropping the future loses nothing.
    pub async fn exited(&self) -> io::Result<Exit> {
        match self.receive().await? {
            Reply::Exited(exit) => Ok(exit),
            other => Err(unexpected(&other)),
        }
    }
}

/// Whether the other end was closed without having received all that was sent to it.
fn is_lost(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// The launcher has said what it should not.
pub fn unexpected(reply: &Reply) -> io::Error {
    io::Error::other(format!("it answered out of turn: {reply:?}"))
}

/// The failure of a request whose launcher is not there, or no longer.
pub fn unreachable_launcher(error: &io::Error) -> Failure {
    let cause = Cause::Launcher(error.to_string());
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, cause)
}

/// The failure of a request whose launcher has ended while its script ran.
pub fn lost_launcher(error: &io::Error) -> Failure {
    let cause = Cause::Launcher(format!("it ended while the script ran: {error}"));
    Failure::new(StatusCode::BAD_GATEWAY, cause)
}

/// The failure of a request whose supervision ended with the server.
pub fn abandoned() -> Failure {
    unreachable_launcher(&io::Error::other("the server is stopping"))
}

/// How long a launcher may be behind that is to read its configuration.
const BEHIND: Duration = Duration::from_secs(10);

/// How long the launcher may take to read its configuration.
const RELOAD: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// Has the launcher read its configuration again. Blocks; the error is for people.
pub fn reload(address: &Address) -> Result<(), String> {
    let reply = ask_to_reload(address).map_err(|error| format!("it cannot be reached: {error}"))?;
    match reply {
        Reply::Reloaded => Ok(()),
        Reply::Refused(refusal) => Err(refusal.to_string()),
        other => Err(unexpected(&other).to_string()),
    }
}

/// How long the launcher may take to turn to somebody.
const MOMENT: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Whether the launcher soon hangs up on a connection that asks for nothing.
pub fn is_at_work(address: &Address) -> bool {
    let socket = match Socket::connect(address) {
        Ok(socket) => socket,
        // It has much to do.
        Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
    };
    let mut end = [PollFd::new(&socket, PollFlags::IN)];
    shutdown(&socket, Shutdown::Write).is_ok()
        && retry_on_intr(|| poll(&mut end, Some(&MOMENT))).is_ok_and(|ready| ready > 0)
}

fn ask_to_reload(address: &Address) -> io::Result<Reply> {
    let by = Instant::now() + BEHIND;
    let socket = loop {
        match Socket::connect(address) {
            // So many want scripts that it does not come to them.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < by => {
                std::thread::sleep(AGAIN);
            }
            outcome => break outcome?,
        }
    };
    let message = Request::Reload.encode().map_err(io::Error::other)?;
    socket.send(&message, &[])?;
    let mut answer = [PollFd::new(&socket, PollFlags::IN)];
    if retry_on_intr(|| poll(&mut answer, Some(&RELOAD)))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut message = vec![0; MAX_MESSAGE];
    match socket.recv(&mut message)? {
        (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
        (length, _) => Reply::decode(&message[..length]).map_err(io::Error::other),
    }
}
