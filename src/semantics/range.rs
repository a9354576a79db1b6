//! Byte ranges: RFC 9110 §14.
//!
//! Positions beyond 64 bits are beyond any content, so they are taken as the largest number:
//! arithmetic here cannot overflow.

use std::ops::Range;

use crate::semantics::fields;

/// Ranges that a set may have; a longer set is ignored. Nobody who reads a file has use for more,
/// and many small or overlapping ones are an attack (RFC 9110 §17.15).
const MOST: usize = 16;

/// What a `Range` field comes to for content of a given length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// No range, an unknown unit, a malformed set, or one that is an attack: the whole content
    /// (§14.2).
    Whole,
    /// One range of bytes, not empty, within the length.
    Part(Range<u64>),
    /// Several such ranges in the order they were asked for, none of which shares a byte with
    /// another.
    Parts(Vec<Range<u64>>),
    /// No range of the set can be satisfied: 416 (§15.5.17).
    Unsatisfiable,
}

/// A set of byte ranges as it was asked for; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ByteRanges(Vec<ByteRange>);

/// One byte range as it was asked for (§14.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByteRange {
    /// `first-last`, or `first-` with the largest number as last.
    Positions { first: u64, last: u64 },
    /// `-length`: so many bytes at the end.
    Suffix { length: u64 },
}

/// Selects from content of `length` bytes what the value of a `Range` field asks for.
pub fn select(value: &[u8], length: u64) -> Selection {
    let Some(ByteRanges(ranges)) = ByteRanges::parse(value) else {
        return Selection::Whole;
    };
    let satisfiable = || ranges.iter().filter(|range| range.is_satisfiable(length));
    if satisfiable().next().is_none() {
        return Selection::Unsatisfiable;
    }
    if length == 0 {
        // A suffix of empty content is satisfiable, but no Content-Range could tell it.
        return Selection::Whole;
    }
    let mut parts: Vec<_> = satisfiable().map(|range| range.within(length)).collect();
    match &parts[..] {
        [_] => Selection::Part(parts.remove(0)),
        _ if share_a_byte(&parts) => Selection::Whole,
        _ => Selection::Parts(parts),
    }
}

/// Ranges that overlap make an answer longer than the content (RFC 9110 §17.15), and no client has
/// use for them.
fn share_a_byte(parts: &[Range<u64>]) -> bool {
    let mut sorted: Vec<_> = parts.iter().collect();
    sorted.sort_by_key(|part| part.start);
    sorted.windows(2).any(|pair| pair[0].end > pair[1].start)
}

impl ByteRanges {
    /// Parses `bytes=` and a list of ranges; nothing where anything else stands, or too many.
    fn parse(value: &[u8]) -> Option<Self> {
        let unit = value.iter().position(|&byte| byte == b'=')?;
        if !value[..unit].eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let members = fields::members(&value[unit + 1..]).take(MOST + 1);
        let ranges: Vec<_> = members.map(ByteRange::parse).collect::<Option<_>>()?;
        (1..=MOST).contains(&ranges.len()).then_some(Self(ranges))
    }
}

impl ByteRange {
    fn parse(text: &[u8]) -> Option<Self> {
        let dash = text.iter().position(|&byte| byte == b'-')?;
        let (first, last) = (&text[..dash], &text[dash + 1..]);
        if first.is_empty() {
            let length = number(last)?;
            return Some(Self::Suffix { length });
        }
        let first = number(first)?;
        let last = if last.is_empty() {
            u64::MAX
        } else {
            number(last)?
        };
        (first <= last).then_some(Self::Positions { first, last })
    }

    fn is_satisfiable(self, length: u64) -> bool {
        match self {
            Self::Positions { first, .. } => first < length,
            Self::Suffix { length: wanted } => wanted > 0,
        }
    }

    /// The bytes of a satisfiable range.
    fn within(self, length: u64) -> Range<u64> {
        match self {
            Self::Positions { first, last } => first..last.saturating_add(1).min(length),
            Self::Suffix { length: wanted } => length.saturating_sub(wanted)..length,
        }
    }
}

