//! One connection from its first byte to its last.
//!
//! hyper frames the messages; this module gives it the stream, calls the service for each
//! request, ends clients that are too slow, and answers what is no request at all.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    os::fd::OwnedFd,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::{Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::{
    records::{message_id, seldom::Seldom},
    server::{
        ending::{End, Ending, FAREWELL, REST, note, silence},
        front::{Expected, Front, Next},
        idle::Idle,
        refusal,
        worker::{Open, Shared},
    },
    service::{self, Asked, Departed, Origin, Recorded},
    site::{Limits, Snapshot},
    transport::{
        Address, Connection, Remote,
        deadline::Deadline,
        progress::{Overdue, Patience, Phase},
        socket::Socket,
        stream::{Fault, State, Stream},
    },
};

/// How long a client that has not been told yet that the server stops may be silent before its
/// connection is closed. A request that is on its way arrives within this, also one that was lost once
/// and is sent again; and nobody who waits for a restart minds it.
pub const LAST_CALL: Duration = Duration::from_secs(1);

/// How long a client sends nothing before its connection rests. Who asks for a page and what is on it,
/// or measures, does not get there.
const MOMENT: Duration = Duration::from_secs(1);

/// How many fields hyper takes in a head that is told no other number.
const HYPER_HEADERS: usize = 100;

/// That connections are turned away.
static TURNED_AWAY: Seldom = Seldom::new();

/// Turns a connection away that is over the limit.
pub fn shed(worker: &Shared, socket: Socket, remote: Remote<Address>) {
    // As much as the kernel takes at once: nobody waits for a client that is not served.
    let answer = refusal::answer(StatusCode::SERVICE_UNAVAILABLE);
    let _ = rustix::io::write(&socket, answer.as_bytes());
    let _ = socket.shutdown();
    let reason =
        "more connections than `connections` in [limits], or than there are descriptors for"
            .to_owned();
    if let Some(count) = TURNED_AWAY.happened() {
        tracing::warn!(
            MESSAGE_ID = message_id::CONNECTIONS_EXHAUSTED,
            "connections were turned away ({count}): {reason}"
        );
    }
    let status = Some(StatusCode::SERVICE_UNAVAILABLE);
    note(worker, remote, b"", status, reason);
    if let Some(place) = worker.counters.turn_away() {
        tokio::task::spawn_local(async move {
            let _ = timeout(FAREWELL, socket.discard(REST)).await;
            drop((socket, place));
        });
    }
}

/// A client's connection, as it is between two requests.
#[derive(Debug)]
pub struct Seat {
    /// What is known of it.
    pub connection: Connection,
    /// Its socket, in non-blocking mode.
    pub socket: OwnedFd,
    /// How many requests it has carried.
    pub requests: u32,
    /// Since when it is the client's turn to send one.
    pub idle_since: Instant,
    /// Its place among those that are open.
    pub open: Open,
}

/// How far a connection has come.
enum Stage {
    /// Nothing is on its way, and the client may be silent until then.
    Idle(Instant),
    /// It ends.
    Over(End),
}

/// Serves a connection until it ends or rests, and writes down one that carried no request.
pub async fn serve(worker: Rc<Shared>, mut seat: Seat) {
    let mut most = MOMENT;
    while let Some((idle, until)) = converse(&worker, seat, most).await {
        match Idle::rest(&worker, idle, until) {
            Ok(()) => return,
            // It stays as it is instead.
            Err(idle) => seat = idle,
        }
        most = Duration::MAX;
    }
    Idle::expect_trim(&worker);
}

/// A connection that is served, with what its requests share.
struct Conversation<'c> {
    worker: &'c Rc<Shared>,
    origin: Origin,
    requests: Cell<u32>,
    /// How long the client may take, by the configuration of the last request.
    in_force: Cell<Patience>,
    expected: Expected,
    /// The limits that hyper has.
    limits: Limits,
    open: Open,
}

