//! Records: what is written down of every request, connection and line of a script's stderr, and
//! the server's own messages where they share standard error with them.
//!
//! A request never waits for a log. Records go through a bounded queue to one writer; what does
//! not fit is counted.

#![forbid(unsafe_code)]

pub mod access;
pub mod format;
pub mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::SystemTime,
};

pub use access::{AccessRecord, Pending, RequestId, ScriptUse};

use crate::transport::{Address, Remote};

/// How many records wait for the writer at most.
const QUEUE: usize = 16 * 1024;

/// How much of the queue lines of scripts may take, as [`ScriptLine::cost`] counts: less than half of
/// its places, so that no flood of them drives out what is written down of requests, and no more
/// memory than that.
const LINES: usize = 4 << 20;

/// One thing to write down.
#[derive(Debug)]
pub enum Record {
    /// A request that was answered, or that its client gave up.
    Access(Box<AccessRecord>),
    /// A connection that ended without a request.
    Connection(ConnectionRecord),
    /// A line that a script wrote to stderr.
    Script(ScriptLine),
    /// A message of the server's own, as it stands on standard error.
    Message(Vec<u8>),
}

/// A connection that ended without a request: what it sent was none.
#[derive(Debug)]
pub struct ConnectionRecord {
    /// When it ended.
    pub time: SystemTime,
    /// The client.
    pub remote: Remote<Address>,
    /// The first bytes it sent, up to the end of the line.
    pub line: Vec<u8>,
    /// The status it was answered with; absent when it was just closed.
    pub status: Option<u16>,
    /// Why, in words.
    pub reason: String,
}

/// A line that a script wrote to stderr.
#[derive(Debug)]
pub struct ScriptLine {
    /// When it was read.
    pub time: SystemTime,
    /// The request it was written for.
    pub request: RequestId,
    /// The site's name.
    pub site: Arc<str>,
    /// The script's file.
    pub script: PathBuf,
    /// The script's process id.
    pub pid: u32,
    /// The line without its end.
    pub line: Vec<u8>,
}

impl ScriptLine {
    /// What it takes in memory, and a share of the queue.
    fn cost(&self) -> usize {
        self.line.len() + LINES / (QUEUE / 2)
    }
}

/// Where records are handed in.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: SyncSender<Record>,
    dropped: Arc<AtomicU64>,
    /// What the lines of scripts in the queue cost.
    lines: Arc<AtomicUsize>,
    requests: Requests,
}

/// Whether requests, and connections without one, are written down (`[log] access`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// Each of them.
    Recorded,
    /// None; scripts and the server itself still have their say.
    Ignored,
}

/// The writer's end of the queue.
#[derive(Debug)]
pub struct Source {
    /// The records; ends when the last [`Sink`] is gone.
    pub queue: Receiver<Record>,
    /// How many did not fit since the writer last took the number.
    pub dropped: Arc<AtomicU64>,
    /// What the lines of scripts in the queue cost.
    lines: Arc<AtomicUsize>,
}

/// A queue for records.
pub fn queue(requests: Requests) -> (Sink, Source) {
    let (sender, receiver) = sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let lines = Arc::new(AtomicUsize::new(0));
    let sink = Sink {
        queue: sender,
        dropped: Arc::clone(&dropped),
        lines: Arc::clone(&lines),
        requests,
    };
    let source = Source {
        queue: receiver,
        dropped,
        lines,
    };
    (sink, source)
}

impl Sink {
    /// Hands in a record, or counts it when the queue is full.
    pub fn send(&self, record: Record) {
        let is_request = matches!(record, Record::Access(_) | Record::Connection(_));
        if is_request && self.requests == Requests::Ignored {
            return;
        }
        let cost = record.cost();
        let lines = self.lines.fetch_add(cost, Ordering::Relaxed) + cost;
        let fits = cost == 0 || lines <= LINES;
        if !fits || self.queue.try_send(record).is_err() {
            self.lines.fetch_sub(cost, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Source {
    /// The next record; none when the last [`Sink`] is gone.
    fn next(&self) -> Option<Record> {
        let record = self.queue.recv().ok()?;
        self.lines.fetch_sub(record.cost(), Ordering::Relaxed);
        Some(record)
    }
}

impl Record {
    /// What of the share of the scripts' lines it takes.
    fn cost(&self) -> usize {
        match self {
            Self::Script(line) => line.cost(),
            _ => 0,
        }
    }
}
