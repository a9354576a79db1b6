//! A client that leaves while a script works for it.
//!
//! A file is on its way before this could matter. A script may be silent for long, and must not
//! go on for nobody.

use std::{
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{body::Stream, transport::socket::Socket};

/// A stream that breaks off when the client has left, so that its source is told.
pub struct Attended {
    stream: Stream,
    departure: Pin<Box<dyn Future<Output = ()>>>,
}

impl Attended {
    /// `stream` for the client on `socket`.
    pub fn new(stream: Stream, socket: Rc<Socket>) -> Self {
        Self {
            stream,
            departure: Box::pin(async move { socket.departed().await }),
        }
    }
}

impl Body for Attended {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = self.stream.as_mut().poll_frame(context);
        if frame.is_pending() && self.departure.as_mut().poll(context).is_ready() {
            let left = io::Error::new(io::ErrorKind::ConnectionAborted, "the client left");
            return Poll::Ready(Some(Err(left)));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.stream.size_hint()
    }
}