impl<'c> Conversation<'c> {
    fn new(worker: &'c Rc<Shared>, seat: Seat) -> Self {
        let limits = worker.current.snapshot().limits.clone();
        let state = State::default();
        state.progress.idle_since(seat.idle_since);
        Self {
            worker,
            origin: Origin {
                connection: Arc::new(seat.connection),
                socket: Rc::new(Socket::new(seat.socket)),
                state: Rc::new(state),
            },
            requests: Cell::new(seat.requests),
            in_force: Cell::new(limits.patience()),
            expected: Expected::default(),
            limits,
            open: seat.open,
        }
    }

    /// What is left of it when nothing is on its way and nobody else holds it.
    fn into_seat(self) -> Option<Seat> {
        Some(Seat {
            connection: Arc::unwrap_or_clone(self.origin.connection),
            socket: Rc::into_inner(self.origin.socket)?.into_fd(),
            requests: self.requests.get(),
            idle_since: self.origin.state.progress.since(),
            open: self.open,
        })
    }

    /// The byte stream, for hyper.
    fn stream(&self) -> Stream {
        Stream::new(
            Rc::clone(&self.origin.socket),
            Rc::clone(&self.origin.state),
        )
    }

    /// A request of hyper's has come.
    fn begin(&self, request: http::Request<Incoming>) -> (Arc<Snapshot>, Asked) {
        let state = &self.origin.state;
        state.progress.answering();
        self.requests.set(self.requests.get() + 1);
        let snapshot = self.worker.current.snapshot();
        self.in_force.set(snapshot.limits.patience());
        let asked = Asked {
            request,
            number: self.requests.get(),
            // Another limit of its head might have refused it.
            has_come_before: self.expected.begin(state) && snapshot.limits == self.limits,
        };
        (snapshot, asked)
    }

    /// Answers it, and counts it.
    async fn respond(
        &self,
        (snapshot, asked): (Arc<Snapshot>, Asked),
    ) -> Result<Response<Recorded>, Departed> {
        let Shared { tally, service, .. } = &**self.worker;
        tally.request();
        let (origin, of) = (self.origin.clone(), Arc::clone(&snapshot));
        let (answer, repeatable) = service::respond(service, of, origin, asked).await?;
        tally.answer(answer.status());
        if let Some(repeatable) = repeatable {
            let state = &self.origin.state;
            self.expected.answered(state, repeatable, snapshot);
        }
        Ok(answer)
    }
}

/// Serves a connection until it ends, or has been idle for `most`: then it may rest until its client's
/// time is over.
async fn converse(worker: &Rc<Shared>, seat: Seat, most: Duration) -> Option<(Seat, Instant)> {
    let talk = Conversation::new(worker, seat);
    let Conversation {
        origin, requests, ..
    } = &talk;
    let service = service_fn(|request| {
        let begun = talk.begin(request);
        // Boxed: a place of its own in each connection would be out of the processor's cache.
        Box::pin(talk.respond(begun))
    });
    let mut front = Front::new(worker, origin, requests, &talk.in_force, &talk.expected);
    // Made for the first request that is not answered before it.
    let mut http = None;
    let mut watch = Watch::new(worker, origin, &talk.in_force, most);
    let mut drain = pin!(worker.drain.notified());
    let mut cut_off = CutOff(Some(origin));
    let stage = poll_fn(|context| {
        watch.hear_last_call();
        match front.poll(context) {
            Next::Client => {}
            Next::Over(end) => return Poll::Ready(Stage::Over(end)),
            Next::Hyper => {
                let begin =
                    || builder(&talk.limits).serve_connection(TokioIo::new(talk.stream()), service);
                let outcome = Pin::new(http.get_or_insert_with(begin)).poll(context);
                front.remember();
                if let Poll::Ready(outcome) = outcome {
                    let end = outcome.map_or_else(End::Broken, |()| End::Finished);
                    return Poll::Ready(Stage::Over(end));
                }
            }
        }
        if drain.as_mut().poll(context).is_ready() {
            watch.hear_last_call();
        }
        watch.poll(context)
    });
    let stage = stage.await;
    cut_off.0 = None;
    drop((cut_off, watch, front));
    if matches!(stage, Stage::Over(End::Overdue(Overdue::Response))) {
        origin.state.fault.set(Some(Fault::Stalled));
    }
    // hyper gets the bytes of one head or content at a time: an idle connection has none in there.
    let stream = http.map_or_else(|| talk.stream(), |http| http.into_parts().io.into_inner());
    match stage {
        Stage::Over(end) => {
            let ending = Ending {
                origin,
                line: stream.request_line(),
                head_size: talk.limits.request_head_size,
                requests: requests.get(),
            };
            ending.come_to(worker, end).await;
            None
        }
        Stage::Idle(until) => {
            drop(stream);
            Some((talk.into_seat()?, until))
        }
    }
}

