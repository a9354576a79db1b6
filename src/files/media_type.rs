//! The media type of a file, from the ending of its name (RFC 9110 §8.3).

use http::HeaderValue;

/// Where the list of `mime_guess` is older than the standards or leaves a type out. Text that
/// carries no mark of its own encoding is UTF-8; HTML and XML can say otherwise themselves.
const OURS: &[(&str, &str)] = &[
    ("cjs", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("log", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("py", "text/x-python; charset=utf-8"),
    ("sh", "text/x-sh; charset=utf-8"),
    ("toml", "text/plain; charset=utf-8"),
    ("ts", "text/plain; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("webmanifest", "application/manifest+json"),
    ("yaml", "text/plain; charset=utf-8"),
    ("yml", "text/plain; charset=utf-8"),
    ("zst", "application/zstd"),
];

/// The media type of a file with this name; `application/octet-stream` when the ending says
/// nothing.
pub fn of(name: &[u8]) -> HeaderValue {
    let name = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
    let Some(ending) = ending(name) else {
        return HeaderValue::from_static("application/octet-stream");
    };
    let ending = ending.to_ascii_lowercase();
    if let Ok(index) = OURS.binary_search_by_key(&&*ending, |(known, _)| known) {
        return HeaderValue::from_static(OURS[index].1);
    }
    let guess = mime_guess::from_ext(&ending).first_raw();
    HeaderValue::from_static(guess.unwrap_or("application/octet-stream"))
}

fn ending(name: &[u8]) -> Option<&str> {
    let dot = name.iter().rposition(|&byte| byte == b'.')?;
    std::str::from_utf8(&name[dot + 1..]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_decides() {
        for (name, expected) in [
            ("a.html", "text/html"),
            ("d.e/A.HTM", "text/html"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.jpg", "image/jpeg"),
            ("a.svg", "image/svg+xml"),
            ("a.tar.gz", "application/gzip"),
            ("a.woff2", "font/woff2"),
            ("a.wasm", "application/wasm"),
            ("README", "application/octet-stream"),
            ("d.html/plain", "application/octet-stream"),
            ("a.no-such-ending", "application/octet-stream"),
        ] {
            assert_eq!(of(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn our_list_is_sorted() {
        assert!(OURS.is_sorted_by_key(|(ending, _)| ending));
    }
}
