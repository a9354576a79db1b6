//! The control socket: whoever runs this server, or root, asks it to reload or how it does, and is told
//! what came of it.
//!
//! One request for each connection: a word and a newline, answered by one JSON object and the end.
//! The server's loop does what is asked, one request after the other. Peers may be slow, silent or
//! many: each is waited for a moment only, a few at a time, on threads of their own.

use std::{
    fs::DirBuilder,
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::DirBuilderExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::Mode,
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
        sockopt::{Timeout, set_socket_timeout, socket_peercred},
    },
};
use serde::{Deserialize, Serialize};

use crate::server::{event::Event, listener::is_abandoned};

/// So many peers are heard at once; as many more wait in the kernel.
const PEERS: u8 = 4;

/// How long a peer may take to say what it wants, and then to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a server may take to answer: its launcher has 30 s to read the configuration.
const ANSWER: Duration = Duration::from_secs(75);

/// How long nothing is accepted after that has failed, for lack of descriptors.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How soon a name that another server has is tried again.
const NEXT_TRY: Duration = Duration::from_secs(1);

/// No request is longer.
const LONGEST_REQUEST: usize = 32;

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Read the configuration again and put it in force.
    Reload,
    /// Tell what that would change.
    Diff,
    /// Tell how the server does.
    Status,
}

impl Request {
    const ALL: [Self; 3] = [Self::Reload, Self::Diff, Self::Status];

    fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Diff => "diff",
            Self::Status => "status",
        }
    }

    fn parse(line: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|request| request.word().as_bytes() == line)
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// As it was asked for.
    Done,
    /// The configuration has errors.
    Configuration,
    /// The operating system has refused a listener or a log.
    Refused,
    /// It has refused one for want of a permission.
    Permission,
    /// The launcher is not there, or does not take the configuration.
    Launcher,
    /// The peer is somebody else.
    Denied,
    /// The server does not know the request.
    NotUnderstood,
    /// The server is stopping.
    Stopping,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// How it ended.
    pub ending: Ending,
    /// What was asked for, as lines.
    pub output: String,
    /// Errors and warnings as lines, with ANSI styles.
    pub findings: String,
}

impl Answer {
    fn failure(ending: Ending, reason: &str) -> Self {
        Self {
            ending,
            output: String::new(),
            findings: format!("pywebd: {reason}\n"),
        }
    }
}

/// A request that waits for the server's loop.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Who is told what came of it. Dropping it says that the server is stopping.
    pub reply: Sender<Answer>,
}

/// Where the control socket of a server is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// Where it was told to be.
    Named(PathBuf),
    /// Where it is looked for if nothing else is said.
    Usual(PathBuf),
    /// Nothing says where.
    Unknown,
}

/// The socket of this server; its name goes with it.
#[derive(Debug)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    state: Mutex<State>,
    events: Sender<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Another server has the name.
    Waiting,
    /// This one has it.
    Listening,
    /// This one wants it no more.
    Over,
}

impl Drop for Control {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if *state == State::Listening {
            let _ = std::fs::remove_file(&self.0.path);
        }
        *state = State::Over;
    }
}

impl Control {
    /// Listens at this path; requests become `events`. Where another server does, its end is waited
    /// for: the next process of a service may start before the last has ended.
    pub fn start(path: PathBuf, events: Sender<Event>) -> io::Result<Self> {
        let state = Mutex::new(State::Waiting);
        let shared = Arc::new(Shared {
            path,
            state,
            events,
        });
        match shared.listen() {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                tracing::warn!(
                    "another server listens at {}, or it is no socket: until it is gone, \
                     `pywebd reload` does not reach this server",
                    shared.path.display()
                );
                let waiting = Arc::clone(&shared);
                thread::Builder::new()
                    .name("control".into())
                    .spawn(move || waiting.wait())?;
            }
            outcome => outcome?,
        }
        Ok(Self(shared))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens, unless that is not wanted any more.
    fn listen(&self) -> io::Result<()> {
        let mut state = self.lock();
        if *state == State::Over {
            return Ok(());
        }
        let listener = Arc::new(open(&self.path)?);
        *state = State::Listening;
        for number in 1..=PEERS {
            let (listener, events) = (Arc::clone(&listener), self.events.clone());
            thread::Builder::new()
                .name(format!("control-{number}"))
                .spawn(move || hear_all(&listener, &events))?;
        }
        Ok(())
    }

