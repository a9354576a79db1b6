//! The content of an open file as one version of it: its validators and its bytes belong together,
//! whoever writes to it in the meantime.

use std::{
    io,
    ops::Range,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::StatusCode;
use rustix::{
    fs::SeekFrom,
    io::{Errno, ReadWriteFlags},
};

use crate::{
    body::{Body, FileContent, Piece, Way},
    files::{
        Source,
        cache::{Kept, Stored, Vacancy},
    },
    fs::{Metadata, OpenError, Version, Wait},
    semantics::{
        failure::{Cause, Failure},
        validator::{EntityTag, FileState, SETTLED, Validators},
    },
    sys::kernel_copy::KernelCopy,
};

/// Files up to this size, and parts of larger ones, are read and sent from memory, in one write with
/// the head; what is longer by `sendfile`.
pub(super) const IN_MEMORY: u64 = 64 * 1024;

/// Files up to this size are copied, for as long as the cache keeps them (`sys::kernel_copy`): nothing
/// is opened, looked at and held back for them. With larger ones that saves little.
pub(super) const COPIED: u64 = 1 << 20;

/// How long nobody must have written to a file for it to be sent from the kernel's memory.
const RESTING: Duration = Duration::from_secs(2);

/// How often a large file is waited for that was changed just now.
const SETTLING: usize = 1;

/// How often a file is read, or an answer begun, again because somebody wrote to it meanwhile.
const ATTEMPTS: usize = 16;

/// One version of a file's content.
#[derive(Debug)]
pub(super) struct Content {
    /// Length in bytes.
    pub size: u64,
    /// The validators of this version.
    pub validators: Validators,
    bytes: Place,
}

/// Where content is.
#[derive(Debug)]
enum Place {
    /// Here, all of it, and perhaps in the cache.
    Memory(Bytes, Option<Arc<Kept>>),
    /// In a copy, which the cache has.
    Copy(Arc<KernelCopy>, Arc<Kept>),
    /// In a file, as long as it has this version.
    File {
        file: Arc<OwnedFd>,
        version: Version,
        /// How it is sent.
        way: Way,
    },
}

/// All of a file's content.
pub(super) enum Whole<'c> {
    /// In memory.
    Memory(Bytes),
    /// In a copy.
    Copy(&'c Arc<KernelCopy>),
    /// In the open file, to be read piece by piece.
    File(&'c Arc<OwnedFd>, Version),
}

/// Why content was not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The file has another version by now.
    Changed,
    /// What the client is told.
    Failure(Failure),
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Content {
    /// The content of a regular file, of the version that it has now.
    pub async fn of(file: Source) -> Result<Self, Failure> {
        match file {
            Source::Kept(kept) => Ok(Self::kept(kept)),
            Source::Opened(opened, vacancy) => {
                // Boxed: what is kept needs no room for it.
                Box::pin(Self::of_file(Arc::new(opened.fd), opened.metadata, vacancy)).await
            }
        }
    }

    async fn of_file(
        file: Arc<OwnedFd>,
        metadata: Metadata,
        vacancy: Option<Box<Vacancy>>,
    ) -> Result<Self, Failure> {
        if metadata.size <= IN_MEMORY {
            return Self::in_memory(file, metadata, vacancy).await;
        }
        let content = Self::described(file, metadata).await?;
        match vacancy {
            Some(vacancy) => Ok(content.copied(vacancy).await),
            None => Ok(content),
        }
    }

    /// Content that is kept in memory.
    fn kept(kept: Arc<Kept>) -> Self {
        let now = SystemTime::now();
        let validators = Validators::new(kept.tag.clone(), kept.metadata.modified, now);
        Self {
            size: kept.content.length(),
            validators,
            bytes: match &kept.content {
                Stored::Bytes(bytes) => Place::Memory(bytes.clone(), Some(kept)),
                Stored::Copy(copy) => Place::Copy(Arc::clone(copy), kept),
            },
        }
    }

    /// Begins an answer with the content, and begins it anew with the version that the file has by
    /// then whenever it was changed meanwhile.
    pub async fn begin<T>(
        mut self,
        answer: impl AsyncFn(&Self) -> Result<T, ReadError>,
    ) -> Result<T, Failure> {
        for _ in 0..ATTEMPTS {
            match answer(&self).await {
                Ok(answer) => return Ok(answer),
                Err(ReadError::Failure(failure)) => return Err(failure),
                Err(ReadError::Changed) => {
                    // What is in memory does not change.
                    let Place::File { file, .. } = self.bytes else {
                        break;
                    };
                    let metadata = look(&file)?;
                    self = Box::pin(Self::of_file(file, metadata, None)).await?;
                }
            }
        }
        Err(changing())
    }

    /// The content of a large file, which is not read: only its state is known.
    async fn described(file: Arc<OwnedFd>, metadata: Metadata) -> Result<Self, Failure> {
        let metadata = settled(&file, metadata).await?;
        let is_resting = wait_for_writers(&file, &metadata).await;
        let now = SystemTime::now();
        let tag = EntityTag::of_state(&state(&metadata), now);
        let validators = Validators::new(tag, metadata.modified, now);
        let way = if is_resting {
            Way::Sendfile
        } else {
            Way::Copied
        };
        let version = metadata.version();
        Ok(Self {
            size: metadata.size,
            validators,
            bytes: Place::File { file, version, way },
        })
    }

    /// The same from a copy, if one can be had of this version. Of a file that somebody writes to none
    /// is made.
    async fn copied(self, vacancy: Box<Vacancy>) -> Self {
        let Place::File { file, version, way } = &self.bytes else {
            return self;
        };
        if *way != Way::Sendfile {
            return self;
        }
        let (original, size, most) = (Arc::clone(file), self.size, vacancy.most_copied());
        let copying = tokio::task::spawn_blocking(move || KernelCopy::of(&*original, size, most));
        let Ok(Ok(copy)) = copying.await else {
            return self;
        };
        let now = SystemTime::now();
        let kept = match look(file) {
            Ok(after) if after.version().is_same(version) => {
                let content = Stored::Copy(Arc::new(copy));
                vacancy.keep(after, (self.validators.tag.clone(), content), now)
            }
            _ => None,
        };
        kept.map_or(self, Self::kept)
    }

    /// The content of a small file: what was read while the file stayed the same. Where its state may
    /// not tell that, it is what was read twice alike.
    async fn in_memory(
        file: Arc<OwnedFd>,
        mut metadata: Metadata,
        vacancy: Option<Box<Vacancy>>,
    ) -> Result<Self, Failure> {
        let mut before: Option<Bytes> = None;
        for _ in 0..ATTEMPTS {
            wait_for_writers(&file, &metadata).await;
            let bytes = match read_at(&file, 0..metadata.size).await {
                Ok(bytes) => Some(bytes),
                Err(ReadError::Changed) => None,
                Err(ReadError::Failure(failure)) => return Err(failure),
            };
            // Before the look: a change after it is not taken for settled.
            let now = SystemTime::now();
            let after = look(&file)?;
            let is_same = after.version().is_same(&metadata.version())
                && (state(&after).is_settled(now) || before == bytes);
            match bytes {
                Some(bytes) if is_same => {
                    let tag = EntityTag::of_content(&bytes);
                    let content = (tag.clone(), Stored::Bytes(bytes.clone()));
                    let kept = vacancy.and_then(|vacancy| vacancy.keep(after, content, now));
                    return Ok(Self {
                        size: after.size,
                        validators: Validators::new(tag, after.modified, now),
                        bytes: Place::Memory(bytes, kept),
                    });
                }
                bytes => before = bytes,
            }
            metadata = after;
            if metadata.size > IN_MEMORY {
                return Self::described(file, metadata).await;
            }
        }
        Err(changing())
    }

    /// What the cache has of it.
    pub fn in_cache(&self) -> Option<&Kept> {
        match &self.bytes {
            Place::Memory(_, kept) => kept.as_deref(),
            Place::Copy(_, kept) => Some(kept),
            Place::File { .. } => None,
        }
    }

    /// All of it, where it is in memory of ours.
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.bytes {
            Place::Memory(bytes, _) => Some(bytes),
            Place::Copy(..) | Place::File { .. } => None,
        }
    }

    /// All of it.
    pub fn whole(&self) -> Whole<'_> {
        match &self.bytes {
            Place::Memory(bytes, _) => Whole::Memory(bytes.clone()),
            Place::Copy(copy, _) => Whole::Copy(copy),
            Place::File { file, version, .. } => Whole::File(file, *version),
        }
    }

    /// These bytes of it, in memory; they must be few.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        let position = |at| usize::try_from(at).unwrap_or(usize::MAX);
        match &self.bytes {
            Place::Memory(bytes, _) => Ok(bytes.slice(position(range.start)..position(range.end))),
            Place::Copy(copy, _) => {
                let failed = |error| Failure::system("reading a copy of a file", &error);
                Ok(read_copy(copy, range).map_err(failed)?)
            }
            Place::File { file, version, .. } => {
                let bytes = Box::pin(read_at(file, range)).await?;
                let is_same = version.is_of(file);
                is_same.then_some(bytes).ok_or(ReadError::Changed)
            }
        }
    }

    /// These pieces of it, for a body.
    pub async fn pieces(&self, pieces: Vec<Piece>) -> Result<Body, ReadError> {
        let of_file = pieces.iter().map(|piece| match piece {
            Piece::File(range) => range.end - range.start,
            Piece::Memory(_) => 0,
        });
        let is_long = of_file.sum::<u64>() > IN_MEMORY;
        match &self.bytes {
            Place::File { file, version, way } if is_long => {
                let content = FileContent::new(Arc::clone(file), *version, pieces, *way);
                return Ok(Body::File(Box::new(content)));
            }
            Place::Copy(copy, _) if is_long => {
                let content = FileContent::copied(Arc::clone(copy), pieces);
                return Ok(Body::File(Box::new(content)));
            }
            _ => {}
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
}

/// The metadata of a large file when its state tells its version, which takes a moment after a change.
/// A file that somebody writes to all the time is not waited for.
async fn settled(file: &OwnedFd, mut metadata: Metadata) -> Result<Metadata, Failure> {
    for _ in 0..SETTLING {
        let now = SystemTime::now();
        let state = state(&metadata);
        let Some(rest) = state.age(now).and_then(|age| SETTLED.checked_sub(age)) else {
            break;
        };
        tokio::time::sleep(rest + Duration::from_millis(1)).await;
        metadata = look(file)?;
    }
    Ok(metadata)
}

/// Waits until nobody writes to a file any more who began before the file had this metadata. Returns
/// whether the file rests, so that there was nothing to wait for.
///
/// The times of a file change when a write begins, and its content until the write ends: what is
/// read in between belongs to no version. Writers hold the file's lock in the kernel (`i_rwsem`), for
/// which a look for data in the file waits; where a filesystem does without it there, such as XFS,
/// its reads themselves wait.
async fn wait_for_writers(file: &Arc<OwnedFd>, metadata: &Metadata) -> bool {
    let age = state(metadata).age(SystemTime::now());
    let is_resting = age.is_some_and(|age| age > RESTING);
    if !is_resting {
        let file = Arc::clone(file);
        // A file without data has no answer to give, and a filesystem may have none.
        let look = move || rustix::fs::seek(&*file, SeekFrom::Data(0)).ok();
        let _ = tokio::task::spawn_blocking(look).await;
    }
    is_resting
}

/// What tells one state of the file from another.
pub(super) fn state(metadata: &Metadata) -> FileState {
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
    let read = match read(file, &range, Wait::Never) {
        Err(Errno::AGAIN | Errno::OPNOTSUPP) => {
            let file = Arc::clone(file);
            let reading = tokio::task::spawn_blocking(move || read(&file, &range, Wait::Allowed));
            reading.await.unwrap_or(Err(Errno::CANCELED))
        }
        outcome => outcome,
    };
    match read {
        Ok(bytes) => bytes.ok_or(ReadError::Changed),
        Err(error) => Err(Failure::system("reading a file", &error.into()).into()),
    }
}

/// Reads exactly the range. None where the file has become shorter: it is another version.
fn read(file: &OwnedFd, range: &Range<u64>, wait: Wait) -> Result<Option<Bytes>, Errno> {
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
            Ok(0) => return Ok(None),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(bytes.into()))
}

/// Reads a range of a copy, which is in memory.
pub(super) fn read_copy(copy: &KernelCopy, range: Range<u64>) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
    copy.read(&mut bytes, range.start)?;
    Ok(bytes.into())
}

/// The metadata that an open file has now.
fn look(file: &OwnedFd) -> Result<Metadata, Failure> {
    Metadata::of(file).map_err(|error| {
        let error = match error {
            OpenError::System(error) => error,
            error => std::io::Error::other(error),
        };
        Failure::system("looking at a file", &error)
    })
}

/// 503: a file that is written to all the time.
fn changing() -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, Cause::Changing)
}
