//! What stands before hyper: reads when a request is next, gives an answer again that was given before,
//! and hands on everything else.
//!
//! Nothing is parsed here. What is answered here is the same to the byte as what was sent for the same
//! bytes before (`server::repeats`).

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::BorrowedFd,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::{Buf, Bytes};
use http::StatusCode;
use rustix::net::SendFlags;
use tokio::io::ReadBuf;

use crate::{
    body::Chunk,
    records::{AccessRecord, Outcome, Record, Request, RequestId},
    server::{
        ending::End,
        repeats::{self, Known, LONGEST, Now},
        worker::Shared,
    },
    service::{Origin, Repeatable, RepeatableContent as Content},
    site::Snapshot,
    sys::file_slice::{FileSlice, Holder},
    transport::{
        progress::Patience,
        stream::{Sent, State},
    },
};

/// What is read at once.
const MOST: usize = 16 * 1024;

/// A shorter answer is sent from one place.
const SHORT: usize = 8 * 1024;

/// What is to be done with a connection.
pub enum Next {
    /// Wait for the client.
    Client,
    /// What came is for hyper, or what is on its way is.
    Hyper,
    /// End the connection.
    Over(End),
}

/// The place before hyper, for one connection.
pub struct Front<'c> {
    worker: &'c Shared,
    origin: &'c Origin,
    /// How many requests the connection has carried.
    requests: &'c Cell<u32>,
    /// The request that hyper has, and its answer.
    expected: &'c Expected,
    /// How long the client may take.
    in_force: &'c Cell<Patience>,
    /// What is still to be sent of an answer.
    rest: Option<Rest>,
}

/// An answer on its way that may be given again, and the request that it is for.
#[derive(Default)]
pub struct Expected {
    /// What hyper got last.
    asked: RefCell<Vec<u8>>,
    /// Whether no request of that has come to the service yet, and the answer is worth remembering.
    is_new: Cell<bool>,
    /// What the answer could be given again with, and the configuration that it was made with.
    answered: RefCell<Option<(Repeatable, Arc<Snapshot>)>>,
}

impl Expected {
    fn hand_on(&self, bytes: &[u8], has_come_before: bool) {
        if has_come_before {
            let mut asked = self.asked.borrow_mut();
            asked.clear();
            asked.extend_from_slice(bytes);
        }
        self.is_new.set(has_come_before);
    }

    /// A request comes to the service. Answers whether it is the first of what was handed on, and has come
    /// before: hyper reads others by itself.
    pub fn begin(&self, state: &State) -> bool {
        state.sent.take();
        self.answered.take();
        self.is_new.take()
    }

    /// The service has answered.
    pub fn answered(&self, state: &State, repeatable: Repeatable, snapshot: Arc<Snapshot>) {
        state.sent.replace(Sent::Wanted);
        self.answered.replace(Some((repeatable, snapshot)));
    }
}

/// The rest of an answer.
struct Rest {
    head: Bytes,
    content: Chunk,
    /// Whether the connection ends with it.
    ends: bool,
}

impl<'c> Front<'c> {
    /// Before a connection with its count of requests.
    pub fn new(
        worker: &'c Shared,
        origin: &'c Origin,
        requests: &'c Cell<u32>,
        in_force: &'c Cell<Patience>,
        expected: &'c Expected,
    ) -> Self {
        Self {
            worker,
            origin,
            requests,
            expected,
            in_force,
            rest: None,
        }
    }

