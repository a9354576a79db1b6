//! The content of an answer: nothing, bytes in memory, part of a file, or a stream.
//!
//! A file's content is usually not read here: a [`FileSlice`] travels through hyper as a description
//! of the bytes, and the transport sends what it describes with `sendfile`. What was promised is one
//! version of the file. So it is looked at again before every further frame, and the last bytes are
//! held back until everything before them has been handed over: a file that was written to in the
//! meantime ends the connection, not the content.
//!
//! What is written into a file without truncating it still shows in bytes that lie in a socket's
//! buffer, since `sendfile` does not copy them. So a file that somebody is writing to is copied. What
//! is left is a file that rested, and is overwritten in place for the first time while the end of it
//! is on its way. Nothing of this is needed for a copy, to which nobody writes.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::{HeaderValue, Method, Response, header};
use http_body::{Frame, SizeHint};
use rustix::io::Errno;

use crate::{
    fs::Version,
    sys::{
        file_slice::{FileSlice, Holder},
        kernel_copy::KernelCopy,
    },
};

/// Why content of a file breaks off.
pub const CHANGED: &str = "the file was changed while it was sent";

/// How much of a file one frame describes. It bounds how far the count of an aborted transfer
/// can be off, and is large enough not to matter otherwise.
const FILE_FRAME: u64 = 1 << 20;

/// How much of a file one frame has that is copied.
const COPIED_FRAME: u64 = 128 * 1024;

/// How much is held back at the end of a file's content.
const HELD_BACK: u64 = 1024;

/// A stream of unknown length, such as a script's output.
pub type Stream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error>>>;

/// The content of an answer (RFC 9110 §6.4).
pub enum Body {
    /// No content.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Part of a regular file.
    File(Box<FileContent>),
    /// Bytes as they come.
    Stream(Stream),
}

/// Bytes of one version of an open regular file, and what stands between them.
#[derive(Debug)]
pub struct FileContent {
    holder: Holder,
    /// Absent where it never has another.
    version: Option<Version>,
    pieces: VecDeque<Piece>,
    way: Way,
    has_begun: bool,
}

/// How a file's bytes come to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the kernel's memory.
    Sendfile,
    /// Through the process: for a file that somebody writes to.
    Copied,
}

/// A piece of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes in memory.
    Memory(Bytes),
    /// A range of the file, not empty.
    File(Range<u64>),
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
            Self::File(file) => match file.next() {
                None => return Poll::Ready(None),
                Some(chunk) => chunk?,
            },
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
            Self::File(content) => content.pieces.is_empty(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::File(content) => SizeHint::with_exact(content.length()),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

impl Body {
    /// What of it goes out in answer to a method: nothing for HEAD (RFC 9110 §9.3.2).
    #[must_use]
    pub fn for_method(self, method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Empty,
            _ => self,
        }
    }

    /// A page with its length and media type.
    pub fn page(html: String) -> Response<Self> {
        let length = html.len();
        let mut response = Response::new(html.into());
        let fields = response.headers_mut();
        let media_type = HeaderValue::from_static("text/html; charset=utf-8");
        fields.insert(header::CONTENT_TYPE, media_type);
        fields.insert(header::CONTENT_LENGTH, length.into());
        response
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl FileContent {
    /// The copy, where all of it is the content, and nothing else.
    pub fn whole_copy(&self) -> Option<&Arc<KernelCopy>> {
        let Holder::Copy(copy) = &self.holder else {
            return None;
        };
        let whole = [Piece::File(0..copy.length())];
        (self.pieces == whole).then_some(copy)
    }

    /// These pieces, of `version` of the file.
    pub fn new(
        file: Arc<OwnedFd>,
        version: Version,
        pieces: impl IntoIterator<Item = Piece>,
        way: Way,
    ) -> Self {
        let mut pieces: VecDeque<_> = pieces.into_iter().collect();
        if let Some(Piece::File(last)) = pieces.back_mut()
            && last.end - last.start > HELD_BACK
        {
            let end = last.end;
            last.end -= HELD_BACK;
            pieces.push_back(Piece::File(end - HELD_BACK..end));
        }
        Self {
            holder: Holder::File(file),
            version: Some(version),
            pieces,
            way,
            has_begun: false,
        }
    }

    /// These pieces of a copy.
    pub fn copied(copy: Arc<KernelCopy>, pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self {
            holder: Holder::Copy(copy),
            version: None,
            pieces: pieces.into_iter().collect(),
            way: Way::Sendfile,
            has_begun: false,
        }
    }

    fn length(&self) -> u64 {
        self.pieces.iter().map(Piece::length).sum()
    }

    /// The next frame, for which the file is still what it was. Bytes are read before that is looked
    /// at, so that they are of that version.
    fn next(&mut self) -> Option<io::Result<Chunk>> {
        let is_held_back = self.version.is_some() && self.pieces.len() == 1;
        let way = if is_held_back { Way::Copied } else { self.way };
        let chunk = match (self.pieces.front_mut()?, way) {
            (Piece::Memory(bytes), _) => Ok(Chunk::Bytes(std::mem::take(bytes))),
            (Piece::File(range), Way::Sendfile) => {
                let frame = take_front(range, FILE_FRAME);
                Ok(Chunk::File(FileSlice::new(self.holder.clone(), frame)))
            }
            (Piece::File(range), Way::Copied) => {
                read(&self.holder, take_front(range, COPIED_FRAME)).map(Chunk::Bytes)
            }
        };
        if self.pieces.front().is_some_and(|piece| piece.length() == 0) {
            self.pieces.pop_front();
        }
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        let must_look = has_begun || way == Way::Copied;
        if must_look
            && let Some(version) = self.version
            && !version.is_of(&self.holder)
        {
            self.pieces.clear();
            return Some(Err(io::Error::other(CHANGED)));
        }
        Some(chunk)
    }
}

/// Takes at most so many bytes off the front of a range.
fn take_front(range: &mut Range<u64>, most: u64) -> Range<u64> {
    let end = range.end.min(range.start + most);
    let front = range.start..end;
    range.start = end;
    front
}

fn read(file: impl AsFd, range: Range<u64>) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
    let mut filled = 0;
    while filled < bytes.len() {
        let at = range.start + filled as u64;
        match rustix::io::pread(&file, &mut bytes[filled..], at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes.into())
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(range) => range.end - range.start,
        }
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
