//! The content of an answer on its way out, counted for the access record.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use http::Version;
use http_body::{Body as _, Frame, SizeHint};

use crate::{
    body::{Body, CHANGED, Chunk},
    records::Pending,
    semantics::failure::Cause,
    transport::stream::{Fault, State},
};

/// Content that completes the record of its request when it ends or is given up.
pub struct Recorded {
    body: Body,
    end: End,
    pending: Pending,
    state: Rc<State>,
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
            body,
            end: End::Ahead,
            pending,
            state,
        }
    }
}

impl http_body::Body for Recorded {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Chunk>>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, bytes::Buf::remaining) as u64;
                self.pending.note(|outcome| outcome.bytes += length);
            }
            Poll::Ready(None) => self.end = End::Reached,
            Poll::Ready(Some(Err(error))) => {
                self.end = End::Failed;
                self.pending.note(|outcome| {
                    let cause = || Cause::Incomplete(error.to_string());
                    outcome.cause.get_or_insert_with(cause);
                });
            }
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
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
            });
            if let Some(cause) = cause {
                outcome.cause.get_or_insert(cause);
            }
        });
        // HTTP/1.0 knows no other end of such content (RFC 9112 §6.3).
        let ends_with_connection = self.body.size_hint().exact().is_none()
            && self.pending.head().version < Version::HTTP_11;
        let is_cut_off = self.end == End::Failed && ends_with_connection;
        self.state.is_cut_off.set(is_cut_off);
        self.state.progress.answered();
    }
}
