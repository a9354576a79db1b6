//! The content of an open file as one version of it: its validators and its bytes belong together,
//! whoever writes to it in the meantime.

use std::{
    ops::Range,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::StatusCode;
use rustix::io::{Errno, ReadWriteFlags};

use crate::{
    body::{Body, FileContent, Piece, Way},
    fs::{Metadata, OpenError, Opened, Version, Wait},
    semantics::{
        failure::{Cause, Failure},
        validator::{EntityTag, FileState, Validators},
    },
};

/// Files up to this size, and parts of larger ones, are read and sent from memory, in one write with
/// the head; what is longer by `sendfile`.
const IN_MEMORY: u64 = 64 * 1024;

/// How long nobody must have written to a file for it to be sent from the kernel's memory.
const RESTING: Duration = Duration::from_secs(2);

/// How often a file is read again that is written to while it is read.
const ATTEMPTS: usize = 16;

/// One version of a file's content.
#[derive(Debug)]
pub(super) struct Content {
    file: Arc<OwnedFd>,
    version: Version,
    /// Length in bytes.
    pub size: u64,
    /// The validators of this version.
    pub validators: Validators,
    /// How it is sent where it is not read.
    way: Way,
    /// All of it, where it was read.
    bytes: Option<Bytes>,
}

/// Why content was not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The file has another version by now.
    Changed,
    /// The operating system failed.
    System(Errno),
}

impl Content {
    /// The content of a regular file, of the version that it has now.
    pub async fn of(opened: Opened) -> Result<Self, Failure> {
        let file = Arc::new(opened.fd);
        if opened.metadata.size > IN_MEMORY {
            return Ok(Self::described(file, &opened.metadata));
        }
        Self::in_memory(file, opened.metadata).await
    }

    /// The content of a large file, which is not read: only its state is known.
    fn described(file: Arc<OwnedFd>, metadata: &Metadata) -> Self {
        let now = SystemTime::now();
        let tag = EntityTag::of_state(&state(metadata), now);
        let validators = Validators::new(tag, metadata.modified, now);
        let since = now.duration_since(metadata.changed_at());
        let is_resting = since.is_ok_and(|since| since > RESTING);
        let way = if is_resting {
            Way::Sendfile
        } else {
            Way::Copied
        };
        Self {
            way,
            ..Self::new(file, metadata, validators, None)
        }
    }

    /// The version that the file has by now.
    pub async fn again(self) -> Result<Self, Failure> {
        let metadata = Metadata::of(&self.file).map_err(Failure::from)?;
        match Arc::try_unwrap(self.file) {
            Ok(fd) => Self::of(Opened { fd, metadata }).await,
            Err(_) => Err(Failure::changing()),
        }
    }

    /// The content of a small file: what was read while the file stayed the same. Where its state may
    /// not tell that, it is what was read twice alike.
    async fn in_memory(file: Arc<OwnedFd>, mut metadata: Metadata) -> Result<Self, Failure> {
        let mut before: Option<Bytes> = None;
        for _ in 0..ATTEMPTS {
            let bytes = match read_at(&file, 0..metadata.size).await {
                Ok(bytes) => Some(bytes),
                Err(ReadError::Changed) => None,
                Err(ReadError::System(error)) => return Err(unreadable(error)),
            };
            let after = Metadata::of(&file)?;
            let now = SystemTime::now();
            let is_same = after.version() == metadata.version()
                && (state(&after).is_settled(now) || before == bytes);
            match bytes {
                Some(bytes) if is_same => {
                    let tag = EntityTag::of_content(&bytes);
                    let validators = Validators::new(tag, after.modified, now);
                    return Ok(Self::new(file, &after, validators, Some(bytes)));
                }
                bytes => before = bytes,
            }
            metadata = after;
            if metadata.size > IN_MEMORY {
                return Ok(Self::described(file, &metadata));
            }
        }
        Err(Failure::changing())
    }

