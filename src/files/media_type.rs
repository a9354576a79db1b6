//! The media type of a file, from the ending of its name (RFC 9110 §8.3).

use std::sync::Arc;

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

/// Types that are text underneath, beside those that say so.
const TEXT_LIKE: [&str; 12] = [
    "application/javascript",
    "application/json",
    "application/rtf",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-sh",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
];

/// A media type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// As it stands in `Content-Type`.
    pub value: HeaderValue,
    /// Whether content of this type shrinks under a coding: text, and what is text underneath.
    pub is_text_like: bool,
}

/// Media types of the configuration, which come before all others.
#[derive(Debug, Clone, Default)]
pub struct Types(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    /// By the end of a name, with its dot; the longest first.
    endings: Vec<(Box<str>, HeaderValue)>,
    /// For names whose ending says nothing.
    otherwise: Option<HeaderValue>,
}

impl Types {
    /// These endings without their first dot, and the type for names that say nothing.
    pub fn new(
        endings: impl IntoIterator<Item = (String, HeaderValue)>,
        otherwise: Option<HeaderValue>,
    ) -> Self {
        let with_dot = |(ending, value)| (format!(".{ending}").to_lowercase().into(), value);
        let mut endings: Vec<(Box<str>, HeaderValue)> = endings.into_iter().map(with_dot).collect();
        endings.sort_by_key(|(ending, _)| std::cmp::Reverse(ending.len()));
        Self(Arc::new(Rules { endings, otherwise }))
    }

    /// Whether these are the same in memory.
    pub fn are(&self, others: &Self) -> bool {
        Arc::ptr_eq(&self.0, &others.0)
    }

    /// The media type of a file with this name; `application/octet-stream` where nothing says more.
    pub fn of(&self, name: &[u8]) -> MediaType {
        let configured = self.0.endings.iter().find(|(ending, _)| {
            let start = name.len().checked_sub(ending.len());
            start.is_some_and(|start| name[start..].eq_ignore_ascii_case(ending.as_bytes()))
        });
        let value = configured
            .map(|(_, value)| value.clone())
            .or_else(|| known(name))
            .or_else(|| self.0.otherwise.clone())
            .unwrap_or(HeaderValue::from_static("application/octet-stream"));
        MediaType::new(value)
    }
}

impl MediaType {
    fn new(value: HeaderValue) -> Self {
        let essence = essence(&value);
        let is_text_like = essence.starts_with("text/")
            || essence.ends_with("+json")
            || essence.ends_with("+xml")
            || TEXT_LIKE.contains(&&*essence);
        Self {
            value,
            is_text_like,
        }
    }
}

/// A media type without its parameters, in lower case.
pub fn essence(media_type: &HeaderValue) -> String {
    let text = media_type.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default();
    essence.trim_ascii().to_ascii_lowercase()
}

/// The media type that everybody knows for an ending.
fn known(name: &[u8]) -> Option<HeaderValue> {
    let name = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
    let ending = ending(name)?.to_ascii_lowercase();
    if let Ok(index) = OURS.binary_search_by_key(&&*ending, |(known, _)| known) {
        return Some(HeaderValue::from_static(OURS[index].1));
    }
    let guess = mime_guess::from_ext(&ending).first_raw();
    guess.map(HeaderValue::from_static)
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
            let media_type = Types::default().of(name.as_bytes());
            assert_eq!(media_type.value, expected, "{name}");
        }
    }

    #[test]
    fn text_is_compressed_and_pictures_are_not() {
        for (media_type, expected) in [
            ("text/html", true),
            ("text/css; charset=utf-8", true),
            ("image/svg+xml", true),
            ("application/manifest+json", true),
            ("application/json", true),
            ("application/wasm", true),
            ("image/png", false),
            ("font/woff2", false),
            ("application/zip", false),
            ("application/octet-stream", false),
            ("Text/HTML ; charset=utf-8", true),
        ] {
            let value = HeaderValue::from_static(media_type);
            let is_text_like = MediaType::new(value).is_text_like;
            assert_eq!(is_text_like, expected, "{media_type}");
        }
    }

    #[test]
    fn our_list_is_sorted() {
        assert!(OURS.is_sorted_by_key(|(ending, _)| ending));
    }
}
