//! Content in a coding that is made on the way, a piece at a time and never on a worker's thread.
//!
//! A piece is made when the connection has room for it, so a slow client holds no thread, and few
//! pieces are made at once, so that look-ups of other requests find a thread. What an encoder has
//! seen takes memory for as long as its client reads: so there are only some, and whoever comes when
//! there is none gets the file as it is.

use std::{
    future::Future,
    io::{self, Write},
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body::Frame;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{body::CHANGED, fs::Version, semantics::coding::Coding};

/// Pieces that are made at once in the whole process.
static TURNS: Semaphore = Semaphore::const_new(4);

/// Encoders that are kept between pieces, in the whole process.
static ENCODERS: Semaphore = Semaphore::const_new(64);

/// Bytes of the file that are read for a piece.
const INPUT: usize = 64 * 1024;

/// Levels at which a piece takes about a millisecond: beyond, little is gained for much time.
const BROTLI: u32 = 4;
const ZSTANDARD: i32 = 3;
const GZIP: Compression = Compression::new(5);

/// How far back an encoder looks, as a power of two: what it takes of memory.
const WINDOW: u32 = 18;

enum Encoder {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstandard(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        let output = Vec::new();
        Ok(match coding {
            Coding::Brotli => {
                let encoder = CompressorWriter::new(output, INPUT, BROTLI, WINDOW);
                Self::Brotli(Box::new(encoder))
            }
            Coding::Zstandard => {
                let mut encoder = zstd::stream::write::Encoder::new(output, ZSTANDARD)?;
                encoder.window_log(WINDOW)?;
                Self::Zstandard(encoder)
            }
            Coding::Gzip => Self::Gzip(GzEncoder::new(output, GZIP)),
        })
    }

    /// Encodes some content; returns what is ready of the output.
    fn encode(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        Ok(match self {
            Self::Brotli(encoder) => {
                encoder.write_all(content)?;
                std::mem::take(encoder.get_mut())
            }
            Self::Zstandard(encoder) => {
                encoder.write_all(content)?;
                std::mem::take(encoder.get_mut())
            }
            Self::Gzip(encoder) => {
                encoder.write_all(content)?;
                std::mem::take(encoder.get_mut())
            }
        })
    }

    /// The rest of the output.
    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstandard(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

/// Encodes content as a whole, which is read only when it is its turn.
pub(super) async fn whole(
    read: impl FnOnce() -> io::Result<Bytes> + Send + 'static,
    coding: Coding,
) -> io::Result<Bytes> {
    in_turn(move || {
        let mut encoder = Encoder::new(coding)?;
        let mut output = encoder.encode(&read()?)?;
        output.append(&mut encoder.finish()?);
        Ok(output.into())
    })
    .await
}

/// One version of a file in a coding, as a stream.
pub(super) struct Encoded(State);

enum State {
    Waiting(Box<Work>),
    Working(Pin<Box<dyn Future<Output = io::Result<Piece>>>>),
    Ended,
}

/// Output, and the work that is left.
type Piece = (Bytes, Option<Box<Work>>);

struct Work {
    file: Arc<OwnedFd>,
    version: Version,
    offset: u64,
    encoder: Encoder,
    _place: Option<Place>,
}

/// A place among the encoders that are kept; given back when it is dropped.
pub(super) type Place = SemaphorePermit<'static>;

/// A place, if there is one.
pub(super) fn place() -> Option<Place> {
    ENCODERS.try_acquire().ok()
}

impl Encoded {
    /// The file from its beginning; `place` is kept for as long as there is an encoder.
    pub fn new(
        (file, version): (Arc<OwnedFd>, Version),
        coding: Coding,
        place: Option<Place>,
    ) -> io::Result<Self> {
        let encoder = Encoder::new(coding)?;
        let work = Work {
            file,
            version,
            offset: 0,
            encoder,
            _place: place,
        };
        Ok(Self(State::Waiting(Box::new(work))))
    }
}

impl Work {
    /// Encodes until there is output. The last of it comes only when the file still is the version
    /// that it was begun with.
    fn piece(mut self: Box<Self>) -> io::Result<Piece> {
        let mut content = vec![0; INPUT];
        loop {
            let count = match rustix::io::pread(&*self.file, &mut content, self.offset) {
                Err(rustix::io::Errno::INTR) => continue,
                outcome => outcome?,
            };
            if !self.version.is_of(&*self.file) {
                return Err(io::Error::other(CHANGED));
            }
            if count == 0 {
                return Ok((self.encoder.finish()?.into(), None));
            }
            self.offset += count as u64;
            let output = self.encoder.encode(&content[..count])?;
            if !output.is_empty() {
                return Ok((output.into(), Some(self)));
            }
        }
    }
}

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match std::mem::replace(&mut self.0, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Waiting(work) => {
                    self.0 = State::Working(Box::pin(in_turn(move || work.piece())));
                }
                State::Working(mut piece) => {
                    let Poll::Ready(outcome) = piece.as_mut().poll(context) else {
                        self.0 = State::Working(piece);
                        return Poll::Pending;
                    };
                    let (bytes, work) = outcome?;
                    if let Some(work) = work {
                        self.0 = State::Waiting(work);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, State::Ended)
    }
}

/// Runs work on another thread when it is its turn.
async fn in_turn<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let _turn = TURNS.acquire().await.map_err(io::Error::other)?;
    tokio::task::spawn_blocking(work).await?
}
