//! How a connection ends: what is still answered, what is written down of it, and how it is closed.

use std::{
    io,
    time::{Duration, Instant},
};

use http::StatusCode;
use tokio::time::timeout;

use crate::{
    records::{ConnectionRecord, Record, Request},
    server::{refusal, worker::Shared},
    service::Origin,
    transport::{Address, Remote, framing::RequestLine, progress::Overdue},
};

/// How long the end of a connection may take.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// How much of what a client still sends is read at the end of a connection, in bytes.
pub const REST: usize = 16 << 20;

/// How a connection ended.
pub enum End {
    /// Both sides were done, or the client left between two requests.
    Finished,
    /// The client was too slow.
    Overdue(Overdue),
    /// What came was no request, or the connection broke.
    Broken(hyper::Error),
    /// The connection broke between two requests, or behind the last.
    Lost(io::Error),
}

/// What is left to do when hyper is done with a connection.
pub struct Ending<'c> {
    /// The connection.
    pub origin: &'c Origin,
    /// The line that came last.
    pub line: &'c RequestLine,
    /// Bytes that a head may have.
    pub head_size: usize,
    /// How many requests it has carried.
    pub requests: u32,
}

impl Ending<'_> {
    /// Ends the connection, and writes down one that carried no request, or ended with what is none.
    pub async fn come_to(&self, worker: &Shared, end: End) {
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

/// Why a client that sends nothing is not waited for any longer.
pub fn silence(last_call: Option<Instant>) -> &'static str {
    match last_call {
        Some(_) => "no request came before the server stopped",
        None => "no request came within `idle-timeout`",
    }
}

/// Writes down a connection that carried no request, or ended with what is none.
pub fn note(
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
