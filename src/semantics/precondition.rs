//! The evaluation of preconditions: RFC 9110 §13, in the order of §13.2.2.
//!
//! Never used for a script's resource: a script evaluates its own preconditions.

use std::time::SystemTime;

use http::{
    HeaderMap,
    header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE},
};

use crate::semantics::{
    fields::{self, EntityTags, ReceivedTag},
    validator::Validators,
};

/// What the preconditions of a GET or HEAD request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Answer as if there were none.
    Proceed,
    /// 304: the client has it (If-None-Match, If-Modified-Since).
    NotModified,
    /// 412: the client's state is not ours (If-Match, If-Unmodified-Since).
    Failed,
}

/// Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since of a GET or HEAD
/// request for a representation that exists.
pub fn evaluate(fields: &HeaderMap, current: &Validators) -> Judgement {
    // 1. If-Match, by strong comparison (§13.1.1).
    if let Some(tags) = EntityTags::of(fields, &IF_MATCH) {
        if !tags.fit(|tag| current.tag.matches_strongly(tag)) {
            return Judgement::Failed;
        }
    // 2. Without it, If-Unmodified-Since (§13.1.4).
    } else if is_modified(current, fields::date(fields, &IF_UNMODIFIED_SINCE)) == Some(true) {
        return Judgement::Failed;
    }
    // 3. If-None-Match, by weak comparison (§13.1.2).
    if let Some(tags) = EntityTags::of(fields, &IF_NONE_MATCH) {
        if tags.fit(|tag| current.tag.matches_weakly(tag)) {
            return Judgement::NotModified;
        }
    // 4. Without it, If-Modified-Since (§13.1.3).
    } else if is_modified(current, fields::date(fields, &IF_MODIFIED_SINCE)) == Some(false) {
        return Judgement::NotModified;
    }
    // 5. is If-Range, below; 6. the answer.
    Judgement::Proceed
}

/// Whether the representation was modified after a date. Not known without a valid date or
/// without a modification time: then the field is ignored.
fn is_modified(current: &Validators, since: Option<SystemTime>) -> Option<bool> {
    Some(current.modified? > since?)
}

