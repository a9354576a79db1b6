//! The access record of a request, written when the last of those who work on it lets go.

use std::{
    cell::RefCell,
    fmt::Write as _,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{
    StatusCode,
    header::{HOST, REFERER, USER_AGENT},
    request::Parts,
};

use crate::{
    records::{Record, Request, ScriptLine, Sink},
    semantics::failure::Cause,
    transport::Connection,
};

/// How much of a script's stderr is kept for a diagnosis.
const LAST_LINES: usize = 2 * 1024;

/// What the allocator adds to the parts of a record, and the parts that are not counted.
const ALLOCATIONS: usize = 256;

/// Names a request in all that is written about it: the connection and the request's number on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// The connection's id.
    pub connection: u64,
    /// From 1.
    pub number: u32,
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:x}-{}", self.connection, self.number)
    }
}

/// What happened to a request.
#[derive(Debug)]
pub struct AccessRecord {
    /// Its name.
    pub id: RequestId,
    /// When its head had come.
    pub time: SystemTime,
    /// From its head to the end of its answer.
    pub duration: Duration,
    /// Where it came from.
    pub connection: Arc<Connection>,
    /// What it said.
    pub words: Words,
    /// What became of it.
    pub outcome: Outcome,
}

/// What a record has of the head of a request: copies, for a slice of what came would keep the whole
/// buffer of the connection.
#[derive(Debug, Clone)]
pub struct Words {
    /// The first line.
    pub request_line: Box<str>,
    /// The `Host` field; of several the first, as of those below.
    pub host: Option<Box<[u8]>>,
    /// The `Referer` field.
    pub referer: Option<Box<[u8]>>,
    /// The `User-Agent` field.
    pub user_agent: Option<Box<[u8]>>,
}

impl Words {
    /// Of this head.
    pub fn of(head: &Parts) -> Self {
        let field = |name| head.headers.get(name).map(|value| value.as_bytes().into());
        Self {
            request_line: request_line(head),
            host: field(HOST),
            referer: field(REFERER),
            user_agent: field(USER_AGENT),
        }
    }

    /// What they take in memory beside themselves, in bytes.
    pub fn size(&self) -> usize {
        let fields = [&self.host, &self.referer, &self.user_agent];
        let fields = fields.into_iter().flatten().map(|value| value.len());
        self.request_line.len() + fields.sum::<usize>()
    }
}

impl AccessRecord {
    /// What it takes in memory, with what belongs to it.
    pub fn size(&self) -> usize {
        size_of::<Self>() + ALLOCATIONS + self.words.size()
    }
}

/// What became of a request.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The name of its site, once known.
    pub site: Option<Arc<str>>,
    /// The user who has shown a password.
    pub user: Option<Box<[u8]>>,
    /// The status of its answer; absent when the client left before there was one.
    pub status: Option<StatusCode>,
    /// Bytes of content that were handed to the connection.
    pub bytes: u64,
    /// Whether the answer's content came to its end.
    pub complete: bool,
    /// Why it failed.
    pub cause: Option<Cause>,
    /// The script that answered.
    pub script: Option<ScriptUse>,
}

/// A script's part in a request.
#[derive(Debug, Clone)]
pub struct ScriptUse {
    /// The program.
    pub file: PathBuf,
    /// Its process id.
    pub pid: u32,
    /// How it ended, in words: `exit status 0`, `signal 9`.
    pub end: Option<String>,
    /// Why it was killed, if it was.
    pub killed: Option<String>,
    /// Processor time in microseconds.
    pub cpu_us: u64,
    /// Peak resident memory in KiB.
    pub max_rss_kib: u64,
}

/// The last lines that a script wrote to stderr.
#[derive(Debug, Default)]
struct LastLines {
    pid: u32,
    bytes: Vec<u8>,
}

impl LastLines {
    fn add(&mut self, pid: u32, line: &[u8]) {
        if self.pid != pid {
            *self = Self {
                pid,
                bytes: Vec::new(),
            };
        }
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
        self.bytes
            .drain(..self.bytes.len().saturating_sub(LAST_LINES));
    }
}

/// The record of a request under way. Whoever works on the request holds one; when the last is
/// dropped, the record is handed in, with a client that left as with one that stayed.
#[derive(Debug, Clone)]
pub struct Pending(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    sink: Sink,
    id: RequestId,
    started: Instant,
    connection: Arc<Connection>,
    head: Parts,
    outcome: RefCell<Outcome>,
    last_lines: RefCell<LastLines>,
}

impl Pending {
    /// Begins the record of a request whose head has come.
    pub fn begin(sink: Sink, connection: Arc<Connection>, number: u32, head: Parts) -> Self {
        Self(Rc::new(Inner {
            sink,
            id: RequestId {
                connection: connection.id,
                number,
            },
            started: Instant::now(),
            connection,
            head,
            outcome: RefCell::default(),
            last_lines: RefCell::default(),
        }))
    }

    /// The request's name.
    pub fn id(&self) -> RequestId {
        self.0.id
    }

    /// The request's head.
    pub fn head(&self) -> &Parts {
        &self.0.head
    }

    /// The connection the request came by.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.0.connection
    }

    /// Whether somebody wants to know of the request.
    pub fn is_wanted(&self) -> bool {
        !self.0.sink.ignores_requests()
    }

    /// Notes something about the outcome.
    pub fn note(&self, change: impl FnOnce(&mut Outcome)) {
        change(&mut self.0.outcome.borrow_mut());
    }

    /// Writes down a line of the script's stderr, under the name of this request.
    pub fn script_line(&self, line: Vec<u8>) {
        let outcome = self.0.outcome.borrow();
        let (Some(site), Some(script)) = (&outcome.site, &outcome.script) else {
            return;
        };
        self.0.last_lines.borrow_mut().add(script.pid, &line);
        self.0.sink.send(Record::Script(ScriptLine {
            time: SystemTime::now(),
            request: self.0.id,
            site: Arc::clone(site),
            script: script.file.clone(),
            pid: script.pid,
            line,
        }));
    }

    /// The end of what the script has written to stderr so far, in whole lines but for the first.
    pub fn last_script_lines(&self) -> Vec<u8> {
        let outcome = self.0.outcome.borrow();
        let pid = outcome.script.as_ref().map(|script| script.pid);
        let last = self.0.last_lines.borrow();
        match pid {
            Some(pid) if pid == last.pid => last.bytes.clone(),
            _ => Vec::new(),
        }
    }
}

/// The request line, to the byte: hyper takes only lines that this gives back.
fn request_line(head: &Parts) -> Box<str> {
    let Parts {
        method,
        uri,
        version,
        ..
    } = head;
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let mut line = String::with_capacity(method.as_str().len() + path + " HTTP/1.1 ".len());
    // A String takes everything.
    let _ = write!(line, "{method} {uri} {version:?}");
    line.into()
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.sink.ignores_requests() {
            return;
        }
        let duration = self.started.elapsed();
        let now = SystemTime::now();
        let record = AccessRecord {
            id: self.id,
            time: now.checked_sub(duration).unwrap_or(now),
            duration,
            connection: Arc::clone(&self.connection),
            words: Words::of(&self.head),
            outcome: self.outcome.take(),
        };
        let request = Request::Access(Box::new(record));
        self.sink.send(Record::Request(request));
    }
}
