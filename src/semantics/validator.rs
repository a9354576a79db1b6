//! Validators: entity tags and modification times (RFC 9110 §8.8).
//!
//! A tag is made from content that is in memory anyway, or else from a file's metadata: what it costs
//! does not depend on the size of the file.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::HeaderValue;
use rapidhash::v3::rapidhash_v3;

use crate::semantics::fields::ReceivedTag;

/// A strong entity tag, with its quotes: the value of an `ETag` field (RFC 9110 §8.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag(pub HeaderValue);

/// The validators of one representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validators {
    /// The entity tag.
    pub tag: EntityTag,
    /// What dates of preconditions are compared with, in whole seconds: the modification time, or the
    /// next second while its own is not over. Absent at or before the epoch and in the future of the
    /// clock.
    pub modified: Option<SystemTime>,
    /// The same as far as it is told: absent too while its second is not over (RFC 9110 §8.8.2.1).
    pub last_modified: Option<SystemTime>,
}

/// What tells one state of a file from another: a file that is replaced has another identity, and
/// the kernel sets the status change time at every write, which nobody can set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// How far the time of a file's last change must lie back before every later change has another
/// time: two ticks of the coarsest clock that kernels have kept for files.
pub const SETTLED: Duration = Duration::from_millis(20);

impl FileState {
    /// Whether another change of the file would be seen in its state. A file that was changed within
    /// the last tick may change again and look the same; so may one whose change lies in the future
    /// of a clock that was set back.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        self.age(now).is_some_and(|age| age > SETTLED)
    }

    /// How long its last change lies back; none where that is in the future. A time before the epoch
    /// counts as the epoch.
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        let (seconds, nanoseconds) = self.changed;
        let since_epoch = Duration::new(u64::try_from(seconds).unwrap_or(0), nanoseconds);
        let changed = SystemTime::UNIX_EPOCH.checked_add(since_epoch)?;
        now.duration_since(changed).ok()
    }
}

impl Validators {
    /// The validators of content with this tag that was modified at this time.
    pub fn new(tag: EntityTag, modified: (i64, u32), now: SystemTime) -> Self {
        let time = time(modified.0).filter(|time| *time <= now);
        let is_over = |time: &SystemTime| *time + WHOLE_SECOND <= now;
        let last_modified = time.filter(is_over);
        Self {
            tag,
            // Until then, what a client has of this second may be something else.
            modified: last_modified.or(time.map(|time| time + Duration::from_secs(1))),
            last_modified,
        }
    }
}

/// When a second is surely over, from its beginning: files' times may lag behind the clock by a tick.
/// Before, its number does not say which content the file had: a copy of its first half would be
/// taken for one of its second half (RFC 9110 §8.8.2.2).
const WHOLE_SECOND: Duration = Duration::from_millis(1_020);

