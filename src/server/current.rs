//! The configuration in force: one snapshot, swapped as a whole.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use crate::site::Snapshot;

/// The one place that says which snapshot new requests begin with.
#[derive(Debug, Clone)]
pub struct Current(Arc<ArcSwap<Snapshot>>);

impl Current {
    /// Begins with this snapshot.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self(Arc::new(ArcSwap::new(snapshot)))
    }

    /// The snapshot in force. Whoever holds it keeps it, whatever is swapped meanwhile.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Whether that is this one.
    pub fn is(&self, snapshot: &Weak<Snapshot>) -> bool {
        Arc::as_ptr(&self.0.load()) == snapshot.as_ptr()
    }

    /// Puts another in force for every request that begins from now on.
    pub fn swap(&self, snapshot: Arc<Snapshot>) {
        self.0.store(snapshot);
    }
}
