//! The content of a request, bounded in size and in patience.

use std::{
    error::Error,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    semantics::failure::{Cause, Failure},
    transport::stream::State,
};

/// A request's content as handlers read it.
pub struct Content {
    /// Absent where there is none: a local redirect has taken the request on without it.
    incoming: Option<Incoming>,
    left: u64,
    limit: u64,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    state: Rc<State>,
}

impl Content {
    /// Content of at most `limit` bytes that never pauses for longer than `patience`.
    pub fn new(incoming: Incoming, limit: u64, patience: Duration, state: Rc<State>) -> Self {
        Self {
            incoming: Some(incoming),
            left: limit,
            limit,
            patience,
            waiting: None,
            state,
        }
    }

    /// Fails when the length is known beforehand to be too large.
    pub fn admit(&self) -> Result<(), Failure> {
        if self.size_hint().lower() > self.limit {
            return Err(too_large(self.limit));
        }
        Ok(())
    }

    /// No content.
    pub fn none(state: Rc<State>) -> Self {
        Self {
            incoming: None,
            left: 0,
            limit: 0,
            patience: Duration::MAX,
            waiting: None,
            state,
        }
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        waiting.as_mut().poll(context)
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            self.state.unread_content.set(true);
        }
    }
}

/// Whether the client has left in the middle of its content, or the connection has ended otherwise.
fn breaks_off(error: &hyper::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput};
    let source = error.source().and_then(|source| source.downcast_ref());
    let kind = source.map(io::Error::kind);
    kind.is_none_or(|kind| ![InvalidData, InvalidInput].contains(&kind))
}

fn too_large(limit: u64) -> Failure {
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Cause::ContentTooLarge(limit))
}

impl Body for Content {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(context) else {
            // Behind trailers hyper says that this is the end only when it has the next head.
            if self.state.is_taken() {
                self.incoming = None;
                return Poll::Ready(None);
            }
            ready!(self.poll_patience(context));
            let failure = Failure::new(StatusCode::REQUEST_TIMEOUT, Cause::ContentTimeout);
            return Poll::Ready(Some(Err(failure)));
        };
        let patience = self.patience;
        if let Some(waiting) = &mut self.waiting {
            waiting.as_mut().reset(Instant::now() + patience);
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) if frame.is_data() => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                match self.left.checked_sub(length) {
                    Some(left) => {
                        self.left = left;
                        Some(Ok(frame))
                    }
                    None => Some(Err(too_large(self.limit))),
                }
            }
            Some(Err(error)) => {
                let cause = if breaks_off(&error) {
                    Cause::ClientLeft
                } else {
                    Cause::BadContent("the content of the request breaks its framing")
                };
                Some(Err(Failure::new(StatusCode::BAD_REQUEST, cause)))
            }
            // Trailers come last, and nobody here has a use for them. That chunked content is at its
            // end, hyper does not say beforehand.
            Some(Ok(_)) | None => {
                self.incoming = None;
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some(incoming) => incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}
