//! What no server of this machine can be faster than: one thread and epoll that answer every request alike.
//!
//! `floor PORT` sends a prepared head and 1 KiB of content for each request, `floor PORT close` closes the
//! connection after it, and `floor PORT spawn PROGRAM` starts a program for each request and sends what
//! that writes. Of a request only its end is looked for.

#![allow(clippy::print_stderr, reason = "a program for people at a terminal")]

use std::{
    env,
    ffi::OsString,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, EventData, EventFlags},
    io::Errno,
};

/// The end of a head, as four bytes of a number.
const END: u32 = u32::from_be_bytes(*b"\r\n\r\n");

/// More than a request or the output of the program has.
const MOST: usize = 16 * 1024;

/// So many events are taken at once.
const EVENTS: usize = 256;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let Some((port, way)) = read(&arguments) else {
        eprintln!("usage: floor PORT [close | spawn PROGRAM]");
        return ExitCode::from(64);
    };
    match Floor::listen(port, way).and_then(|mut floor| floor.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::from(71)
        }
    }
}

fn read(arguments: &[OsString]) -> Option<(u16, Way)> {
    let [port, way @ ..] = arguments else {
        return None;
    };
    let way = match way {
        [] => Way::Keep,
        [close] if close == "close" => Way::Close,
        [spawn, program] if spawn == "spawn" => Way::Spawn(program.clone()),
        _ => return None,
    };
    Some((port.to_str()?.parse().ok()?, way))
}

/// How a request is answered.
enum Way {
    Keep,
    Close,
    Spawn(OsString),
}

/// What an event is about: its number is the place in the table.
enum Party {
    Listener(TcpListener),
    Client(Client),
    Script(Script),
}

struct Client {
    stream: TcpStream,
    /// The last four bytes.
    last: u32,
}

/// A program that runs, for the client at this place.
struct Script {
    process: Child,
    stdout: ChildStdout,
    output: Vec<u8>,
    client: usize,
}

struct Floor {
    epoll: OwnedFd,
    parties: Vec<Option<Party>>,
    vacant: Vec<usize>,
    way: Way,
    answer: Vec<u8>,
}

impl Floor {
    fn listen(port: u16, way: Way) -> io::Result<Self> {
        let mut floor = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            parties: Vec::new(),
            vacant: Vec::new(),
            answer: answer(&[b'x'; 1024], matches!(way, Way::Close)),
            way,
        };
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        floor.enter(Party::Listener(listener))?;
        Ok(floor)
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                let place = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                // Who is gone by now may still have an event here.
                let Some(party) = self.parties.get_mut(place).and_then(Option::take) else {
                    continue;
                };
                match self.attend(party, place)? {
                    Some(party) => self.parties[place] = Some(party),
                    None => self.vacant.push(place),
                }
            }
        }
    }

    fn enter(&mut self, party: Party) -> io::Result<()> {
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.parties.push(None);
            self.parties.len() - 1
        });
        let descriptor = match &party {
            Party::Listener(listener) => listener.as_fd(),
            Party::Client(client) => client.stream.as_fd(),
            Party::Script(script) => script.stdout.as_fd(),
        };
        let data = EventData::new_u64(place as u64);
        epoll::add(&self.epoll, descriptor, data, EventFlags::IN)?;
        self.parties[place] = Some(party);
        Ok(())
    }

    /// Does what an event asks for; a party that stays is given back.
    fn attend(&mut self, party: Party, place: usize) -> io::Result<Option<Party>> {
        Ok(match party {
            Party::Listener(listener) => {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    self.enter(Party::Client(Client { stream, last: 0 }))?;
                }
                Some(Party::Listener(listener))
            }
            Party::Client(client) => self.serve(client, place)?.map(Party::Client),
            Party::Script(script) => self.pass_on(script)?.map(Party::Script),
        })
    }

    fn serve(&mut self, mut client: Client, place: usize) -> io::Result<Option<Client>> {
        let mut buffer = [0; MOST];
        let received = match client.stream.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(client)),
            Err(_) => return Ok(None),
        };
        for byte in &buffer[..received] {
            client.last = client.last << 8 | u32::from(*byte);
            if client.last != END {
                continue;
            }
            if let Way::Spawn(program) = &self.way {
                let script = start(program, place)?;
                self.enter(Party::Script(script))?;
            } else if client.stream.write_all(&self.answer).is_err()
                || matches!(self.way, Way::Close)
            {
                return Ok(None);
            }
        }
        Ok(Some(client))
    }

    /// Takes output; at its end it becomes the answer.
    fn pass_on(&mut self, mut script: Script) -> io::Result<Option<Script>> {
        let mut buffer = [0; MOST];
        let received = script.stdout.read(&mut buffer)?;
        script.output.extend_from_slice(&buffer[..received]);
        if received > 0 {
            return Ok(Some(script));
        }
        script.process.wait()?;
        let begin = memchr::memmem::find(&script.output, b"\n\n").map_or(0, |end| end + 2);
        if let Some(Some(Party::Client(client))) = self.parties.get_mut(script.client) {
            // A client that is gone, or takes nothing, shows at its own event.
            let _ = client
                .stream
                .write_all(&answer(&script.output[begin..], false));
        }
        Ok(None)
    }
}

/// Starts a program as cheaply as the standard library does: by `posix_spawn`, without an environment.
fn start(program: &OsString, client: usize) -> io::Result<Script> {
    let mut process = Command::new(program)
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok(Script {
        process,
        stdout,
        output: Vec::new(),
        client,
    })
}

/// An answer with the fields that all servers send.
fn answer(content: &[u8], last: bool) -> Vec<u8> {
    let connection = if last { "Connection: close\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\
         Date: Sun, 22 Nov 2026 00:00:00 GMT\r\nLast-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\n\
         ETag: \"0123456789abcdef\"\r\nAccept-Ranges: bytes\r\n{connection}\r\n",
        content.len()
    );
    [head.as_bytes(), content].concat()
}
