//! The content of an answer on its way out, counted for the access record.
//!
//! An error of it is passed on only when everything before it has been sent: hyper throws away what
//! it holds when content fails, the head of the answer and earlier answers among it.

use std::{
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use http::Version;
use http_body::{Body as _, Frame, SizeHint};

use crate::{
    body::{Body, CHANGED, Chunk},
    records::Pending,
    semantics::failure::Cause,
    transport::stream::{Fault, State},
};

/// Why an answer was cut off that the server did not wait for any longer.
const STOPPED: &str = "the server stopped";

/// Content that completes the record of its request when it ends or is given up.
pub struct Recorded {
    body: Body,
    /// Whether the length was known beforehand.
    has_length: bool,
    end: End,
    failure: Option<HeldBack>,
    pending: Pending,
    state: Rc<State>,
}

/// An error that waits until all before it has been sent.
struct HeldBack {
    error: Option<io::Error>,
    flushed: Pin<Box<dyn Future<Output = ()>>>,
}

/// How far the content came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ahead,
    Reached,
    Failed,
}

impl Recorded {
    /// The content `body` of the answer to the request of `pending`.
    pub fn new(body: Body, pending: Pending, state: Rc<State>) -> Self {
        Self {
            has_length: body.size_hint().exact().is_some(),
            body,
            end: End::Ahead,
            failure: None,
            pending,
            state,
        }
    }

    /// Gives the content up, so that its source is told at once, and keeps the reason for later.
    fn fail(&mut self, error: io::Error) {
        self.end = End::Failed;
        self.body = Body::Empty;
        self.pending.note(|outcome| {
            let cause = || Cause::Incomplete(error.to_string());
            outcome.cause.get_or_insert_with(cause);
        });
        let state = Rc::clone(&self.state);
        self.failure = Some(HeldBack {
            error: Some(error),
            flushed: Box::pin(async move { state.progress.until_flushed().await }),
        });
    }
}

impl HeldBack {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Error>> {
        if self.error.is_some() {
            ready!(self.flushed.as_mut().poll(context));
        }
        Poll::Ready(self.error.take())
    }
}

impl http_body::Body for Recorded {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Chunk>>>> {
        if let Some(failure) = &mut self.failure {
            return failure.poll(context).map(|error| error.map(Err));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, bytes::Buf::remaining) as u64;
                self.pending.note(|outcome| outcome.bytes += length);
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                self.end = End::Reached;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                self.fail(error);
                self.poll_frame(context)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end != End::Failed && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let complete = match self.end {
            End::Reached => true,
            End::Ahead => self.body.is_end_stream(),
            End::Failed => false,
        };
        self.pending.note(|outcome| {
            outcome.complete = complete;
            let fault = self.state.fault.get().filter(|_| !complete);
            let cause = fault.map(|fault| match fault {
                Fault::Stalled => Cause::ResponseTimeout,
                Fault::Shrunk => Cause::Incomplete(CHANGED.to_owned()),
                Fault::Stopped => Cause::Incomplete(STOPPED.to_owned()),
            });
            if let Some(cause) = cause {
                outcome.cause.get_or_insert(cause);
            }
        });
        // HTTP/1.0 knows no other end of such content (RFC 9112 §6.3).
        let ends_with_connection =
            !self.has_length && self.pending.head().version < Version::HTTP_11;
        let is_cut_off = self.end == End::Failed && ends_with_connection;
        self.state.is_cut_off.set(is_cut_off);
        self.state.progress.answered();
    }
}
