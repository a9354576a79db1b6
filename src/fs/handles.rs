//! The handles of roots that are open at once, over all sites.
//!
//! A handle saves an opening for each request, but thousands of sites that were all visited would take
//! the descriptors of connections. So the oldest is closed for a new one; whoever opens something beneath
//! it has it until he is done, and the root's next request opens it again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use arc_swap::ArcSwapOption;
use rustix::process::{Resource, getrlimit};

use crate::fs::root::Handle;

/// Where a root has its handle.
pub(super) type Slot = ArcSwapOption<Handle>;

/// However many descriptors there may be.
const MOST: u64 = 65_536;

/// The roots that were opened last, the oldest first. Each slot that has a handle is in it.
static OPEN: Mutex<VecDeque<Weak<Slot>>> = Mutex::new(VecDeque::new());

/// How many of so many descriptors may be handles of roots; `None` is without a limit.
pub fn most(descriptors: Option<u64>) -> u64 {
    descriptors.map_or(MOST, |descriptors| (descriptors / 16).min(MOST))
}

/// Keeps a handle for the next request, and closes the oldest where there are too many.
pub(super) fn keep(slot: &Arc<Slot>, handle: Arc<Handle>) {
    let most = most(getrlimit(Resource::Nofile).current).max(1);
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    while open.len() as u64 >= most {
        let oldest = open.pop_front();
        if let Some(oldest) = oldest.as_ref().and_then(Weak::upgrade) {
            oldest.store(None);
        }
    }
    slot.store(Some(handle));
    open.push_back(Arc::downgrade(slot));
}
