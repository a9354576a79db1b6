//! From a request's fields and a representation to the status and the bytes of the answer
//! (RFC 9110 §13.2.2 then §14.2).

use http::{HeaderMap, Method, header::RANGE};

use crate::semantics::{
    fields,
    precondition::{self, Judgement},
    range::{self, Selection},
    validator::Validators,
};

/// What is sent of a representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200 with all of it, 206 with one part or several (RFC 9110 §14.6), or 416.
    Content(Selection),
    /// 304 without content.
    NotModified,
    /// 412.
    PreconditionFailed,
}

/// Whether a request asks for a part, which is one of the content as it is, without a coding. A
/// range is ignored for every method but GET (RFC 9110 §14.2).
pub fn asks_for_part(method: &Method, fields: &HeaderMap) -> bool {
    *method == Method::GET && fields.contains_key(RANGE)
}

/// Chooses the answer to a GET or HEAD request for a representation. `length` is that of its content
/// in bytes, where it can be given in parts.
pub fn select(
    method: &Method,
    fields: &HeaderMap,
    current: &Validators,
    length: Option<u64>,
) -> Answer {
    match precondition::evaluate(fields, current) {
        Judgement::Failed => return Answer::PreconditionFailed,
        Judgement::NotModified => return Answer::NotModified,
        Judgement::Proceed => {}
    }
    let (Some(length), Some(value)) = (length, fields::single(fields, RANGE)) else {
        return Answer::Content(Selection::Whole);
    };
    if !asks_for_part(method, fields) || !precondition::range_applies(fields, current) {
        return Answer::Content(Selection::Whole);
    }
    Answer::Content(range::select(value.as_bytes(), length))
}

#[cfg(test)]
mod tests {
    use http::{
        HeaderName, HeaderValue,
        header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE},
    };

    use super::*;
    use crate::semantics::validator::EntityTag;

    fn whole() -> Answer {
        Answer::Content(Selection::Whole)
    }

    fn answer(method: &Method, lines: &[(HeaderName, &'static str)]) -> Answer {
        let fields: HeaderMap = lines
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        let current = Validators {
            tag: EntityTag(HeaderValue::from_static("\"t\"")),
            modified: None,
            last_modified: None,
        };
        select(method, &fields, &current, Some(100))
    }

    #[test]
    fn preconditions_come_before_ranges() {
        for (lines, expected) in [
            (&[][..], whole()),
            (
                &[(RANGE, "bytes=0-9")],
                Answer::Content(Selection::Part(0..10)),
            ),
            (
                &[(RANGE, "bytes=100-")],
                Answer::Content(Selection::Unsatisfiable),
            ),
            (&[(RANGE, "bytes=x")], whole()),
            (
                &[(RANGE, "bytes=0-0,5-5")],
                Answer::Content(Selection::Parts(vec![0..1, 5..6])),
            ),
            (
                &[(RANGE, "bytes=100-"), (IF_NONE_MATCH, "\"t\"")],
                Answer::NotModified,
            ),
            (
                &[(RANGE, "bytes=0-9"), (IF_MATCH, "\"x\"")],
                Answer::PreconditionFailed,
            ),
            (
                &[(RANGE, "bytes=0-9"), (IF_MATCH, "\"t\"")],
                Answer::Content(Selection::Part(0..10)),
            ),
        ] {
            assert_eq!(answer(&Method::GET, lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn if_range_that_does_not_match_makes_it_whole() {
        for (tag, range, expected) in [
            (
                "\"t\"",
                "bytes=0-9",
                Answer::Content(Selection::Part(0..10)),
            ),
            ("\"x\"", "bytes=0-9", whole()),
            ("W/\"t\"", "bytes=0-9", whole()),
            ("\"x\"", "bytes=100-", whole()),
            (
                "\"t\"",
                "bytes=100-",
                Answer::Content(Selection::Unsatisfiable),
            ),
        ] {
            let lines = [(RANGE, range), (IF_RANGE, tag)];
            assert_eq!(answer(&Method::GET, &lines), expected, "{lines:?}");
        }
        let without_range = [(IF_RANGE, "\"x\"")];
        assert_eq!(answer(&Method::GET, &without_range), whole());
    }

    #[test]
    fn a_range_on_several_lines_is_ignored() {
        let lines = [(RANGE, "bytes=0-1"), (RANGE, "bytes=0-1")];
        assert_eq!(answer(&Method::GET, &lines), whole());
    }

    #[test]
    fn head_ignores_ranges_but_not_preconditions() {
        for (lines, expected) in [
            (&[(RANGE, "bytes=0-9")][..], whole()),
            (&[(RANGE, "bytes=100-")], whole()),
            (&[(IF_NONE_MATCH, "*")], Answer::NotModified),
            (&[(IF_MATCH, "\"x\"")], Answer::PreconditionFailed),
        ] {
            assert_eq!(answer(&Method::HEAD, lines), expected, "{lines:?}");
        }
    }
}
