//! How many connections a launcher has descriptors for.

use rustix::process::{Resource, getrlimit};

use crate::fs::handles;

/// The most connections, and so the most scripts, at once.
const MOST: usize = 4096;

/// Descriptors that are kept for other things than connections and the roots of sites: the streams of a
/// script that is being started, its file and directory, the configuration's files.
const RESERVE: u64 = 64;

/// As many as there may be at once.
pub fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let taken = RESERVE + handles::most(limit);
    let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(taken));
    usize::try_from(left).map_or(MOST, |left| left.clamp(1, MOST))
}
