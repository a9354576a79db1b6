//! The content of a script's answer: what the script writes after its header, as it comes.
//!
//! It never ends well when it is not whole: after a script that was killed, and before the
//! `Content-Length` that a script has promised, it ends with an error, so that the connection is
//! closed and no client takes a part for the whole.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::cgi::process::Output;

/// What a script writes after its header.
pub struct ScriptContent {
    /// What was read along with the header.
    first: Bytes,
    /// Absent after the end.
    output: Option<Output>,
    /// How much is still to come after `first`, if the script gave a length.
    remaining: Option<u64>,
}

impl ScriptContent {
    /// The content that begins with `first`, with `length` bytes in all if that is known.
    pub fn new(first: Bytes, output: Output, length: Option<u64>) -> Self {
        let mut content = Self {
            first: Bytes::new(),
            output: Some(output),
            remaining: length,
        };
        content.first = content.cut(first);
        content
    }

    /// Counts a chunk against the length; what is beyond it is not sent.
    fn cut(&mut self, mut chunk: Bytes) -> Bytes {
        if let Some(remaining) = &mut self.remaining {
            chunk.truncate(usize::try_from(*remaining).unwrap_or(usize::MAX));
            *remaining -= chunk.len() as u64;
        }
        // With the last byte sent, the content may be dropped at any time. That must not look as
        // if the client had left: the script may finish.
        if self.remaining == Some(0)
            && let Some(output) = self.output.take()
        {
            drop(output.discard());
        }
        chunk
    }

    fn end(&mut self) -> Option<io::Error> {
        self.output = None;
        let missing = self.remaining.filter(|&remaining| remaining > 0)?;
        let text = format!("the script's output ended {missing} bytes before its Content-Length");
        Some(io::Error::new(io::ErrorKind::UnexpectedEof, text))
    }
}

impl Body for ScriptContent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(output) = &mut self.output else {
            return Poll::Ready(None);
        };
        Poll::Ready(match ready!(output.poll_next(context)) {
            Ok(Some(chunk)) => Some(Ok(Frame::data(self.cut(chunk)))),
            Ok(None) => self.end().map(Err),
            Err(failure) => {
                self.output = None;
                Some(Err(io::Error::other(failure)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.output.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.remaining {
            Some(remaining) => SizeHint::with_exact(self.first.len() as u64 + remaining),
            None => SizeHint::default(),
        }
    }
}
