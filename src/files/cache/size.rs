//! How much is kept.

/// `[cache] size`: what is kept in memory at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A share of the machine's memory.
    Auto,
    /// Bytes; none is no cache.
    Bytes(u64),
}

/// The share of a machine's memory, and its bounds.
const SHARE: u64 = 32;
const FEWEST: u64 = 4 << 20;
const MOST: u64 = 128 << 20;

impl Size {
    /// In bytes, on this machine.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Auto => {
                let system = rustix::system::sysinfo();
                let memory = system.totalram.saturating_mul(system.mem_unit.into());
                (memory / SHARE).clamp(FEWEST, MOST)
            }
        }
    }
}
