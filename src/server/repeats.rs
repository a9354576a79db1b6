//! Answers that are given again.
//!
//! Clients ask for the same in the same words, to the byte: a monitor, a proxy, a program, the many with
//! the same browser. The answer to that was worked out before, by hyper and by the service, and is the
//! same again for as long as the configuration and all that is kept of files are (`service::Repeatable`
//! says which answers those are). So it is remembered under the bytes of its request: what was sent,
//! but for its date.
//!
//! Each worker remembers for itself. A look whether any file has changed comes first, as for every request.
//! One change, of whatever file, and all is forgotten; it comes back with the next requests.

use std::{
    cell::RefCell,
    hash::BuildHasher,
    mem,
    ops::Range,
    sync::{Arc, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use quick_cache::{DefaultHashBuilder, Weighter, unsync::Cache};

use crate::{
    files,
    records::Words,
    semantics::validator,
    server::current::Current,
    service::Repeatable,
    site::Snapshot,
    transport::{Listen, framing::is_one_head, progress::Patience},
};

/// What a worker remembers at most, in bytes, without content, which belongs to the cache of files.
const MEMORY: u64 = 8 << 20;

/// So many answers are about as much.
const EXPECTED: usize = 8 * 1024;

/// A longer head, of a request or an answer, is not remembered.
pub const LONGEST: usize = 4096;

/// What an entry takes beside its bytes.
const ENTRY: u64 = 256;

/// So many requests that came once are known again. A power of two.
const SEEN: usize = 16 * 1024;

/// As it stands in the head of an answer.
const DATE: &[u8] = b"\r\ndate: ";

/// The length of a date (RFC 9110 §5.6.7).
const DATE_LENGTH: usize = 29;

/// What a worker remembers.
#[derive(Debug)]
pub struct Repeats(RefCell<Remembered>);

#[derive(Debug)]
struct Remembered {
    answers: Cache<Box<[u8]>, Answer, Weight>,
    /// The configuration that all of it belongs to.
    snapshot: Weak<Snapshot>,
    /// How long it lets clients take.
    patience: Patience,
    /// The generation of what is kept of files.
    generation: u64,
    date: Date,
    /// The answer that is sent, with the date of now.
    message: Vec<u8>,
    /// Marks of requests that came and were not known.
    seen: Vec<u64>,
    marks: DefaultHashBuilder,
}

/// An answer that was given.
#[derive(Debug)]
struct Answer {
    /// Where its request came in.
    listener: Arc<Listen>,
    head: Box<[u8]>,
    /// Where in it the date stands.
    date: Range<usize>,
    /// The second that this says.
    second: u64,
    /// What else is known of it.
    repeatable: Repeatable,
}

/// The date, in words.
#[derive(Debug, Default)]
struct Date {
    second: u64,
    text: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<Box<[u8]>, Answer> for Weight {
    fn weight(&self, request: &Box<[u8]>, answer: &Answer) -> u64 {
        let words = answer.repeatable.words.as_ref().map_or(0, Words::size);
        (request.len() + answer.head.len() + words) as u64 + ENTRY
    }
}

impl Default for Repeats {
    fn default() -> Self {
        let answers = Cache::with_weighter(EXPECTED, MEMORY, Weight);
        Self(RefCell::new(Remembered {
            answers,
            snapshot: Weak::new(),
            patience: Patience::NONE,
            generation: 0,
            date: Date::default(),
            message: Vec::new(),
            seen: Vec::new(),
            marks: DefaultHashBuilder::default(),
        }))
    }
}

impl Repeats {
    /// Gives the answer to a request with these bytes to `send`, if one is known that holds now.
    pub fn find<T>(
        &self,
        request: &[u8],
        listener: &Listen,
        now: Now<'_>,
        send: impl FnOnce(Known<'_>) -> Option<T>,
    ) -> Option<T> {
        let remembered = &mut *self.0.borrow_mut();
        if !now.current.is(&remembered.snapshot)
            || now.files.known_generation() != remembered.generation
        {
            remembered.answers.clear();
        }
        let answer = remembered.answers.get(request)?;
        if now.files.generation() != Some(remembered.generation) {
            remembered.answers.clear();
            return None;
        }
        let date = remembered.date.now();
        let is_over = !answer.repeatable.outlasts_its_date && answer.second != date.second;
        if is_over || *answer.listener != *listener {
            return None;
        }
        let message = &mut remembered.message;
        message.clear();
        message.extend_from_slice(&answer.head);
        message[answer.date.clone()].copy_from_slice(&date.text);
        send(Known {
            repeatable: &answer.repeatable,
            message,
            patience: remembered.patience,
        })
    }

    /// Whether a request that is not known has come before, so that its answer is worth remembering: those
    /// of which each is another one do not take the place of others.
    pub fn has_come_before(&self, request: &[u8]) -> bool {
        let remembered = &mut *self.0.borrow_mut();
        // The lowest bits are the place, and no mark is that of an empty one.
        let mark = remembered.marks.hash_one(request) | 1 << 63;
        remembered.seen.resize(SEEN, 0);
        let place = usize::try_from(mark).unwrap_or_default() % SEEN;
        mem::replace(&mut remembered.seen[place], mark) == mark
    }

    /// Remembers that the answer to a request with these bytes had this head.
    pub fn remember(&self, request: &[u8], repeatable: Repeatable, sent: &Sent<'_>) {
        let remembered = &mut *self.0.borrow_mut();
        let head = sent.head;
        let date = remembered.date.place(head);
        let (Some(date), true) = (date, is_one_head(request)) else {
            return;
        };
        if request.len() > LONGEST || head.len() > LONGEST {
            return;
        }
        let is_other = remembered.snapshot.as_ptr() != Arc::as_ptr(sent.snapshot);
        if is_other || remembered.generation != repeatable.generation {
            remembered.answers.clear();
            remembered.snapshot = Arc::downgrade(sent.snapshot);
            remembered.patience = sent.snapshot.limits.patience();
            remembered.generation = repeatable.generation;
        }
        let answer = Answer {
            listener: Arc::clone(sent.listener),
            head: head.into(),
            date,
            second: remembered.date.second,
            repeatable,
        };
        remembered.answers.insert(request.into(), answer);
    }

    /// Forgets everything, and so the content that the cache may have dropped meanwhile.
    pub fn forget(&self) {
        self.0.borrow_mut().answers.clear();
    }
}

/// What an answer has to hold in.
#[derive(Clone, Copy)]
pub struct Now<'n> {
    /// The configuration.
    pub current: &'n Current,
    /// What is kept of files.
    pub files: &'n files::Cache,
}

/// An answer that holds now.
pub struct Known<'k> {
    /// What is known of it.
    pub repeatable: &'k Repeatable,
    /// Its head, with the date of now, in memory that has room for more.
    pub message: &'k mut Vec<u8>,
    /// How long the configuration lets the client take.
    pub patience: Patience,
}

/// An answer that was sent.
pub struct Sent<'s> {
    /// Its head.
    pub head: &'s [u8],
    /// Where its request came in.
    pub listener: &'s Arc<Listen>,
    /// The configuration it was made with.
    pub snapshot: &'s Arc<Snapshot>,
}

impl Date {
    /// As it is now.
    fn now(&mut self) -> &Self {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = validator::date(now).as_bytes().to_vec();
        }
        self
    }

    /// Where the date stands in the head of an answer that was made just now. None where it has another
    /// one, by the configuration.
    fn place(&mut self, head: &[u8]) -> Option<Range<usize>> {
        let mut places = memchr::memmem::find_iter(head, DATE);
        let start = places.next()? + DATE.len();
        let range = start..start + DATE_LENGTH;
        let is_now = head.get(range.clone())? == self.now().text;
        (is_now && places.next().is_none()).then_some(range)
    }
}

#[cfg(test)]
mod tests;
