//! The content of an answer on its way out, counted for the access record.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use http_body::{Body as _, Frame, SizeHint};

use crate::{
    body::{Body, Chunk},
    records::Pending,
    transport::stream::State,
};

/// Content that completes the record of its request when it ends or is given up.
pub struct Recorded {
    body: Body,
    ended: bool,
    pending: Pending,
    state: Rc<State>,
}

impl Recorded {
    /// The content `body` of the answer to the request of `pending`.
    pub fn new(body: Body, pending: Pending, state: Rc<State>) -> Self {
        Self {
            body,
            ended: false,
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
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
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
        let complete = self.ended || self.body.is_end_stream();
        self.pending.note(|outcome| outcome.complete = complete);
        self.state.progress.answered();
    }
}