/// A time at the epoch stands for none: reproducible archives have it.
fn time(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok().filter(|&seconds| seconds > 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// A time as the value of a field (RFC 9110 §5.6.7).
///
/// # Panics
///
/// When it is after the year 9999.
pub fn date(time: SystemTime) -> HeaderValue {
    let value = HeaderValue::try_from(httpdate::fmt_http_date(time));
    value.expect("a date is made of visible characters")
}

impl EntityTag {
    /// The tag of this content.
    ///
    /// Two contents have the same tag with a probability of 2^-64, but for whoever makes one look
    /// like the other on purpose: that is the owner of the file. The hash is the same after a
    /// restart, and on another machine.
    pub fn of_content(content: &[u8]) -> Self {
        Self::quoted(format_args!("{:016x}", rapidhash_v3(content)))
    }

    /// The tag of a file that is too large to be looked at. Where the state is not settled, `now` makes
    /// it a tag that nothing else will ever have.
    ///
    /// Anyone can compute it, but an inode number can only be guessed from it together with all
    /// nanoseconds.
    pub fn of_state(state: &FileState, now: SystemTime) -> Self {
        let FileState {
            device,
            inode,
            size,
            modified,
            changed,
        } = state;
        let now = (!state.is_settled(now)).then(|| now.duration_since(SystemTime::UNIX_EPOCH));
        let once = now.and_then(Result::ok).map_or(0, |since| since.as_nanos());
        let mut bytes = Vec::with_capacity(64);
        for number in [*device, *inode, *size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for (seconds, nanoseconds) in [modified, changed] {
            bytes.extend_from_slice(&seconds.to_le_bytes());
            bytes.extend_from_slice(&nanoseconds.to_le_bytes());
        }
        bytes.extend_from_slice(&once.to_le_bytes());
        Self::of_content(&bytes)
    }

    /// The tag of the same content in a coding (RFC 9110 §8.8.3.3).
    #[must_use]
    pub fn coded(&self, coding: &str) -> Self {
        let tag = self.0.to_str().unwrap_or_default();
        Self::quoted(format_args!("{}-{coding}", tag.trim_matches('"')))
    }

    /// # Panics
    ///
    /// When the text has what cannot stand in a field.
    fn quoted(text: fmt::Arguments<'_>) -> Self {
        let value = HeaderValue::try_from(format!("\"{text}\""));
        Self(value.expect("hexadecimal digits and names of codings are visible characters"))
    }

    /// Strong comparison: both are strong, as ours always are, and equal byte by byte (RFC 9110
    /// §8.8.3.2).
    pub fn matches_strongly(&self, received: ReceivedTag<'_>) -> bool {
        !received.weak && self.matches_weakly(received)
    }

    /// Weak comparison: the opaque tags are equal byte by byte (RFC 9110 §8.8.3.2).
    pub fn matches_weakly(&self, received: ReceivedTag<'_>) -> bool {
        self.0.as_bytes() == received.opaque
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
            .map(|state| EntityTag::of_state(state, at(1_800_000_000)).0)
            .collect();
        assert_eq!(tags.len(), states.len());
    }

    #[test]
    fn a_tag_is_a_well_formed_strong_one_that_does_not_tell_the_inode() {
        let tag = EntityTag::of_state(&STATE, at(1_800_000_000));
        let text = tag.0.to_str().unwrap();
        let parsed = ReceivedTag::parse(text.as_bytes()).unwrap();
        assert!(!parsed.weak);
        assert!(!text.contains(&format!("{:x}", STATE.inode)), "{text}");
        assert_eq!(text, EntityTag::of_state(&STATE, at(1_800_000_000)).0);
    }

    /// The part of the table of RFC 9110 §8.8.3.2 in which ours is strong.
    #[test]
    fn strong_and_weak_comparison() {
        let tag = EntityTag(HeaderValue::from_static("\"1\""));
        for (theirs, strong, weak) in [
            ("W/\"1\"", false, true),
            ("W/\"2\"", false, false),
            ("\"1\"", true, true),
            ("\"2\"", false, false),
        ] {
            let received = ReceivedTag::parse(theirs.as_bytes()).unwrap();
            assert_eq!(tag.matches_strongly(received), strong, "{theirs}");
            assert_eq!(tag.matches_weakly(received), weak, "{theirs}");
        }
    }

    #[test]
    fn a_state_that_is_not_settled_has_a_tag_only_once() {
        let changed = at(1_700_000_001) + Duration::from_nanos(2);
        let of = |age| EntityTag::of_state(&STATE, changed + Duration::from_millis(age));
        assert_ne!(of(1), of(2));
        assert_ne!(of(1), of(1000));
        assert_eq!(of(1000), of(2000));
    }

    #[test]
    fn a_tag_of_content_changes_with_every_byte() {
        let tags = [&b""[..], b"a", b"b", b"ab", b"ba", b"ab\0"].map(EntityTag::of_content);
        for (at, tag) in tags.iter().enumerate() {
            assert!(!tags[..at].contains(tag), "{at}");
        }
        assert_eq!(EntityTag::of_content(b"a"), EntityTag::of_content(b"a"));
    }

    #[test]
    fn each_coding_has_a_tag_of_its_own() {
        let tag = EntityTag(HeaderValue::from_static("\"1\""));
        assert_eq!(tag.coded("br").0, "\"1-br\"");
        assert_ne!(tag.coded("br"), tag.coded("gzip"));
    }

    #[test]
    fn a_state_is_settled_when_the_next_change_would_show() {
        let changed = at(1_700_000_001) + Duration::from_nanos(2);
        for (age, settled) in [
            (0, false),
            (4, false),
            (20, false),
            (21, true),
            (1000, true),
        ] {
            let now = changed + Duration::from_millis(age);
            assert_eq!(STATE.is_settled(now), settled, "{age} ms");
        }
        assert!(
            !STATE.is_settled(changed - Duration::from_secs(60)),
            "set back"
        );
        let old = FileState {
            changed: (-5, 0),
            ..STATE
        };
        assert!(old.is_settled(changed));
    }

    #[test]
    fn a_time_that_cannot_be_is_not_told() {
        let now = at(1_700_000_000) + Duration::from_nanos(7);
        for (seconds, told, compared) in [
            (1_699_999_998, Some(1_699_999_998), Some(1_699_999_998)),
            (1, Some(1), Some(1)),
            // Its second is not over, or has only just been.
            (1_700_000_000, None, Some(1_700_000_001)),
            (1_699_999_999, None, Some(1_700_000_000)),
            (1_700_000_001, None, None),
            (0, None, None),
            (-1, None, None),
            (i64::MIN, None, None),
            (i64::MAX, None, None),
        ] {
            let tag = EntityTag::of_content(b"");
            let validators = Validators::new(tag, (seconds, 999), now);
            assert_eq!(validators.last_modified, told.map(at), "{seconds}");
            assert_eq!(validators.modified, compared.map(at), "{seconds}");
        }
    }
}
