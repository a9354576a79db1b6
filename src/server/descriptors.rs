//! How many connections the process has descriptors for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{fs::handles, server::error::StartError};

/// Descriptors for everything but connections, their files and the roots of sites: listeners, workers, connections that
/// are being turned away, and the pipes of some scripts.
const RESERVE: u64 = 256;

/// Raises the limit of descriptors as far as this process may (scripts are started by another one
/// and keep theirs). Returns how many connections fit: each may have a file open beside its socket.
/// So at the limit of connections every one of them is still answered.
pub fn connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(_) => limit,
    };
    fitting(limit.current)
}

/// Fails where so many listeners, each with a descriptor for every worker, would leave too few for
/// connections.
pub fn admit(listeners: usize, workers: usize) -> Result<(), StartError> {
    let Some(descriptors) = getrlimit(Resource::Nofile).current else {
        return Ok(());
    };
    let needed = listeners.saturating_mul(workers + 1) as u64;
    if needed <= descriptors / 4 {
        return Ok(());
    }
    Err(StartError::TooManyListeners {
        listeners,
        workers,
        descriptors,
    })
}

/// `None` is without a limit.
fn fitting(descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors else {
        return usize::MAX;
    };
    let reserve = RESERVE.min(descriptors / 4 * 3);
    let roots = handles::most(Some(descriptors));
    let fitting = ((descriptors - reserve - roots) / 2).max(1);
    usize::try_from(fitting).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_may_have_a_file_open() {
        for (descriptors, expected) in [
            (Some(1024), 352),
            (Some(20_000), 9_247),
            (Some(40), 4),
            (Some(0), 1),
            (None, usize::MAX),
        ] {
            assert_eq!(fitting(descriptors), expected, "{descriptors:?}");
        }
    }
}
