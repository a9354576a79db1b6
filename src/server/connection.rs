//! One connection from its first byte to its last.
//!
//! hyper frames the messages; this module gives it the stream, calls the service for each
//! request, ends clients that are too slow, and answers what is no request at all.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    os::fd::OwnedFd,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::StatusCode;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::{
    records::{ConnectionRecord, Record, Request, message_id, seldom::Seldom},
    server::{
        front::{Expected, Front, Next},
        idle::Idle,
        refusal,
        worker::{Open, Shared},
    },
    service::{self, Answered, Departed, Origin},
    site::{Limits, Snapshot},
    transport::{
        Address, Connection, Remote,
        deadline::Deadline,
        framing::RequestLine,
        progress::{Overdue, Patience, Phase},
        socket::Socket,
        stream::{Fault, State, Stream},
    },
};

/// How long the end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long a client that has not been told yet that the server stops may be silent before its
/// connection is closed. A request that is on its way arrives within this, also one that was lost once
/// and is sent again; and nobody who waits for a restart minds it.
pub const LAST_CALL: Duration = Duration::from_secs(1);

/// How long a client sends nothing before its connection rests. Who asks for a page and what is on it,
/// or measures, does not get there.
const MOMENT: Duration = Duration::from_secs(1);

/// How much of what a client still sends is read at the end of a connection, in bytes.
const REST: usize = 16 << 20;

/// How many fields hyper takes in a head that is told no other number.
const HYPER_HEADERS: usize = 100;

/// That connections are turned away.
static TURNED_AWAY: Seldom = Seldom::new();

/// How a connection ended.
enum End {
    /// Both sides were done, or the client left between two requests.
    Finished,
    /// The client was too slow.
    Overdue(Overdue),
    /// What came was no request, or the connection broke.
    Broken(hyper::Error),
    /// The connection broke between two requests, or behind the last.
    Lost(io::Error),
}

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