    fn new(
        file: Arc<OwnedFd>,
        metadata: &Metadata,
        validators: Validators,
        bytes: Option<Bytes>,
    ) -> Self {
        Self {
            file,
            version: metadata.version(),
            size: metadata.size,
            validators,
            way: Way::Sendfile,
            bytes,
        }
    }

    /// Whether all of it may be read at once.
    pub fn is_small(&self) -> bool {
        self.size <= IN_MEMORY
    }

    /// These bytes of it, in memory; they must be few.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        let position = |at| usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(bytes) = &self.bytes {
            return Ok(bytes.slice(position(range.start)..position(range.end)));
        }
        let bytes = read_at(&self.file, range).await?;
        match Version::of(&self.file) {
            Ok(version) if version == self.version => Ok(bytes),
            _ => Err(ReadError::Changed),
        }
    }

    /// These pieces of it, for a body.
    pub async fn pieces(&self, pieces: Vec<Piece>) -> Result<Body, ReadError> {
        let of_file = pieces.iter().map(|piece| match piece {
            Piece::File(range) => range.end - range.start,
            Piece::Memory(_) => 0,
        });
        if of_file.sum::<u64>() > IN_MEMORY {
            let file = Arc::clone(&self.file);
            let content = FileContent::new(file, self.version, pieces, self.way);
            return Ok(Body::File(content));
        }
        if let [Piece::File(range)] = &pieces[..] {
            return self.read(range.clone()).await.map(Body::Bytes);
        }
        let mut content = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Memory(bytes) => content.extend_from_slice(&bytes),
                Piece::File(range) => content.extend_from_slice(&self.read(range).await?),
            }
        }
        Ok(Body::Bytes(content.into()))
    }

    /// The open file and its version, to be read piece by piece.
    pub fn source(&self) -> (Arc<OwnedFd>, Version) {
        (Arc::clone(&self.file), self.version)
    }
}

fn state(metadata: &Metadata) -> FileState {
    FileState {
        device: metadata.device,
        inode: metadata.inode,
        size: metadata.size,
        modified: metadata.modified,
        changed: metadata.changed,
    }
}

/// Reads a range, on another thread where the kernel would have to wait for it.
async fn read_at(file: &Arc<OwnedFd>, range: Range<u64>) -> Result<Bytes, ReadError> {
    match read(file, &range, Wait::Never) {
        Err(ReadError::System(Errno::AGAIN | Errno::OPNOTSUPP)) => {
            let file = Arc::clone(file);
            let reading = tokio::task::spawn_blocking(move || read(&file, &range, Wait::Allowed));
            reading
                .await
                .unwrap_or(Err(ReadError::System(Errno::CANCELED)))
        }
        outcome => outcome,
    }
}

/// Reads exactly the range, or fails: a file that has become shorter is another version.
fn read(file: &OwnedFd, range: &Range<u64>, wait: Wait) -> Result<Bytes, ReadError> {
    let flags = match wait {
        Wait::Never => ReadWriteFlags::NOWAIT,
        Wait::Allowed => ReadWriteFlags::empty(),
    };
    // At most IN_MEMORY.
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
    let mut filled = 0;
    while filled < bytes.len() {
        let mut rest = [std::io::IoSliceMut::new(&mut bytes[filled..])];
        match rustix::io::preadv2(file.as_fd(), &mut rest, range.start + filled as u64, flags) {
            Ok(0) => return Err(ReadError::Changed),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(ReadError::System(error)),
        }
    }
    Ok(bytes.into())
}

/// The failure for a file that cannot be read.
pub(super) fn unreadable(error: Errno) -> Failure {
    Failure::system("reading a file", &error.into())
}

impl Failure {
    /// 503: a file that is written to all the time.
    pub(super) fn changing() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Cause::Changing)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::system("looking at a file", &std::io::Error::other(error))
    }
}
