//! One connection from its first byte to its last.
//!
//! hyper frames the messages; this module gives it the stream, calls the service for each
//! request, ends clients that are too slow, and answers what is no request at all.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use http::{Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::{
    records::{ConnectionRecord, Record, Request, message_id, seldom::Seldom},
    server::{refusal, worker::Shared},
    service::{self, Departed, Recorded},
    site::{Limits, Snapshot},
    transport::{
        Address, Connection, Remote,
        deadline::Deadline,
        framing::RequestLine,
        progress::{Overdue, Patience, Phase},
        stream::{Fault, Socket, State, Stream},
    },
};

/// How long the end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long a client that has not been told yet that the server stops may be silent before its
/// connection is closed. A request that is on its way arrives within this, also one that was lost once
/// and is sent again; and nobody who waits for a restart minds it.
const LAST_CALL: Duration = Duration::from_secs(1);

/// How much of what a client still sends is read at the end of a connection, in bytes.
const REST: usize = 16 << 20;

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
}

/// Turns a connection away that is over the limit.
pub fn shed(worker: &Shared, socket: Rc<Socket>, remote: Remote<Address>) {
    // As much as the kernel takes at once: nobody waits for a client that is not served.
    let answer = refusal::answer(StatusCode::SERVICE_UNAVAILABLE);
    let _ = rustix::io::write(&*socket, answer.as_bytes());
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

/// Serves a connection until it ends, and writes down one that carried no request.
pub async fn serve(worker: Rc<Shared>, connection: Arc<Connection>, socket: Rc<Socket>) {
    let state = Rc::new(State::default());
    let limits = worker.current.snapshot().limits.clone();
    let requests = Cell::new(0);
    let in_force = Cell::new(patience(&limits));
    let origin = service::Origin {
        connection: Arc::clone(&connection),
        socket: Rc::clone(&socket),
        state: Rc::clone(&state),
    };
    let service = service_fn(|request| {
        state.progress.answering();
        requests.set(requests.get() + 1);
        let (worker, origin, number) = (Rc::clone(&worker), origin.clone(), requests.get());
        let snapshot = worker.current.snapshot();
        in_force.set(patience(&snapshot.limits));
        async move { respond(&worker, snapshot, origin, number, request).await }
    });
    let stream = TokioIo::new(Stream::new(Rc::clone(&socket), Rc::clone(&state)));
    let mut http = builder(&limits).serve_connection(stream, service);
    let mut deadline = Deadline::new(in_force.get());
    let mut drain = pin!(worker.drain.notified());
    let mut cut_off = CutOff(Some((&socket, &state)));
    let end = poll_fn(|context| {
        // hyper's graceful shutdown would close an idle connection at once, while a request may be on
        // its way.
        if state.last_call.get().is_none()
            && (worker.draining.get() || drain.as_mut().poll(context).is_ready())
        {
            last_call(&state);
        }
        if let Poll::Ready(outcome) = Pin::new(&mut http).poll(context) {
            return Poll::Ready(outcome.map_or_else(End::Broken, |()| End::Finished));
        }
        deadline.patience = in_force.get();
        if state.last_call.get().is_some() {
            deadline.patience.idle = deadline.patience.idle.min(LAST_CALL);
        }
        let overdue = deadline.poll(context, &state.progress, || socket.unsent());
        overdue.map(End::Overdue)
    });
    let end = end.await;
    cut_off.0 = None;
    if matches!(end, End::Overdue(Overdue::Response)) {
        state.fault.set(Some(Fault::Stalled));
    }
    let stream = http.into_parts().io.into_inner();
    let line = stream.request_line();
    let ending = Ending {
        socket: &socket,
        line,
        head_size: limits.request_head_size,
        state: &state,
        requests: requests.get(),
    };
    if let Some((status, reason)) = ending.conclude(end).await {
        note(&worker, connection.remote, line.text(), status, reason);
    }
}

/// Answers a request, and counts it.
async fn respond(
    worker: &Shared,
    snapshot: Arc<Snapshot>,
    origin: service::Origin,
    number: u32,
    request: http::Request<Incoming>,
) -> Result<Response<Recorded>, Departed> {
    worker.tally.request();
    let answer = service::respond(&worker.service, snapshot, origin, number, request).await?;
    worker.tally.answer(answer.status());
    Ok(answer)
}

/// From now on answers say `close`, and a client that sends nothing is not waited for for long.
fn last_call(state: &State) {
    state.last_call.set(Some(Instant::now() + LAST_CALL));
    state.progress.idle_anew();
}

/// Has a connection that is dropped before its end not look as if its answer were complete: the
/// server has stopped, or has panicked.
struct CutOff<'c>(Option<(&'c Socket, &'c State)>);

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        if let Some((socket, state)) = self.0
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
        .max_headers(limits.request_headers)
        .max_header_size(limits.request_head_size)
        .max_buf_size(limits.request_head_size)
        // Deadlines are ours: see `transport::deadline`.
        .header_read_timeout(None);
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
    socket: &'c Socket,
    /// The line that came last.
    line: &'c RequestLine,
    /// Bytes that a head may have.
    head_size: usize,
    state: &'c State,
    requests: u32,
}

impl Ending<'_> {
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
                let _ = self.socket.shutdown();
                let reason = match self.state.last_call.get() {
                    Some(_) => "no request came before the server stopped",
                    None => "no request came within `idle-timeout`",
                };
                (self.requests == 0).then(|| (None, reason.to_owned()))
            }
            // The access record of the request tells it. Nothing of what the client did not take is
            // kept for it, and no end of the connection passes for the end of the content.
            End::Overdue(Overdue::Response) => {
                let _ = self.socket.reset();
                None
            }
            End::Broken(error) => {
                let violation = self.state.violation.get();
                if let Some(held_back) = self.state.refusal.get() {
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
        }
    }

    /// Ends the connection.
    async fn close(&self) {
        // Where nothing is to be read any more, the end of the socket itself says so.
        if self.state.said_close.get() || self.state.unread_content.get() {
            let _ = self.socket.shutdown();
            self.linger().await;
        }
    }

    /// Ends the connection in the middle of an answer, or of a request: what was sent of it arrives,
    /// and does not look complete.
    async fn break_off(&self) {
        if self.state.is_cut_off.get() {
            let _ = timeout(FAREWELL, self.socket.taken()).await;
            let _ = self.socket.reset();
            return;
        }
        let _ = self.socket.shutdown();
        self.linger().await;
    }

    /// A close while the client still sends would make the kernel send a reset, and the client lose
    /// its answer: what it sends is read for a moment.
    async fn linger(&self) {
        let _ = timeout(FAREWELL, self.socket.discard(REST)).await;
    }

    /// Sends the page for what is no request, and ends the connection.
    async fn refuse(&self, status: StatusCode) {
        let answer = refusal::answer(status);
        let sent = timeout(FAREWELL, self.socket.write_all(answer.as_bytes())).await;
        if matches!(sent, Ok(Ok(()))) {
            let _ = self.socket.shutdown();
            self.linger().await;
        }
    }
}
