//! A place for content that is being read.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    files::{
        cache::{
            Cache, Contents, Kept,
            entry::{Key, Known, Stored, Thing, Value},
            watch::Node,
        },
        content::state,
    },
    fs::{Metadata, Opened, Root},
    semantics::validator::EntityTag,
};

/// How long ago a file must have changed for its times to tell another change, where its filesystem
/// keeps whole seconds.
const WHOLE_SECONDS: Duration = Duration::from_secs(3);

/// A place in the cache for the content of a file, taken before the file is read.
#[derive(Debug)]
pub struct Vacancy {
    store: Arc<Contents>,
    key: Key,
    /// Absent where changes of the file are not told.
    node: Option<Arc<Node>>,
    /// Of the file when it was opened, and not watched yet.
    metadata: Metadata,
}

impl Cache {
    /// A place for a file that is open.
    pub(super) fn vacancy(
        &self,
        root: &Root,
        name: &[u8],
        node: Option<Arc<Node>>,
        opened: &Opened,
    ) -> Option<Box<Vacancy>> {
        Some(Box::new(Vacancy {
            store: Arc::clone(self.store().as_ref()?),
            key: Key::name(root.path(), name),
            node,
            metadata: opened.metadata,
        }))
    }
}

impl Vacancy {
    /// What all copies may take: those that are kept, and as much again that slow clients still get.
    pub(in crate::files) fn most_copied(&self) -> u64 {
        self.store.capacity().saturating_mul(2)
    }

    /// Keeps what was read by `now`, unless something has happened to the file since it was opened.
    pub(in crate::files) fn keep(
        self,
        metadata: Metadata,
        (tag, content): (EntityTag, Stored),
        now: SystemTime,
    ) -> Option<Arc<Kept>> {
        let kept = Kept::new(metadata, tag, content);
        if !kept.is_of(&self.metadata) {
            return None;
        }
        let known = match self.node {
            Some(node) if node.is_valid() => Known::Watched(node, Thing::File(Arc::clone(&kept))),
            None if tells_next_change(&metadata, now) => {
                Known::Unwatched(Arc::clone(&kept), Instant::now())
            }
            _ => return None,
        };
        self.store.insert(self.key, Value::Known(Arc::new(known)));
        Some(kept)
    }
}

/// Whether the next change of a file will show in its times.
fn tells_next_change(metadata: &Metadata, now: SystemTime) -> bool {
    let state = state(metadata);
    let has_fractions = metadata.changed.1 != 0;
    let is_old = || state.age(now).is_some_and(|age| age > WHOLE_SECONDS);
    state.is_settled(now) && (has_fractions || is_old())
}