/// Serves a connection until it ends, or has been idle for `most`: then it may rest until its client's
/// time is over.
async fn converse(worker: &Rc<Shared>, seat: Seat, most: Duration) -> Option<(Seat, Instant)> {
    let limits = worker.current.snapshot().limits.clone();
    let requests = Cell::new(seat.requests);
    let in_force = Cell::new(patience(&limits));
    let origin = Origin {
        connection: Arc::new(seat.connection),
        socket: Rc::new(Socket::new(seat.socket)),
        state: Rc::new(State::default()),
    };
    origin.state.progress.idle_since(seat.idle_since);
    let expected = Expected::default();
    let service = service_fn(|request| {
        origin.state.begin_request();
        expected.begin();
        requests.set(requests.get() + 1);
        let (origin, expected, number) = (&origin, &expected, requests.get());
        let snapshot = worker.current.snapshot();
        in_force.set(patience(&snapshot.limits));
        // Boxed: a place of its own in each connection would be out of the processor's cache.
        Box::pin(async move {
            let asked = (origin.clone(), number, request);
            let (answer, repeatable) = respond(worker, Arc::clone(&snapshot), asked).await?;
            if let Some(repeatable) = repeatable {
                expected.answered(&origin.state, repeatable, snapshot);
            }
            Ok::<_, Departed>(answer)
        })
    });
    let mut front = Front::new(worker, &origin, &requests, &expected);
    // Made for the first request that is not answered before it.
    let mut http = None;
    let mut watch = Watch::new(worker, &origin, &in_force, most);
    let mut drain = pin!(worker.drain.notified());
    let mut cut_off = CutOff(Some(&origin));
    let stage = poll_fn(|context| {
        watch.hear_last_call();
        match front.poll(context) {
            Next::Client => {}
            Next::Finished => return Poll::Ready(Stage::Over(End::Finished)),
            Next::Closed if http.is_none() => return Poll::Ready(Stage::Over(End::Finished)),
            Next::Broken(error) => return Poll::Ready(Stage::Over(End::Lost(error))),
            Next::Hyper | Next::Closed => {
                let http = http.get_or_insert_with(|| {
                    let stream = Stream::new(Rc::clone(&origin.socket), Rc::clone(&origin.state));
                    builder(&limits).serve_connection(TokioIo::new(stream), service)
                });
                let outcome = Pin::new(http).poll(context);
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
    let stream = http.map(|http| http.into_parts().io.into_inner());
    let line = RequestLine::default();
    match stage {
        Stage::Over(end) => {
            let ending = Ending {
                origin: &origin,
                line: stream.as_ref().map_or(&line, Stream::request_line),
                head_size: limits.request_head_size,
                requests: requests.get(),
            };
            ending.come_to(worker, end).await;
            None
        }
        Stage::Idle(until) => {
            drop(stream);
            Some((Seat::left(origin, requests.get(), seat.open)?, until))
        }
    }
}

impl Seat {
    /// What is left of a connection that nothing is on its way over, and that nobody else holds.
    fn left(origin: Origin, requests: u32, open: Open) -> Option<Self> {
        Some(Self {
            connection: Arc::unwrap_or_clone(origin.connection),
            socket: Rc::into_inner(origin.socket)?.into_fd(),
            requests,
            idle_since: origin.state.progress.since(),
            open,
        })
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
        if self.is_alone() {
            self.deadline.patience.idle = patience.idle.min(self.most);
        }
        let unsent = || socket.unsent();
        let overdue = ready!(self.deadline.poll(context, &state.progress, unsent));
        Poll::Ready(match state.progress.deadline(&patience) {
            Some((until, Overdue::Idle)) if until > Instant::now() => Stage::Idle(until),
            _ => Stage::Over(End::Overdue(overdue)),
        })
    }

    /// Whether nobody but hyper and this connection has to do with it. A script that has answered may
    /// still read the content of its request: what comes next is the rest of that, and no request.
    fn is_alone(&self) -> bool {
        Rc::strong_count(&self.origin.state) <= 2
    }
}

/// Ends a connection that rests and whose client was silent for too long.
pub fn dismiss(worker: &Shared, seat: &Seat) {
    if seat.requests == 0 {
        let reason = silence(worker.draining.get()).to_owned();
        note(worker, seat.connection.remote, b"", None, reason);
    }
}

/// Why a client that sends nothing is not waited for any longer.
fn silence(last_call: Option<Instant>) -> &'static str {
    match last_call {
        Some(_) => "no request came before the server stopped",
        None => "no request came within `idle-timeout`",
    }
}

/// Answers a request, and counts it.
async fn respond(
    worker: &Shared,
    snapshot: Arc<Snapshot>,
    (origin, number, request): (Origin, u32, http::Request<Incoming>),
) -> Result<Answered, Departed> {
    worker.tally.request();
    let answered = service::respond(&worker.service, snapshot, origin, number, request).await?;
    worker.tally.answer(answered.0.status());
    Ok(answered)
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

/// Writes down a connection that carried no request, or ended with what is none.
fn note(
    worker: &Shared,
    remote: Remote<Address>,
    line: &[u8],
    status: Option<StatusCode>,
    reason: String,
) {
    if let Some(status) = status {
        worker.tally.answer(status);
    }
    let record = ConnectionRecord {
        time: std::time::SystemTime::now(),
        remote,
        line: line.to_vec(),
        status: status.map(|status| status.as_u16()),
        reason,
    };
    let request = Request::Connection(record);
    worker.service.sink.send(Record::Request(request));
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

fn patience(limits: &Limits) -> Patience {
    Patience {
        idle: limits.idle_timeout,
        head: limits.request_head_timeout,
        response: limits.response_timeout,
    }
}

/// What is left to do when hyper is done with a connection.
struct Ending<'c> {
    origin: &'c Origin,
    /// The line that came last.
    line: &'c RequestLine,
    /// Bytes that a head may have.
    head_size: usize,
    requests: u32,
}

impl Ending<'_> {
    /// Ends the connection, and writes down one that carried no request, or ended with what is none.
    async fn come_to(&self, worker: &Shared, end: End) {
        if let Some((status, reason)) = self.conclude(end).await {
            let remote = self.origin.connection.remote;
            note(worker, remote, self.line.text(), status, reason);
        }
    }

    /// Answers what was no request and closes; returns the status and the reason to write down.
    async fn conclude(&self, end: End) -> Option<(Option<StatusCode>, String)> {
        match end {
            End::Finished => {
                self.close().await;
                let silent = self.requests == 0;
                silent.then(|| (None, "the connection carried no request".to_owned()))
            }
            End::Overdue(Overdue::Head) => {
                let status = StatusCode::REQUEST_TIMEOUT;
                self.refuse(status).await;
                let reason = "the request's head did not end within `request-head-timeout`";
                Some((Some(status), reason.to_owned()))
            }
            End::Overdue(Overdue::Idle) => {
                let _ = self.origin.socket.shutdown();
                let reason = silence(self.origin.state.last_call.get());
                (self.requests == 0).then(|| (None, reason.to_owned()))
            }
            // The access record of the request tells it. Nothing of what the client did not take is
            // kept for it, and no end of the connection passes for the end of the content.
            End::Overdue(Overdue::Response) => {
                let _ = self.origin.socket.reset();
                None
            }
            End::Broken(error) => {
                let violation = self.origin.state.violation.get();
                if let Some(held_back) = self.origin.state.refusal.get() {
                    let (line, most) = (self.line, self.head_size);
                    let (status, reason) =
                        refusal::refusal(&error, held_back, violation, line, most);
                    self.refuse(status).await;
                    return Some((Some(status), reason));
                }
                self.break_off().await;
                // Behind an answer that was still on its way: hyper's own 400 followed it.
                if let Some(violation) = violation {
                    return Some((Some(violation.status), violation.reason.to_owned()));
                }
                if error.is_parse() {
                    let reason = format!("not a request: {error}");
                    return Some((Some(StatusCode::BAD_REQUEST), reason));
                }
                let reason = format!("the connection broke: {error}");
                (self.requests == 0).then_some((None, reason))
            }
            End::Lost(error) => {
                let reason = format!("the connection broke: {error}");
                (self.requests == 0).then_some((None, reason))
            }
        }
    }

    /// Ends the connection.
    async fn close(&self) {
        // Where nothing is to be read any more, the end of the socket itself says so.
        if self.origin.state.said_close.get() || self.origin.state.unread_content.get() {
            let _ = self.origin.socket.shutdown();
            self.linger().await;
        }
    }

    /// Ends the connection in the middle of an answer, or of a request: what was sent of it arrives,
    /// and does not look complete.
    async fn break_off(&self) {
        if self.origin.state.is_cut_off.get() {
            let _ = timeout(FAREWELL, self.origin.socket.taken()).await;
            let _ = self.origin.socket.reset();
            return;
        }
        let _ = self.origin.socket.shutdown();
        self.linger().await;
    }

    /// A close while the client still sends would make the kernel send a reset, and the client lose
    /// its answer: what it sends is read for a moment.
    async fn linger(&self) {
        let _ = timeout(FAREWELL, self.origin.socket.discard(REST)).await;
    }

    /// Sends the page for what is no request, and ends the connection.
    async fn refuse(&self, status: StatusCode) {
        let answer = refusal::answer(status);
        let sent = timeout(FAREWELL, self.origin.socket.write_all(answer.as_bytes())).await;
        if matches!(sent, Ok(Ok(()))) {
            let _ = self.origin.socket.shutdown();
            self.linger().await;
        }
    }
}
