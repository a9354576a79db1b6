//! The content of an answer: nothing, bytes in memory, part of a file, or a stream.
//!
//! A file's content is never read here: a [`FileSlice`] travels through hyper as a description of
//! the bytes, and the transport sends what it describes with `sendfile`.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};

use crate::sys::file_slice::FileSlice;

/// How much of a file one frame describes. It bounds how far the count of an aborted transfer
/// can be off, and is large enough not to matter otherwise.
const FILE_FRAME: u64 = 1 << 20;

/// A stream of unknown length, such as a script's output.
pub type Stream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error>>>;

/// The content of an answer (RFC 9110 §6.4).
pub enum Body {
    /// No content.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Part of a regular file.
    File(FileContent),
    /// Bytes as they come.
    Stream(Stream),
}

/// Part of an open regular file.
#[derive(Debug, Clone)]
pub struct FileContent {
    /// The file.
    pub file: Arc<OwnedFd>,
    /// The first byte.
    pub offset: u64,
    /// The number of bytes.
    pub length: u64,
}

/// One frame of content on its way to the connection.
#[derive(Debug)]
pub enum Chunk {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes of a file.
    File(FileSlice),
}

impl http_body::Body for Body {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Chunk>>>> {
        let chunk = match &mut *self {
            Self::Empty => return Poll::Ready(None),
            Self::Bytes(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Bytes(bytes) => Chunk::Bytes(std::mem::take(bytes)),
            Self::File(file) if file.length == 0 => return Poll::Ready(None),
            Self::File(file) => Chunk::File(file.take_front(FILE_FRAME)),
            Self::Stream(stream) => {
                return stream
                    .as_mut()
                    .poll_frame(context)
                    .map_ok(|frame| frame.map_data(Chunk::Bytes));
            }
        };
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::File(content) => content.length == 0,
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::File(content) => SizeHint::with_exact(content.length),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl FileContent {
    fn take_front(&mut self, most: u64) -> FileSlice {
        let length = self.length.min(most);
        let slice = FileSlice::new(Arc::clone(&self.file), self.offset, length);
        self.offset += length;
        self.length -= length;
        slice
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.remaining(),
            // A frame is at most FILE_FRAME long.
            Self::File(slice) => usize::try_from(slice.length()).unwrap_or(usize::MAX),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.chunk(),
            Self::File(slice) => slice.description(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::File(slice) => slice.advance(count as u64),
        }
    }
}