/// Whether `Range` is to be honored: true without `If-Range`, or when it matches strongly
/// (RFC 9110 §13.1.5).
///
/// A date matches when it is the very modification time. That it is a strong validator, so that
/// the representation did not change twice within its second, is why a second that is not over is
/// never told.
pub fn range_applies(fields: &HeaderMap, current: &Validators) -> bool {
    if !fields.contains_key(IF_RANGE) {
        return true;
    }
    let Some(value) = fields::single(fields, IF_RANGE) else {
        return false;
    };
    match ReceivedTag::parse(value.as_bytes()) {
        Some(tag) => current.tag.matches_strongly(tag),
        None => fields::parse_date(value).is_some_and(|date| current.last_modified == Some(date)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::semantics::validator::EntityTag;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    /// Tag `"t"`, modified at `AT`.
    fn current() -> Validators {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        Validators {
            tag: EntityTag(HeaderValue::from_static("\"t\"")),
            modified: Some(time),
            last_modified: Some(time),
        }
    }

    fn fields(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn each_precondition_alone() {
        use Judgement::{Failed, NotModified, Proceed};
        for (name, value, expected) in [
            (IF_MATCH, "\"t\"", Proceed),
            (IF_MATCH, "\"x\", \"t\"", Proceed),
            (IF_MATCH, "*", Proceed),
            (IF_MATCH, "\"x\"", Failed),
            (IF_MATCH, "W/\"t\"", Failed),
            (IF_MATCH, "t", Failed),
            (IF_MATCH, "", Failed),
            (IF_UNMODIFIED_SINCE, BEFORE, Failed),
            (IF_UNMODIFIED_SINCE, AT, Proceed),
            (IF_UNMODIFIED_SINCE, AFTER, Proceed),
            (IF_UNMODIFIED_SINCE, "yesterday", Proceed),
            (IF_NONE_MATCH, "\"t\"", NotModified),
            (IF_NONE_MATCH, "W/\"t\"", NotModified),
            (IF_NONE_MATCH, "\"x\",W/\"t\"", NotModified),
            (IF_NONE_MATCH, "*", NotModified),
            (IF_NONE_MATCH, "\"x\"", Proceed),
            (IF_NONE_MATCH, "t", Proceed),
            (IF_MODIFIED_SINCE, BEFORE, Proceed),
            (IF_MODIFIED_SINCE, AT, NotModified),
            (IF_MODIFIED_SINCE, AFTER, NotModified),
            (
                IF_MODIFIED_SINCE,
                "Sunday, 06-Nov-94 08:49:37 GMT",
                NotModified,
            ),
            (IF_MODIFIED_SINCE, "Sun Nov  6 08:49:37 1994", NotModified),
            (IF_MODIFIED_SINCE, "tomorrow", Proceed),
        ] {
            let fields = fields(&[(name.clone(), value)]);
            assert_eq!(evaluate(&fields, &current()), expected, "{name}: {value}");
        }
        assert_eq!(evaluate(&HeaderMap::new(), &current()), Proceed);
    }

    #[test]
    fn tags_win_over_dates_and_failure_over_not_modified() {
        use Judgement::{Failed, NotModified, Proceed};
        for (lines, expected) in [
            (
                [(IF_MATCH, "\"t\""), (IF_UNMODIFIED_SINCE, BEFORE)],
                Proceed,
            ),
            ([(IF_MATCH, "\"x\""), (IF_UNMODIFIED_SINCE, AFTER)], Failed),
            (
                [(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, AFTER)],
                Proceed,
            ),
            (
                [(IF_NONE_MATCH, "\"t\""), (IF_MODIFIED_SINCE, BEFORE)],
                NotModified,
            ),
            (
                [(IF_NONE_MATCH, "malformed"), (IF_MODIFIED_SINCE, AFTER)],
                Proceed,
            ),
            ([(IF_MATCH, "\"x\""), (IF_NONE_MATCH, "\"t\"")], Failed),
            ([(IF_MATCH, "\"t\""), (IF_NONE_MATCH, "\"t\"")], NotModified),
            (
                [(IF_UNMODIFIED_SINCE, BEFORE), (IF_NONE_MATCH, "\"t\"")],
                Failed,
            ),
            (
                [(IF_UNMODIFIED_SINCE, AT), (IF_MODIFIED_SINCE, AT)],
                NotModified,
            ),
            ([(IF_MODIFIED_SINCE, AT), (IF_MODIFIED_SINCE, AT)], Proceed),
            (
                [(IF_UNMODIFIED_SINCE, BEFORE), (IF_UNMODIFIED_SINCE, BEFORE)],
                Proceed,
            ),
            (
                [(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "\"t\"")],
                NotModified,
            ),
        ] {
            assert_eq!(evaluate(&fields(&lines), &current()), expected, "{lines:?}");
        }
    }

    #[test]
    fn dates_are_ignored_without_a_modification_time() {
        let unknown = Validators {
            modified: None,
            last_modified: None,
            ..current()
        };
        for (name, value) in [(IF_UNMODIFIED_SINCE, BEFORE), (IF_MODIFIED_SINCE, AFTER)] {
            let fields = fields(&[(name, value)]);
            assert_eq!(evaluate(&fields, &unknown), Judgement::Proceed);
        }
        assert!(!range_applies(&fields(&[(IF_RANGE, AT)]), &unknown));
    }

    #[test]
    fn if_range_matches_strongly_or_not_at_all() {
        for (lines, expected) in [
            (&[][..], true),
            (&["\"t\""], true),
            (&[AT], true),
            (&["Sun Nov  6 08:49:37 1994"], true),
            (&["W/\"t\""], false),
            (&["\"x\""], false),
            (&[BEFORE], false),
            (&[AFTER], false),
            (&["*"], false),
            (&[""], false),
            (&["\"t\", \"x\""], false),
            (&["\"t\"", "\"t\""], false),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| (IF_RANGE, *line)).collect();
            assert_eq!(
                range_applies(&fields(&lines), &current()),
                expected,
                "{lines:?}"
            );
        }
    }

    /// The rules once more, from what each field alone says.
    fn naive(parts: [Option<bool>; 4]) -> Judgement {
        let [matches, unmodified, none_match, modified] = parts;
        if !matches.or(unmodified).unwrap_or(true) {
            Judgement::Failed
        } else if !none_match.or(modified).unwrap_or(true) {
            Judgement::NotModified
        } else {
            Judgement::Proceed
        }
    }

    proptest! {
        #[test]
        fn every_combination_agrees_with_the_rules(truths in any::<[Option<bool>; 4]>()) {
            let names = [IF_MATCH, IF_UNMODIFIED_SINCE, IF_NONE_MATCH, IF_MODIFIED_SINCE];
            let values = [["\"x\"", "\"t\""], [BEFORE, AT], ["\"t\"", "\"x\""], [AT, BEFORE]];
            let lines: Vec<_> = (0..4)
                .filter_map(|at| Some((names[at].clone(), values[at][usize::from(truths[at]?)])))
                .collect();
            prop_assert_eq!(evaluate(&fields(&lines), &current()), naive(truths));
        }
    }
}
