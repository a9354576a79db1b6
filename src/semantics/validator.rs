//! Validators: entity tags and modification times (RFC 9110 §8.8).
//!
//! Made from a file's metadata, never from its content: what a tag costs does not depend on the
//! size of the file.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, SystemTime},
};

use crate::semantics::fields::ReceivedTag;

/// An entity tag, with its quotes (RFC 9110 §8.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    /// Whether the tag is marked `W/`.
    pub weak: bool,
    /// The opaque tag with its quotes.
    pub opaque: String,
}

/// The validators of one representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validators {
    /// The entity tag.
    pub tag: EntityTag,
    /// The modification time in whole seconds; absent at or before the epoch and in the future
    /// of the clock (RFC 9110 §8.8.2.1).
    pub last_modified: Option<SystemTime>,
}

/// What tells one state of a file from another: a file that is replaced has another identity, and
/// the kernel sets the status change time at every write, which nobody can set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileState {
    /// The filesystem's device number.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time: seconds since the epoch and nanoseconds.
    pub modified: (i64, u32),
    /// Status change time: seconds since the epoch and nanoseconds.
    pub changed: (i64, u32),
}

impl Validators {
    /// The validators of a file's content as it is: a strong tag, and the modification time as
    /// far as it can be told.
    pub fn of_file(state: &FileState, now: SystemTime) -> Self {
        Self {
            tag: EntityTag::of_file(state),
            last_modified: last_modified(state.modified.0, now),
        }
    }
}

/// A time at the epoch stands for none (reproducible archives have it), and one in the future
/// would match what is modified until then.
fn last_modified(seconds: i64, now: SystemTime) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok().filter(|&seconds| seconds > 0)?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    (time <= now).then_some(time)
}

impl EntityTag {
    /// The strong tag of a file's state, as 64 bits in hexadecimal.
    ///
    /// Two states of one file have the same tag with a probability of 2^-64. The hash has fixed
    /// keys, so a restart keeps the tags that clients hold (another release of the standard
    /// library may not, which costs them one full answer). That also lets anyone compute it, but
    /// an inode number can only be guessed from it together with all nanoseconds.
    fn of_file(state: &FileState) -> Self {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        Self {
            weak: false,
            opaque: format!("\"{:016x}\"", hasher.finish()),
        }
    }

    /// Strong comparison: both are strong, and equal byte by byte (RFC 9110 §8.8.3.2).
    pub fn matches_strongly(&self, received: ReceivedTag<'_>) -> bool {
        !self.weak && !received.weak && self.matches_weakly(received)
    }

    /// Weak comparison: the opaque tags are equal byte by byte (RFC 9110 §8.8.3.2).
    pub fn matches_weakly(&self, received: ReceivedTag<'_>) -> bool {
        self.opaque.as_bytes() == received.opaque
    }
}

/// The value of an `ETag` field.
impl fmt::Display for EntityTag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.weak { "W/" } else { "" };
        write!(out, "{mark}{}", self.opaque)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: FileState = FileState {
        device: 2049,
        inode: 131_072,
        size: 1024,
        modified: (1_700_000_000, 1),
        changed: (1_700_000_001, 2),
    };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_tag_changes_with_every_part_of_the_state() {
        let states = [
            STATE,
            FileState {
                device: 2050,
                ..STATE
            },
            FileState {
                inode: 131_073,
                ..STATE
            },
            FileState {
                size: 1025,
                ..STATE
            },
            FileState {
                modified: (1_700_000_001, 1),
                ..STATE
            },
            FileState {
                modified: (1_700_000_000, 2),
                ..STATE
            },
            FileState {
                changed: (1_700_000_002, 2),
                ..STATE
            },
            FileState {
                changed: (1_700_000_001, 3),
                ..STATE
            },
            FileState {
                modified: (-1, 0),
                ..STATE
            },
        ];
        let tags: std::collections::HashSet<_> = states
            .iter()
            .map(|state| EntityTag::of_file(state).opaque)
            .collect();
        assert_eq!(tags.len(), states.len());
    }

    #[test]
    fn a_tag_is_a_well_formed_strong_one_that_does_not_tell_the_inode() {
        let text = EntityTag::of_file(&STATE).to_string();
        let parsed = ReceivedTag::parse(text.as_bytes()).unwrap();
        assert!(!parsed.weak);
        assert!(!text.contains(&format!("{:x}", STATE.inode)), "{text}");
        assert_eq!(text, EntityTag::of_file(&STATE).to_string());
    }

    /// The table of RFC 9110 §8.8.3.2.
    #[test]
    fn strong_and_weak_comparison() {
        for (ours, theirs, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "W/\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let tag = EntityTag {
                weak: ours.starts_with('W'),
                opaque: ours.trim_start_matches("W/").to_owned(),
            };
            let received = ReceivedTag::parse(theirs.as_bytes()).unwrap();
            assert_eq!(tag.to_string(), ours);
            assert_eq!(tag.matches_strongly(received), strong, "{ours} {theirs}");
            assert_eq!(tag.matches_weakly(received), weak, "{ours} {theirs}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_is_not_told() {
        let now = at(1_700_000_000) + Duration::from_nanos(7);
        for (seconds, expected) in [
            (1_700_000_000, Some(at(1_700_000_000))),
            (1, Some(at(1))),
            (1_700_000_001, None),
            (0, None),
            (-1, None),
            (i64::MIN, None),
            (i64::MAX, None),
        ] {
            let state = FileState {
                modified: (seconds, 999),
                ..STATE
            };
            let validators = Validators::of_file(&state, now);
            assert_eq!(validators.last_modified, expected, "{seconds}");
        }
    }
}