    /// Gives answers again for as long as that is what is asked for.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Next {
        let state = &self.origin.state;
        loop {
            if let Some(rest) = &mut self.rest {
                match rest.poll_send(context, self.origin) {
                    Poll::Pending => return Next::Client,
                    Poll::Ready(Err(error)) => return Next::Over(End::Lost(error)),
                    Poll::Ready(Ok(())) => {}
                }
                let ends = rest.ends;
                self.rest = None;
                state.progress.flushed();
                if ends {
                    return Next::Over(End::Finished);
                }
            }
            if !state.is_between_requests() || self.has_to_do_with_others() {
                return Next::Hyper;
            }
            let mut bytes = [MaybeUninit::uninit(); MOST];
            let mut bytes = ReadBuf::uninit(&mut bytes);
            match self.origin.socket.poll_receive(context, &mut bytes) {
                Poll::Pending => return Next::Client,
                Poll::Ready(Err(error)) => return Next::Over(End::Lost(error)),
                Poll::Ready(Ok(())) => {}
            }
            let request = bytes.filled();
            if request.is_empty() {
                return Next::Over(End::Finished);
            }
            if !self.repeat(request) {
                state.hand_on(request);
                let has_come_before =
                    request.len() <= LONGEST && self.worker.repeats.has_come_before(request);
                self.expected.hand_on(request, has_come_before);
                return Next::Hyper;
            }
        }
    }

    /// Whether an answer depends on more than its request: the server stops, or an earlier request may still
    /// be read by its script.
    fn has_to_do_with_others(&self) -> bool {
        let state = &self.origin.state;
        state.last_call.get().is_some() || state.unread_content.get() || !self.origin.is_alone()
    }

    /// Answers a request as it was answered before, if it was.
    fn repeat(&mut self, request: &[u8]) -> bool {
        let Self { worker, origin, .. } = *self;
        let now = Now {
            current: &worker.current,
            files: &worker.service.cache,
        };
        let listener = &*origin.connection.listener;
        let give = |known: Known<'_>| {
            self.note(known.repeatable)?;
            self.in_force.set(known.patience);
            Some(send(known, origin))
        };
        let Some(rest) = worker.repeats.find(request, listener, now, give) else {
            return false;
        };
        origin.state.progress.answering();
        origin.state.progress.answered();
        self.rest = Some(rest);
        true
    }

    /// Counts a request and its answer, and writes the record of it. None where that is wanted and
    /// cannot be done.
    fn note(&self, repeatable: &Repeatable) -> Option<()> {
        let sink = &self.worker.service.sink;
        let number = self.requests.get() + 1;
        if !sink.ignores_requests() {
            let connection = &self.origin.connection;
            let record = AccessRecord {
                id: RequestId {
                    connection: connection.id,
                    number,
                },
                time: SystemTime::now(),
                duration: Duration::ZERO,
                connection: Arc::clone(connection),
                words: repeatable.words.clone()?,
                outcome: Outcome {
                    site: Some(Arc::clone(&repeatable.site)),
                    status: Some(StatusCode::OK),
                    bytes: repeatable.content.length(),
                    complete: true,
                    ..Outcome::default()
                },
            };
            sink.send(Record::Request(Request::Access(Box::new(record))));
        }
        self.requests.set(number);
        self.worker.tally.request();
        self.worker.tally.answer(StatusCode::OK);
        Some(())
    }

    /// Remembers an answer of hyper's that was sent.
    pub fn remember(&self) {
        let slot = &self.origin.state.sent;
        let head = match slot.take() {
            Sent::Head(head) => Some(head),
            Sent::Unwanted => None,
            Sent::Wanted => return drop(slot.replace(Sent::Wanted)),
        };
        let answered = self.expected.answered.take();
        if let (Some(head), Some((repeatable, snapshot))) = (head, answered) {
            let sent = repeats::Sent {
                head: &head,
                listener: &self.origin.connection.listener,
                snapshot: &snapshot,
            };
            let asked = self.expected.asked.borrow();
            self.worker.repeats.remember(&asked, repeatable, &sent);
        }
    }
}

/// Sends what the socket takes at once of an answer in memory; returns what is left. The usual one is short:
/// one system call with one place, and nothing is allocated.
fn send(known: Known<'_>, origin: &Origin) -> Rest {
    let Known {
        repeatable: Repeatable { content, ends, .. },
        message,
        ..
    } = known;
    let head = message.len();
    let content = match content {
        Content::Bytes(bytes) => bytes,
        Content::Copy(copy) => {
            let holder = Holder::Copy(Arc::clone(copy));
            return Rest {
                head: Bytes::copy_from_slice(message),
                content: Chunk::File(FileSlice::new(holder, 0..copy.length())),
                ends: *ends,
            };
        }
    };
    let socket = &origin.socket;
    let sent = if head + content.len() <= SHORT {
        message.extend_from_slice(content);
        rustix::net::send(socket, message, SendFlags::NOSIGNAL)
    } else {
        rustix::io::writev(socket, &[IoSlice::new(message), IoSlice::new(content)])
    };
    // What stands in the way shows when the rest is sent.
    let sent = sent.unwrap_or(0);
    Rest {
        head: Bytes::copy_from_slice(&message[sent.min(head)..head]),
        content: Chunk::Bytes(content.slice(sent.saturating_sub(head)..)),
        ends: *ends,
    }
}

impl Rest {
    /// Ready when the socket has taken all of it.
    fn poll_send(&mut self, context: &mut Context<'_>, origin: &Origin) -> Poll<io::Result<()>> {
        let Origin { socket, state, .. } = origin;
        while self.head.has_remaining() || self.content.has_remaining() {
            let send = |socket: BorrowedFd<'_>| self.send(socket);
            let count = ready!(socket.poll_send(context, &state.progress, send))?;
            let of_head = count.min(self.head.len());
            self.head.advance(of_head);
            self.content.advance(count - of_head);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends some of it, a head before a part of a file plainly (see `transport::stream`).
    fn send(&self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        match &self.content {
            Chunk::File(content) if self.head.is_empty() => content.send(socket),
            Chunk::File(_) => Ok(rustix::io::write(socket, &self.head)?),
            Chunk::Bytes(content) => {
                let slices = [IoSlice::new(&self.head), IoSlice::new(content)];
                Ok(rustix::io::writev(socket, &slices)?)
            }
        }
    }
}
