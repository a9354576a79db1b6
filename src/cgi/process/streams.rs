//! What goes in and out of a script besides its answer: content to stdin, lines from stderr.

use std::{convert::Infallible, future, pin::Pin};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt, net::unix::pipe};

use crate::{
    cgi::process::{patience::Patience, pipe::Receiver},
    records::Pending,
    semantics::failure::Failure,
};

/// A longer line of stderr is written down in pieces.
const LINE: usize = 4 * 1024;

/// How much is read of stderr when the script is over, in bytes: all that a pipe can hold. A process that
/// the script has left behind may go on writing.
const LEFT: usize = 1 << 20;

/// How much output that nobody wants is read, in bytes: a script that answers HEAD as it does GET
/// may come to its end, one that has none does not keep the server busy.
const UNWANTED: usize = 1 << 20;

/// A script wrote more than [`UNWANTED`] bytes that nobody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("wrote more than 1 MiB that nobody wants")]
pub struct TooMuch;

/// The next piece of a request's content; none at its end. Trailers have no place in RFC 3875.
pub async fn next_data<C>(content: &mut C) -> Result<Option<Bytes>, Failure>
where
    C: http_body::Body<Data = Bytes, Error = Failure> + Unpin,
{
    let frame = future::poll_fn(|context| Pin::new(&mut *content).poll_frame(context)).await;
    let data = frame.transpose()?.map(http_body::Frame::into_data);
    Ok(data.and_then(Result::ok))
}

/// Feeds the request's content to the script and closes its stdin after it. Fails only with the
/// content.
///
/// A script need not read: if it closes its stdin, the rest is still taken and thrown away. Else
/// nobody would see that the client leaves, and a client that sends first and reads afterwards
/// would not come to the answer.
pub async fn feed<C>(
    mut content: C,
    mut stdin: Option<pipe::Sender>,
    patience: &Patience,
) -> Result<(), Failure>
where
    C: http_body::Body<Data = Bytes, Error = Failure> + Unpin,
{
    while !content.is_end_stream() {
        patience.awaits_client(stdin.is_some());
        let data = next_data(&mut content).await?;
        patience.awaits_client(false);
        let Some(mut data) = data else {
            break;
        };
        while let Some(pipe) = stdin.as_mut().filter(|_| !data.is_empty()) {
            match pipe.write_buf(&mut data).await {
                Ok(_) => patience.progress(),
                Err(_) => stdin = None,
            }
        }
    }
    Ok(())
}

/// Reads output that nobody wants, to its end. Fails when there is more of it than [`UNWANTED`].
pub async fn discard(stdout: Receiver, patience: &Patience) -> Result<(), TooMuch> {
    let mut scratch = Vec::with_capacity(8 * 1024);
    let mut left = UNWANTED;
    patience.awaits_output(true);
    while let Ok(count @ 1..) = stdout.read(&mut scratch).await {
        patience.progress();
        left = left.checked_sub(count).ok_or(TooMuch)?;
        scratch.clear();
    }
    Ok(())
}

/// The script's stderr, cut into lines for the record.
#[derive(Debug)]
pub struct Lines {
    stderr: Receiver,
    /// A line that has not yet come to its end.
    line: Vec<u8>,
    /// Whether nobody has the other end any longer.
    has_ended: bool,
}

impl Lines {
    /// The lines of this pipe.
    pub fn new(stderr: Receiver) -> Self {
        Self {
            stderr,
            line: Vec::new(),
            has_ended: false,
        }
    }

    /// Writes the lines down as they come; goes on for ever. Dropping the future loses nothing.
    pub async fn follow(&mut self, pending: &Pending) -> Infallible {
        let mut bytes = Vec::with_capacity(LINE);
        while let Ok(1..) = self.stderr.read(&mut bytes).await {
            self.take(&bytes, pending);
            bytes.clear();
        }
        self.has_ended = true;
        future::pending().await
    }

    /// Writes down what is left in the pipe when the script is over.
    pub fn finish(mut self, pending: &Pending) {
        let mut left = if self.has_ended { 0 } else { LEFT };
        while left > 0
            && let Some(bytes) = self.stderr.read_now()
        {
            left = left.saturating_sub(bytes.len());
            self.take(&bytes, pending);
        }
        if !self.line.is_empty() {
            self.write_down(pending);
        }
    }

    fn take(&mut self, bytes: &[u8], pending: &Pending) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let end = piece.strip_suffix(b"\n");
            self.extend(end.unwrap_or(piece), pending);
            if end.is_some() {
                if self.line.ends_with(b"\r") {
                    self.line.pop();
                }
                self.write_down(pending);
            }
        }
    }

    /// Adds to the line, and writes down a piece of it when more comes than it may hold.
    fn extend(&mut self, mut text: &[u8], pending: &Pending) {
        while let Some((fits, more)) = text.split_at_checked(LINE - self.line.len())
            && !more.is_empty()
        {
            self.line.extend_from_slice(fits);
            self.write_down(pending);
            text = more;
        }
        self.line.extend_from_slice(text);
    }

    fn write_down(&mut self, pending: &Pending) {
        pending.script_line(std::mem::take(&mut self.line));
    }
}
