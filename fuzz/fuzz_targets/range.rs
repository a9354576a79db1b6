//! Parts lie within the content, do not share a byte, and are few.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pywebd::semantics::range::{Selection, select};

fuzz_target!(|input: (u64, &[u8])| {
    let (length, value) = input;
    let mut parts = match select(value, length) {
        Selection::Part(part) => vec![part],
        Selection::Parts(parts) => parts,
        Selection::Whole | Selection::Unsatisfiable => return,
    };
    assert!(parts.len() <= 16);
    parts.sort_by_key(|part| part.start);
    for part in &parts {
        assert!(part.start < part.end && part.end <= length);
    }
    assert!(parts.windows(2).all(|pair| pair[0].end <= pair[1].start));
});