    /// Listens as soon as nobody else does.
    fn wait(&self) {
        while self
            .listen()
            .is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
        {
            thread::sleep(NEXT_TRY);
        }
    }
}

/// A listening socket that only this user and root can connect to. One that nobody listens at any
/// more is replaced.
fn open(path: &Path) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    if let Some(directory) = path.parent() {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let socket = socket()?;
    // What bind makes has the mode of the socket, less the umask: it is never open to others.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    match bind(&socket, &address) {
        Err(Errno::ADDRINUSE) if is_abandoned(path, &address) => {
            std::fs::remove_file(path)?;
            bind(&socket, &address)?;
        }
        outcome => outcome?,
    }
    listen(&socket, PEERS.into())?;
    Ok(socket.into())
}

fn socket() -> Result<OwnedFd, Errno> {
    let family = AddressFamily::UNIX;
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// Hears one peer after the other, as long as the process lives.
fn hear_all(listener: &UnixListener, events: &Sender<Event>) {
    loop {
        match listener.accept() {
            // A peer that fails has only itself to tell.
            Ok((peer, _)) => drop(hear(&peer, events)),
            Err(_) => thread::sleep(BACK_OFF),
        }
    }
}

fn hear(peer: &UnixStream, events: &Sender<Event>) -> io::Result<()> {
    let answer = answer(peer, events)?;
    send(peer, &serde_json::to_vec(&answer)?, PATIENCE)
}

fn answer(peer: &UnixStream, events: &Sender<Event>) -> io::Result<Answer> {
    // It is taken also from who is turned away: what is not read would end in a reset.
    let line = request_line(peer)?;
    let uid = socket_peercred(peer)?.uid;
    if !uid.is_root() && uid != rustix::process::geteuid() {
        let reason = "the server answers only root and the user that it runs as";
        return Ok(Answer::failure(Ending::Denied, reason));
    }
    let Some(request) = Request::parse(&line) else {
        let version = env!("CARGO_PKG_VERSION");
        let reason = format!("the server, pywebd {version}, does not know this request");
        return Ok(Answer::failure(Ending::NotUnderstood, &reason));
    };
    let stopping = || Answer::failure(Ending::Stopping, "the server is stopping");
    Ok(ask_server(request, events).unwrap_or_else(stopping))
}

/// Has the server's loop answer; it does not where the server is stopping.
fn ask_server(request: Request, events: &Sender<Event>) -> Option<Answer> {
    let (reply, answers) = channel();
    events.send(Event::Asked(Asked { request, reply })).ok()?;
    answers.recv().ok()
}

/// What comes before the first newline.
fn request_line(mut peer: &UnixStream) -> io::Result<Vec<u8>> {
    let by = Instant::now() + PATIENCE;
    let mut line = Vec::new();
    loop {
        peer.set_read_timeout(Some(until(by)?))?;
        let mut buffer = [0; LONGEST_REQUEST];
        let length = retried(|| peer.read(&mut buffer))?;
        line.extend_from_slice(&buffer[..length]);
        if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
            line.truncate(end);
            return Ok(line);
        }
        if length == 0 || line.len() > LONGEST_REQUEST {
            return Ok(line);
        }
    }
}

fn send(mut peer: &UnixStream, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
    let by = Instant::now() + patience;
    while !bytes.is_empty() {
        peer.set_write_timeout(Some(until(by)?))?;
        let sent = retried(|| peer.write(bytes))?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// A timeout on a socket makes the kernel give up for any signal.
fn retried<T>(mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match action() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// The time that is left, which is not zero.
fn until(by: Instant) -> io::Result<Duration> {
    let left = by.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// Asks the server whose socket is at this path.
pub fn ask(path: &Path, request: Request) -> io::Result<Answer> {
    let socket = socket()?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE * 5))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let mut server = UnixStream::from(socket);
    send(
        &server,
        format!("{}\n", request.word()).as_bytes(),
        PATIENCE,
    )?;
    server.set_read_timeout(Some(ANSWER))?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&answer)?)
}
