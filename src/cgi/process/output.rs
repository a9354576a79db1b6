//! A script's stdout, for the answer.
//!
//! Dropping it before its end says that the client has left, and the script is killed. An end that
//! a kill has made is an error, never an end of file.

use std::{
    future, io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    time::{Sleep, sleep},
};

use crate::{
    cgi::{
        process::{
            LastWords, launcher::abandoned, patience::Patience, pipe::Receiver, supervision::Fate,
        },
        wire::End,
    },
    semantics::failure::Failure,
};

/// How much is read at once of an output that is large; a pipe holds as much.
const READ: usize = 64 * 1024;

/// How much of one that is not known to be.
const FIRST: usize = 16 * 1024;

/// With less room than this a new buffer is taken, or the old one again if all that was read into
/// it is sent.
const ROOM: usize = 8 * 1024;

/// How long the end of a script is waited for that has closed its stdout. The kernel closes it when
/// the script ends, so the launcher hears of both at once.
const EXIT: Duration = Duration::from_millis(500);

/// A script's stdout.
#[derive(Debug)]
pub struct Output {
    stdout: Receiver,
    buffer: BytesMut,
    /// How much room the next buffer gets.
    next: usize,
    patience: Rc<Patience>,
    end: oneshot::Receiver<Result<LastWords, Failure>>,
    /// Absent when it was told.
    fate: Option<oneshot::Sender<Fate>>,
    /// Present when the script is over: what is in the pipe is the rest.
    over: Option<LastWords>,
    /// Until when the end of the script is waited for behind that of its output.
    exit: Option<Pin<Box<Sleep>>>,
}

impl Output {
    /// The output of a script that is attended to.
    pub fn new(
        stdout: Receiver,
        patience: Rc<Patience>,
        end: oneshot::Receiver<Result<LastWords, Failure>>,
        fate: oneshot::Sender<Fate>,
    ) -> Self {
        Self {
            stdout,
            buffer: BytesMut::new(),
            next: FIRST,
            patience,
            end,
            fate: Some(fate),
            over: None,
            exit: None,
        }
    }

    /// The next bytes, as soon as there are any. Absent at the end: the script has closed its
    /// stdout, or is over and has left nothing. Fails when the script is killed.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        future::poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Output::next`]; not to be called again after a failure.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        if self.over.is_none() {
            match self.poll_read(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(self.end_of_file()),
                Poll::Ready(Ok(_)) => {
                    self.patience.awaits_output(false);
                    return Poll::Ready(Ok(Some(self.buffer.split().freeze())));
                }
                Poll::Ready(Err(error)) => {
                    let failure = Failure::system("reading a script's output", &error);
                    return Poll::Ready(Err(failure));
                }
                Poll::Pending => self.patience.awaits_output(true),
            }
            let end = ready!(Pin::new(&mut self.end).poll(context));
            self.over = Some(end.unwrap_or_else(|_| Err(abandoned()))?);
        }
        // A process that the script has left behind may hold the pipe open for ever.
        let rest = self.stdout.read_now().map(Bytes::from);
        if rest.is_none() {
            self.tell(Fate::Ended);
        }
        Poll::Ready(Ok(rest))
    }

    /// How the script ended, after the end of its output. Absent if it has closed its stdout and
    /// goes on: a crash tells itself at once.
    pub fn poll_exit(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<End>, Failure>> {
        if self.over.is_none() {
            let Poll::Ready(end) = Pin::new(&mut self.end).poll(context) else {
                let exit = self.exit.get_or_insert_with(|| Box::pin(sleep(EXIT)));
                ready!(exit.as_mut().poll(context));
                return Poll::Ready(Ok(None));
            };
            self.over = Some(end.unwrap_or_else(|_| Err(abandoned()))?);
        }
        Poll::Ready(Ok(self.over.as_ref().and_then(|over| over.end)))
    }

    /// Leaves the rest unread without harm to the script. The future waits until the script is
    /// over; it need not be polled.
    pub fn discard(mut self) -> impl Future<Output = Result<LastWords, Failure>> {
        if let Some(fate) = self.fate.take() {
            drop(fate.send(Fate::Unwanted(self.stdout)));
        }
        async move {
            match self.over {
                Some(last_words) => Ok(last_words),
                None => self.end.await.unwrap_or_else(|_| Err(abandoned())),
            }
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() < ROOM {
            self.buffer.reserve(self.next);
            self.next = READ;
        }
        self.stdout.poll_read(context, &mut self.buffer)
    }

    /// The script has closed its stdout, or was killed: then the supervision has told it before.
    fn end_of_file(&mut self) -> Result<Option<Bytes>, Failure> {
        match self.end.try_recv() {
            Ok(end) => self.over = Some(end?),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Closed) => return Err(abandoned()),
        }
        self.tell(Fate::Ended);
        Ok(None)
    }

    fn tell(&mut self, fate: Fate) {
        if let Some(channel) = self.fate.take() {
            // A supervision that is over need not know.
            drop(channel.send(fate));
        }
    }
}
