//! What the cache keeps: what names lead to, small files, and codings of them.

use std::{
    hash::{Hash, Hasher},
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::HeaderValue;
use quick_cache::{Equivalent, Weighter};

use crate::{
    files::{
        cache::watch::Node,
        content::state,
        media_type::{MediaType, Types},
    },
    fs::Metadata,
    semantics::{
        coding::Coding,
        validator::{self, EntityTag},
    },
    sys::kernel_copy::KernelCopy,
};

/// One version of a file, in memory.
#[derive(Debug)]
pub struct Kept {
    /// What no other has.
    id: u64,
    /// Its metadata when it was read.
    pub metadata: Metadata,
    /// The tag of its content.
    pub tag: EntityTag,
    /// Its content.
    pub content: Stored,
    /// Its modification time in words, once that was told.
    last_modified: OnceLock<HeaderValue>,
    /// Its media type, and by which rules that is so.
    media_type: ArcSwapOption<(Types, MediaType)>,
}

/// Content in memory.
#[derive(Debug, Clone)]
pub enum Stored {
    /// In ours: a small file's.
    Bytes(Bytes),
    /// In the kernel's: a larger one's.
    Copy(Arc<KernelCopy>),
}

impl Stored {
    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Copy(copy) => copy.length(),
        }
    }
}

impl Kept {
    /// A version that was read just now.
    pub(super) fn new(metadata: Metadata, tag: EntityTag, content: Stored) -> Arc<Self> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            metadata,
            tag,
            content,
            last_modified: OnceLock::new(),
            media_type: ArcSwapOption::empty(),
        })
    }

    /// The `Last-Modified` of this file, which says this time in all of its answers.
    pub fn last_modified(&self, time: SystemTime) -> HeaderValue {
        let value = self.last_modified.get_or_init(|| validator::date(time));
        value.clone()
    }

    /// Its media type; `name` is the one that it was found by.
    pub fn media_type(&self, types: &Types, name: &[u8]) -> MediaType {
        if let Some(known) = &*self.media_type.load()
            && known.0.are(types)
        {
            return known.1.clone();
        }
        let media_type = types.of(name);
        let known = (types.clone(), media_type.clone());
        self.media_type.store(Some(Arc::new(known)));
        media_type
    }

    /// Whether this is the version that an open file has now.
    pub(super) fn is_of(&self, metadata: &Metadata) -> bool {
        state(&self.metadata) == state(metadata)
            && self.metadata.permissions == metadata.permissions
    }
}

/// What something is kept under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// A name below a root.
    Name { root: Arc<Path>, name: Box<[u8]> },
    /// A coding of a kept file.
    Coding { of: u64, coding: Coding },
}

impl Key {
    pub fn name(root: &Arc<Path>, name: &[u8]) -> Self {
        let root = Arc::clone(root);
        let name = name.into();
        Self::Name { root, name }
    }

    pub fn coding(kept: &Kept, coding: Coding) -> Self {
        let of = kept.id;
        Self::Coding { of, coding }
    }
}

/// The key of a name, borrowed.
pub(super) struct NameKey<'k> {
    pub root: &'k Path,
    pub name: &'k [u8],
}

impl Hash for NameKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.root.as_os_str().as_encoded_bytes());
        state.write(self.name);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Name { root, name } => NameKey { root, name }.hash(state),
            Self::Coding { of, coding } => (of, coding).hash(state),
        }
    }
}

impl Equivalent<Key> for NameKey<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        match key {
            // As texts: as paths they would be taken apart.
            Key::Name { root, name } => {
                **name == *self.name && root.as_os_str() == self.root.as_os_str()
            }
            Key::Coding { .. } => false,
        }
    }
}

/// What is kept.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Of a name.
    Known(Arc<Known>),
    /// A coding.
    Coded(Bytes),
}

/// What is known of a name.
#[derive(Debug)]
pub(super) enum Known {
    /// For as long as nothing happens to it.
    Watched(Arc<Node>, Thing),
    /// A file whose changes were not told then: its metadata is asked for each time.
    Unwatched(Arc<Kept>, Instant),
    /// A file that is not kept in memory, for its size, and how often it was asked for since that was
    /// thought over.
    Large(AtomicU32),
    /// A directory that could not be watched then.
    Untold(Instant),
}

/// What a name leads to.
#[derive(Debug)]
pub(super) enum Thing {
    /// Nothing.
    Absent,
    /// A directory; the number under which the names in it are watched.
    Directory(i32),
    /// A file.
    File(Arc<Kept>),
}

/// What a value takes of memory, as well as it is known: its bytes, and what goes with each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight;

/// What an entry takes beside its key and its content: the entry, the node and its name in the table
/// of watches, here and in the kernel.
const ENTRY: usize = 1024;

impl Weighter<Key, Value> for Weight {
    fn weight(&self, key: &Key, value: &Value) -> u64 {
        let name = match key {
            // Twice: in the table of watches, too.
            Key::Name { name, .. } => name.len() * 2,
            Key::Coding { .. } => 0,
        };
        let content = match value {
            Value::Coded(bytes) => bytes.len() as u64,
            Value::Known(known) => match &**known {
                Known::Watched(_, Thing::File(kept)) | Known::Unwatched(kept, _) => {
                    kept.content.length()
                }
                Known::Watched(..) | Known::Large(_) | Known::Untold(_) => 0,
            },
        };
        (ENTRY + name) as u64 + content
    }
}
