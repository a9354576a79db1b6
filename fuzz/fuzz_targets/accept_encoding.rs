//! What a client refuses, it never gets.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pywebd::semantics::coding::{Acceptable, Coding};

fuzz_target!(|value: &[u8]| {
    let acceptable = Acceptable::parse(value.split(|&byte| byte == b'\n'));
    let ranked: Vec<Coding> = acceptable.ranked().collect();
    assert!(ranked.len() <= Coding::ALL.len());
    for refused in Coding::ALL {
        let line = format!("{};q=0", refused.name());
        let refusing = Acceptable::parse([value, line.as_bytes()].into_iter());
        assert!(!refusing.ranked().any(|coding| coding == refused));
    }
});
