//! Records: what is written down of every request, connection and line of a script's stderr, and
//! the server's own messages where they share standard error with them.
//!
//! A request never waits for a log. Records go through a bounded queue to one writer; what does
//! not fit is counted.

#![forbid(unsafe_code)]

pub mod access;
pub mod file;
pub mod format;
pub mod journal;
pub mod message;
pub mod message_id;
pub mod seldom;
pub mod writer;

use std::{
    cell::Cell,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, SystemTime},
};

pub use access::{AccessRecord, Outcome, Pending, RequestId, ScriptUse, Words};

use crate::transport::{Address, Remote};

use message::Message;
use writer::Target;

/// How much memory the records may take that wait for the writer. A usual one takes about 0.8 KiB, so
/// these are three seconds of 50,000 requests each, for journald stands still while it begins another file
/// or waits for the disk. The longest, of heads that are made to be long, take as much as the head.
const MEMORY: usize = 128 << 20;

/// How much of that lines of scripts may take, so that no flood of them drives out what is written
/// down of requests.
const LINES: usize = MEMORY / 32;

/// How long the writer lets records come together before it takes them. Whoever hands one in meanwhile
/// wakes nobody: waking the writer for each record costs more than writing it.
const PAUSE: Duration = Duration::from_millis(2);

/// What the queue and the allocator add to a record.
const OVERHEAD: usize = 256;

/// One thing to write down.
#[derive(Debug)]
pub enum Record {
    /// A request, or a connection without one: what an access log has.
    Request(Request),
    /// A line that a script wrote to stderr.
    Script(ScriptLine),
    /// A message of the server's own, as it stands on standard error.
    Line(Vec<u8>),
    /// A message of the server's own for the subscriber of the writer's thread.
    Message(Message),
}

/// What was asked, or might have been.
#[derive(Debug)]
pub enum Request {
    /// A request that was answered, or that its client gave up.
    Access(Box<AccessRecord>),
    /// A connection that ended without a request.
    Connection(ConnectionRecord),
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
    /// What it takes in memory.
    fn size(&self) -> usize {
        OVERHEAD + self.script.as_os_str().len() + self.line.len()
    }
}

/// What the writer takes from the queue, in the order it was handed in.
#[derive(Debug)]
pub enum Queued {
    /// Something to write down.
    Record(Record),
    /// From here on records are written elsewhere.
    Change(Target),
    /// From here on the access log is the file that has its name now.
    Reopen,
}

/// Where records are handed in.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: Sender<Queued>,
    shared: Arc<Shared>,
}

/// The writer's end of the queue.
#[derive(Debug)]
pub struct Source {
    queue: Receiver<Queued>,
    shared: Arc<Shared>,
    /// Whether something has come since the queue was found empty.
    has_come: Cell<bool>,
}

/// What both ends of the queue know of it. The channel itself has no bound, so that a change of the
/// target never waits for a log that does not keep up.
#[derive(Debug, Default)]
struct Shared {
    /// What the records in the queue take in memory.
    memory: AtomicUsize,
    /// What the lines of scripts take of that.
    lines: AtomicUsize,
    /// How many did not fit, ever.
    dropped: AtomicU64,
    /// Whether nobody wants to know of requests.
    ignores_requests: AtomicBool,
    /// Whether a [`Queued::Reopen`] is in the queue: one is enough.
    will_reopen: AtomicBool,
}

/// A queue for records.
pub fn queue() -> (Sink, Source) {
    let (sender, receiver) = channel();
    let shared = Arc::<Shared>::default();
    let sink = Sink {
        queue: sender,
        shared: Arc::clone(&shared),
    };
    let source = Source {
        queue: receiver,
        shared,
        has_come: Cell::new(false),
    };
    (sink, source)
}

impl Sink {
    /// Whether records of requests are thrown away, so that there is no use in making them.
    pub fn ignores_requests(&self) -> bool {
        self.shared.ignores_requests.load(Ordering::Acquire)
    }

