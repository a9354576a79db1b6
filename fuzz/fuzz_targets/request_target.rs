//! A target never names anything outside of the root, whatever its bytes.

#![no_main]

use http::Request;
use libfuzzer_sys::fuzz_target;
use pywebd::semantics::target::{Path, Target};

fuzz_target!(|text: &str| {
    if let Ok(path) = Path::parse(text) {
        check(path.as_bytes());
        let again = Path::parse(&path.to_uri()).map(|path| path.as_bytes().to_vec());
        assert_eq!(again.as_deref(), Ok(path.as_bytes()), "a path survives its own URI");
    }
    if let Ok(request) = Request::builder().uri(text).header("host", "x").body(()) {
        let (head, ()) = request.into_parts();
        if let Ok(target) = Target::parse(&head) {
            check(target.path.as_bytes());
        }
    }
});

fn check(path: &[u8]) {
    assert_eq!(path[0], b'/');
    assert!(!path.contains(&0) && !path.windows(2).any(|pair| pair == b"//"));
    assert!(!path.split(|&byte| byte == b'/').any(|name| name == b"." || name == b".."));
}