/// One or more digits, as the largest number where they say more.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(10)?;
        Some(number.saturating_mul(10).saturating_add(digit.into()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(range: Range<u64>) -> Selection {
        Selection::Part(range)
    }

    #[test]
    fn a_single_range_of_a_hundred_bytes() {
        for (value, expected) in [
            ("bytes=0-0", part(0..1)),
            ("bytes=0-9", part(0..10)),
            ("bytes=99-", part(99..100)),
            ("bytes=0-", part(0..100)),
            ("bytes=90-200", part(90..100)),
            ("bytes=-1", part(99..100)),
            ("bytes=-100", part(0..100)),
            ("bytes=-500", part(0..100)),
            ("BYTES=1-2", part(1..3)),
            ("bytes= 1-2 ,", part(1..3)),
            ("bytes=007-08", part(7..9)),
            ("bytes=5-99999999999999999999999", part(5..100)),
            ("bytes=-99999999999999999999999", part(0..100)),
            ("bytes=18446744073709551615-", Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", Selection::Unsatisfiable),
            ("bytes=100-", Selection::Unsatisfiable),
            ("bytes=100-200", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
        ] {
            assert_eq!(select(value.as_bytes(), 100), expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_set_of_byte_ranges_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=2-1",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes=+1-2",
            "bytes=1 - 2",
            "bytes=0x1-2",
            "bytes =1-2",
            "bytes:1-2",
            "items=1-2",
            "=1-2",
            "bytes=1-2;",
            "bytes=1-2,x",
            "bytes=2-1,0-1",
        ] {
            assert_eq!(select(value.as_bytes(), 100), Selection::Whole, "{value}");
        }
    }

    #[test]
    fn several_ranges_are_parts_in_the_order_they_were_asked_for() {
        for (value, expected) in [
            ("bytes=0-1,3-4", vec![0..2, 3..5]),
            ("bytes=3-4,0-1", vec![3..5, 0..2]),
            ("bytes=0-1,2-3", vec![0..2, 2..4]),
            ("bytes=0-1,200-,-1", vec![0..2, 99..100]),
        ] {
            let expected = Selection::Parts(expected);
            assert_eq!(select(value.as_bytes(), 100), expected, "{value}");
        }
        for (value, expected) in [
            ("bytes=0-1,200-", part(0..2)),
            ("bytes=100-,-0", Selection::Unsatisfiable),
            ("bytes=0-1,1-2", Selection::Whole),
            ("bytes=50-60,0-99", Selection::Whole),
            ("bytes=0-,-1", Selection::Whole),
            ("bytes=0-0,0-0", Selection::Whole),
        ] {
            assert_eq!(select(value.as_bytes(), 100), expected, "{value}");
        }
    }

    #[test]
    fn a_set_is_bounded() {
        let set = |count| format!("bytes={}", vec!["200-"; count].join(","));
        assert_eq!(select(set(MOST).as_bytes(), 100), Selection::Unsatisfiable);
        assert_eq!(select(set(MOST + 1).as_bytes(), 100), Selection::Whole);
    }

    #[test]
    fn empty_content_has_no_part() {
        for (value, expected) in [
            ("bytes=0-", Selection::Unsatisfiable),
            ("bytes=0-0", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=-1", Selection::Whole),
        ] {
            assert_eq!(select(value.as_bytes(), 0), expected, "{value}");
        }
    }

    #[test]
    fn the_longest_content_has_its_last_byte() {
        let last = u64::MAX - 1;
        assert_eq!(select(b"bytes=-1", u64::MAX), part(last..u64::MAX));
        let value = format!("bytes={last}-{last}");
        assert_eq!(select(value.as_bytes(), u64::MAX), part(last..u64::MAX));
    }

    proptest! {
        #[test]
        fn a_part_has_the_bytes_that_were_asked_for(
            first in proptest::option::of(0_u64..12),
            last in proptest::option::of(0_u64..12),
            length in 0_u64..10,
        ) {
            let text = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
            let value = format!("bytes={}-{}", text(first), text(last));
            let wanted: Vec<u64> = (0..length)
                .filter(|&at| match (first, last) {
                    (Some(first), last) => at >= first && last.is_none_or(|last| at <= last),
                    (None, Some(suffix)) => length - at <= suffix,
                    (None, None) => false,
                })
                .collect();
            match select(value.as_bytes(), length) {
                Selection::Part(range) => prop_assert_eq!(range.collect::<Vec<_>>(), wanted),
                Selection::Parts(parts) => prop_assert!(false, "{parts:?} of one range"),
                Selection::Unsatisfiable => prop_assert!(wanted.is_empty()),
                Selection::Whole => prop_assert!(
                    first > last.or(first) || first.or(last).is_none() || length == 0
                ),
            }
        }

        /// Against a list of what each byte is asked for by.
        #[test]
        fn parts_have_every_byte_as_often_as_it_was_asked_for(
            set in proptest::collection::vec((0_u64..20, 0_u64..20), 2..6),
            length in 1_u64..16,
        ) {
            let value: Vec<_> = set.iter().map(|(first, last)| format!("{first}-{last}")).collect();
            let value = format!("bytes={}", value.join(","));
            let asked = |at: u64| set.iter().filter(|(first, last)| (*first..=*last).contains(&at)).count();
            let is_valid = set.iter().all(|(first, last)| first <= last);
            let selection = select(value.as_bytes(), length);
            let parts = match &selection {
                Selection::Part(part) => vec![part.clone()],
                Selection::Parts(parts) => parts.clone(),
                Selection::Unsatisfiable => vec![],
                Selection::Whole => {
                    prop_assert!(!is_valid || (0..length).any(|at| asked(at) > 1));
                    return Ok(());
                }
            };
            prop_assert!(is_valid);
            for at in 0..length {
                let found = parts.iter().filter(|part| part.contains(&at)).count();
                prop_assert_eq!(found, asked(at), "byte {} of {}", at, value);
            }
        }

        #[test]
        fn a_part_is_within_the_content(value in "bytes=[0-9, -]{0,30}", length in any::<u64>()) {
            if let Selection::Part(range) = select(value.as_bytes(), length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }

        #[test]
        fn parsing_never_panics(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = select(&value, 100);
        }
    }
}