    /// Hands in a record, or counts it when the queue is full.
    pub fn send(&self, record: Record) {
        if matches!(record, Record::Request(_)) && self.ignores_requests() {
            return;
        }
        let size = record.size();
        if !self.shared.admit(size) || self.queue.send(Queued::Record(record)).is_err() {
            self.shared.release(size);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many records did not fit since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Has everything that is handed in from now on written elsewhere.
    pub fn change(&self, target: Target) {
        let ignores_requests = target.ignores_requests();
        // Without a writer, nothing is written anywhere.
        let _ = self.queue.send(Queued::Change(target));
        // Not before: what is handed in because of it stands behind the change.
        self.shared.ignore_requests(ignores_requests);
    }

    /// Has the access log opened again by its name, as after a rotation.
    pub fn reopen(&self) {
        if !self.shared.will_reopen.swap(true, Ordering::AcqRel) {
            let _ = self.queue.send(Queued::Reopen);
        }
    }
}

impl Source {
    /// The next of the queue; waits for it so long at most. Disconnected when the last [`Sink`] is
    /// gone.
    pub fn next(&self, patience: Option<Duration>) -> Result<Queued, RecvTimeoutError> {
        let queued = match self.present() {
            Some(queued) => queued,
            None => match patience {
                Some(patience) => self.queue.recv_timeout(patience)?,
                None => self.queue.recv()?,
            },
        };
        self.has_come.set(true);
        match &queued {
            Queued::Record(record) => self.shared.release(record.size()),
            Queued::Reopen => self.shared.will_reopen.store(false, Ordering::Release),
            Queued::Change(_) => {}
        }
        Ok(queued)
    }

    /// What is there, or comes within the pause that follows what came.
    fn present(&self) -> Option<Queued> {
        let present = self.queue.try_recv().ok();
        if present.is_none() && self.has_come.replace(false) {
            thread::sleep(PAUSE);
            return self.queue.try_recv().ok();
        }
        present
    }
}

impl Shared {
    /// Takes a place in the queue; it has to be released also where there was none.
    fn admit(&self, Size { memory, lines }: Size) -> bool {
        let all = self.memory.fetch_add(memory, Ordering::Relaxed) + memory;
        let all_lines = self.lines.fetch_add(lines, Ordering::Relaxed) + lines;
        all <= MEMORY && (lines == 0 || all_lines <= LINES)
    }

    fn ignore_requests(&self, yes: bool) {
        self.ignores_requests.store(yes, Ordering::Release);
    }

    fn release(&self, Size { memory, lines }: Size) {
        self.memory.fetch_sub(memory, Ordering::Relaxed);
        self.lines.fetch_sub(lines, Ordering::Relaxed);
    }
}

/// What a record takes in the queue.
#[derive(Debug, Clone, Copy)]
struct Size {
    memory: usize,
    /// The share of the scripts' lines.
    lines: usize,
}

impl Record {
    fn size(&self) -> Size {
        let memory = match self {
            Self::Request(Request::Access(record)) => record.size(),
            Self::Request(Request::Connection(record)) => OVERHEAD + record.line.len(),
            Self::Script(line) => {
                let size = line.size();
                return Size {
                    memory: size,
                    lines: size,
                };
            }
            Self::Line(line) => OVERHEAD + line.len(),
            Self::Message(message) => OVERHEAD + message.size(),
        };
        Size { memory, lines: 0 }
    }
}

#[cfg(test)]
impl ScriptLine {
    /// A line that the script /srv/a wrote.
    fn of(line: Vec<u8>) -> Self {
        Self {
            time: SystemTime::UNIX_EPOCH,
            request: RequestId {
                connection: 1,
                number: 1,
            },
            site: Arc::from("example"),
            script: "/srv/a".into(),
            pid: 1,
            line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: usize = 1 << 20;

    /// How many long ones have room.
    const MOST: usize = MEMORY / (LONG + OVERHEAD);

    fn long() -> Record {
        Record::Line(vec![b'x'; LONG])
    }

    #[test]
    fn a_full_queue_counts_what_does_not_fit_and_still_takes_a_rotation_in_its_turn() {
        let (sink, source) = queue();
        for _ in 0..MOST + 5 {
            sink.send(long());
        }
        sink.reopen();
        sink.reopen();
        assert_eq!(sink.dropped(), 5);
        for _ in 0..MOST {
            let next = source.next(Some(Duration::ZERO));
            assert!(matches!(next, Ok(Queued::Record(_))), "{next:?}");
        }
        sink.send(long());
        let next = source.next(Some(Duration::ZERO));
        assert!(matches!(next, Ok(Queued::Reopen)), "{next:?}");
        let next = source.next(Some(Duration::ZERO));
        assert!(matches!(next, Ok(Queued::Record(_))), "{next:?}");
        let end = source.next(Some(Duration::ZERO));
        assert!(matches!(end, Err(RecvTimeoutError::Timeout)), "{end:?}");
    }

    #[test]
    fn short_records_have_a_bound_too() {
        let (sink, _source) = queue();
        for _ in 0..=MEMORY / OVERHEAD {
            sink.send(Record::Line(Vec::new()));
        }
        assert_eq!(sink.dropped(), 1);
    }

    #[test]
    fn lines_of_scripts_leave_room_for_requests() {
        let (sink, _source) = queue();
        for _ in 0..MOST {
            sink.send(Record::Script(ScriptLine::of(vec![b'x'; LONG])));
        }
        let dropped = sink.dropped();
        assert_eq!(dropped, (MOST - MOST / 32) as u64);
        for _ in 0..MOST / 2 {
            sink.send(long());
        }
        assert_eq!(sink.dropped(), dropped);
    }
}