/// Watches over the turns of a client.
struct Watch<'c> {
    worker: &'c Shared,
    origin: &'c Origin,
    /// How long they may take, by the configuration of the last request.
    in_force: &'c Cell<Patience>,
    /// How long the client may be idle before the connection may rest.
    most: Duration,
    deadline: Deadline,
}

impl<'c> Watch<'c> {
    fn new(
        worker: &'c Shared,
        origin: &'c Origin,
        in_force: &'c Cell<Patience>,
        most: Duration,
    ) -> Self {
        Self {
            worker,
            origin,
            in_force,
            most,
            deadline: Deadline::new(in_force.get()),
        }
    }

    /// When the server stops, answers say `close` from then on, and a client that sends nothing is not
    /// waited for for long. hyper's graceful shutdown would close an idle connection at once, while a
    /// request may be on its way.
    fn hear_last_call(&self) {
        let state = &self.origin.state;
        if let Some(since) = self.worker.draining.get()
            && state.last_call.get().is_none()
        {
            state.last_call.set(Some(since + LAST_CALL));
            state.progress.idle_since(Instant::now());
        }
    }

    /// Ready when the client was too slow, or idle for long enough.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Stage> {
        let Origin { socket, state, .. } = self.origin;
        let mut patience = self.in_force.get();
        if state.last_call.get().is_some() {
            patience.idle = patience.idle.min(LAST_CALL);
        }
        self.deadline.patience = patience;
        if self.origin.is_alone() {
            self.deadline.patience.idle = patience.idle.min(self.most);
        }
        let unsent = || socket.unsent();
        let overdue = ready!(self.deadline.poll(context, &state.progress, unsent));
        Poll::Ready(match state.progress.deadline(&patience) {
            Some((until, Overdue::Idle)) if until > Instant::now() => Stage::Idle(until),
            _ => Stage::Over(End::Overdue(overdue)),
        })
    }
}

/// Ends a connection that rests and whose client was silent for too long.
pub fn dismiss(worker: &Shared, seat: &Seat) {
    if seat.requests == 0 {
        let reason = silence(worker.draining.get()).to_owned();
        note(worker, seat.connection.remote, b"", None, reason);
    }
}

/// Has a connection that is dropped before its end not look as if its answer were complete: the
/// server has stopped, or has panicked.
struct CutOff<'c>(Option<&'c Origin>);

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        if let Some(Origin { socket, state, .. }) = self.0
            && matches!(state.progress.phase(), Phase::Answering | Phase::Answered)
        {
            state.fault.set(Some(Fault::Stopped));
            let _ = socket.reset();
        }
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // Whether a client that closed its sending side has left is for the service to say.
        .half_close(true)
        .max_header_size(limits.request_head_size)
        .max_buf_size(limits.request_head_size)
        // Deadlines are ours: see `transport::deadline`.
        .header_read_timeout(None);
    // Told its own limit, hyper would prepare the places of all of them for each head.
    if limits.request_headers != HYPER_HEADERS {
        builder.max_headers(limits.request_headers);
    }
    builder
}
