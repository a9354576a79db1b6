//! The content of a script's answer: what the script writes after its header, as it comes.
//!
//! It never ends well when it is not whole: after a script that was killed or crashed, and before
//! the `Content-Length` that a script has promised, it ends with an error, so that the connection is
//! closed and no client takes a part for the whole. An exit status other than 0 is no such end: many
//! scripts do not mind theirs.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::cgi::{process::Output, wire::End};

/// What a script writes after its header.
pub struct ScriptContent {
    /// What was read along with the header.
    first: Bytes,
    /// Absent after the end.
    output: Option<Output>,
    /// Whether the output is at its end, and only how the script ended is not yet known.
    has_ended: bool,
    /// How much is still to come after `first`, if the script gave a length.
    remaining: Option<u64>,
}

impl ScriptContent {
    /// The content that begins with `first`, with `length` bytes in all if that is known.
    pub fn new(first: Bytes, output: Output, length: Option<u64>) -> Self {
        let mut content = Self {
            first: Bytes::new(),
            output: Some(output),
            has_ended: false,
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

    /// What is wrong with the end of the output.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Error>> {
        let Some(output) = &mut self.output else {
            return Poll::Ready(None);
        };
        let end = ready!(output.poll_exit(context));
        self.output = None;
        let missing = self.remaining.filter(|&remaining| remaining > 0);
        Poll::Ready(match (end, missing) {
            (Err(failure), _) => Some(io::Error::other(failure)),
            (Ok(Some(End::Signal(signal))), _) => {
                let text = format!("the script was ended by signal {signal}");
                Some(io::Error::new(io::ErrorKind::UnexpectedEof, text))
            }
            (Ok(_), Some(missing)) => {
                let text =
                    format!("the script's output ended {missing} bytes before its Content-Length");
                Some(io::Error::new(io::ErrorKind::UnexpectedEof, text))
            }
            (Ok(_), None) => None,
        })
    }
}

impl Body for ScriptContent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            let first = std::mem::take(&mut this.first);
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(output) = &mut this.output
            && !this.has_ended
        {
            match ready!(output.poll_next(context)) {
                Ok(Some(chunk)) => return Poll::Ready(Some(Ok(Frame::data(this.cut(chunk))))),
                Ok(None) => this.has_ended = true,
                Err(failure) => {
                    this.output = None;
                    return Poll::Ready(Some(Err(io::Error::other(failure))));
                }
            }
        }
        this.poll_end(context).map(|error| error.map(Err))
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
