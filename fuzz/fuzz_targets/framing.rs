//! A stream of requests has the same sections, or the same violation, however it is cut into pieces; what
//! is one head is one section.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pywebd::transport::framing::{Framing, is_one_head};

fuzz_target!(|input: (u8, &[u8])| {
    let (step, stream) = input;
    let whole = status(stream, stream.len().max(1));
    let pieces = status(stream, usize::from(step).max(1));
    assert_eq!(whole, pieces);
    if is_one_head(stream) {
        let mut framing = Framing::default();
        assert_eq!(framing.admit(stream), Ok(stream.len()));
        assert!(framing.is_between_requests());
    }
});

/// The status of a violation, if the stream has one.
fn status(stream: &[u8], step: usize) -> Option<u16> {
    let mut framing = Framing::default();
    for piece in stream.chunks(step) {
        let mut rest = piece;
        while !rest.is_empty() {
            match framing.admit(rest) {
                Ok(count) => {
                    assert!((1..=rest.len()).contains(&count));
                    rest = &rest[count..];
                }
                Err(violation) => return Some(violation.status.as_u16()),
            }
        }
    }
    None
}
