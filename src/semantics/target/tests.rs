//! Targets: what is taken, in which form, and what is refused.

use http::Request;
use proptest::prelude::*;

use super::*;

fn path(raw: &str) -> Option<Vec<u8>> {
    Path::parse(raw).ok().map(|path| path.as_bytes().to_vec())
}

#[test]
fn a_path_is_decoded_once() {
    for (raw, decoded) in [
        ("/", &b"/"[..]),
        ("/a/b", b"/a/b"),
        ("/a/", b"/a/"),
        ("//a///b//", b"/a/b/"),
        ("/caf%C3%a9", "/café".as_bytes()),
        ("/café", "/café".as_bytes()),
        ("/%2541", b"/%41"),
        ("/%252e%252e/a", b"/%2e%2e/a"),
        ("/a%20b+c", b"/a b+c"),
        ("/...", b"/..."),
        ("/.a/..b/c.", b"/.a/..b/c."),
        ("/.well-known/x", b"/.well-known/x"),
        ("/a\\b%5C..", b"/a\\b\\.."),
        ("/%ff%0a", b"/\xff\n"),
        ("/%c0%ae%c0%ae/", b"/\xc0\xae\xc0\xae/"),
    ] {
        assert_eq!(path(raw).as_deref(), Some(decoded), "{raw}");
    }
}

#[test]
fn what_could_mean_two_things_is_refused() {
    for raw in [
        "",
        "a",
        "*",
        "%2f",
        "/..",
        "/.",
        "/./",
        "/../a",
        "/a/..",
        "/a/./b",
        "/%2e%2e/a",
        "/.%2E",
        "/%2e",
        "/a%2fb",
        "/a%2Fb",
        "/%00",
        "/a\0",
        "/a%",
        "/a%4",
        "/a%zz",
        "/a%+1",
        "/%",
        "//..//a",
    ] {
        assert_eq!(path(raw), None, "{raw}");
    }
}

#[test]
fn a_path_without_anything_to_change_is_borrowed() {
    for raw in ["/", "/a/b.c/", "/.well-known/a..b"] {
        let Path(path) = Path::parse(raw).unwrap();
        assert!(matches!(path, Cow::Borrowed(_)), "{raw}");
    }
}

fn head(method: Method, uri: &str, version: Version, hosts: &[&str]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri).version(version);
    for host in hosts {
        request = request.header(header::HOST, *host);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn the_host_comes_from_the_target_or_else_from_the_field() {
    let (old, new) = (Version::HTTP_10, Version::HTTP_11);
    for (uri, version, hosts, expected) in [
        ("/a", new, &["Example.org:80"][..], Some("example.org")),
        ("/a", old, &["example.org"], Some("example.org")),
        ("/a", old, &[], None),
        ("http://a.org/a", new, &["b.org"], Some("a.org")),
        ("HTTP://a.org/a", new, &["b.org"], Some("a.org")),
        ("http://a.org/a", old, &[], Some("a.org")),
        ("https://A.org.:8/a", new, &["a.org"], Some("a.org")),
        ("http://[0::1]:8/a", new, &["a.org"], Some("[::1]")),
    ] {
        let head = head(Method::GET, uri, version, hosts);
        let target = Target::parse(&head).unwrap();
        let host = target.authority.map(|authority| authority.host.to_string());
        assert_eq!(host.as_deref(), expected, "{uri} {hosts:?}");
        assert_eq!(target.path.as_bytes(), b"/a");
    }
}

#[test]
fn path_and_query_of_every_form() {
    for (method, uri, path, query) in [
        (Method::GET, "/a?b=%20/?", "/a", Some("b=%20/?")),
        (Method::GET, "/a?", "/a", Some("")),
        (Method::GET, "http://a.org", "/", None),
        (Method::GET, "http://a.org?q", "/", Some("q")),
        (Method::OPTIONS, "*", "/", None),
        (Method::OPTIONS, "/a", "/a", None),
    ] {
        let head = head(method, uri, Version::HTTP_11, &["a.org"]);
        let target = Target::parse(&head).unwrap();
        assert_eq!(target.path.as_bytes(), path.as_bytes(), "{uri}");
        assert_eq!(target.query, query, "{uri}");
    }
}

#[test]
fn a_malformed_target_or_host_is_400() {
    for (uri, version, hosts) in [
        ("/", Version::HTTP_11, &[][..]),
        ("/", Version::HTTP_11, &["a", "a"]),
        ("/", Version::HTTP_11, &["a", "b"]),
        ("/", Version::HTTP_10, &["a", "b"]),
        ("/", Version::HTTP_11, &["a b"]),
        ("/", Version::HTTP_11, &["a,b"]),
        ("/", Version::HTTP_11, &[""]),
        ("/", Version::HTTP_10, &[""]),
        ("http://a/", Version::HTTP_11, &[]),
        ("http://a/", Version::HTTP_11, &["b", "c"]),
        ("http://a/", Version::HTTP_11, &["@"]),
        ("http://user@a/", Version::HTTP_11, &["a"]),
        ("http://a/../b", Version::HTTP_11, &["a"]),
        ("ftp://a/", Version::HTTP_11, &["a"]),
        ("a:80", Version::HTTP_11, &["a"]),
        ("*", Version::HTTP_11, &["a"]),
    ] {
        let head = head(Method::GET, uri, version, hosts);
        let status = Target::parse(&head).map_err(|failure| failure.status);
        assert_eq!(status, Err(StatusCode::BAD_REQUEST), "{uri} {hosts:?}");
    }
}

#[test]
fn a_tunnel_is_501() {
    let head = head(Method::CONNECT, "a.org:443", Version::HTTP_11, &["a.org"]);
    let status = Target::parse(&head).map_err(|failure| failure.status);
    assert_eq!(status, Err(StatusCode::NOT_IMPLEMENTED));
}

#[test]
fn a_local_redirect_is_a_path_of_this_server() {
    let uri = |text: &str| text.parse::<Uri>().unwrap();
    for (asked, reference, expected) in [
        ("/x?y", "/a%20b?q", "/a%20b?q"),
        ("/x", "//evil.example/a", "//evil.example/a"),
        ("http://a.org:81/x", "/a", "http://a.org:81/a"),
    ] {
        let redirected = redirected(&uri(asked), reference).unwrap();
        assert_eq!(redirected, expected);
        let host = redirected
            .authority()
            .map(|authority| authority.host().to_owned());
        assert_ne!(host.as_deref(), Some("evil.example"));
    }
    for reference in [
        "",
        "a",
        "?q",
        "*",
        "http://a.org/",
        "/a b",
        "/a\r\nX: y",
        "/../a",
        "/a%2fb",
        "/%zz",
    ] {
        assert_eq!(redirected(&uri("/x"), reference), None, "{reference:?}");
    }
}

#[test]
fn a_uri_made_from_a_path_stays_on_this_host() {
    for (raw, uri) in [
        ("//evil.example/a", "/evil.example/a"),
        ("/%5cevil.example", "/%5Cevil.example"),
        ("/a%20b%0d%0aX:%20y", "/a%20b%0D%0AX:%20y"),
        ("/%25%3f%23%22%3C", "/%25%3F%23%22%3C"),
        ("/café%ff", "/caf%C3%A9%FF"),
        ("/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@"),
    ] {
        assert_eq!(Path::parse(raw).unwrap().to_uri(), uri, "{raw}");
    }
}

/// The rules once more, slowly: decode, then split, then judge.
fn naive(raw: &str) -> Option<Vec<u8>> {
    let lower = raw.to_ascii_lowercase();
    if !raw.starts_with('/') || lower.contains("%2f") {
        return None;
    }
    let broken = |(at, _)| {
        let digits = raw.as_bytes().get(at + 1..at + 3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if raw.match_indices('%').any(broken) {
        return None;
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(raw).collect();
    let segments: Vec<&[u8]> = decoded
        .split(|&byte| byte == b'/')
        .filter(|segment| !segment.is_empty())
        .collect();
    if decoded.contains(&0) || segments.iter().any(|s| *s == b"." || *s == b"..") {
        return None;
    }
    let mut path = [b"/", &segments.join(&b'/')[..]].concat();
    if decoded.ends_with(b"/") && path != b"/" {
        path.push(b'/');
    }
    Some(path)
}

proptest! {
    #[test]
    fn parsing_agrees_with_the_slow_way(raw in "/([a.%/0-3fF]|%2[efEF]|%00|\\PC){0,24}") {
        prop_assert_eq!(path(&raw), naive(&raw));
    }

    #[test]
    fn a_path_survives_its_own_uri(raw in "(/|\\PC|%[0-9a-f][0-9a-f]){0,40}") {
        if let Ok(path) = Path::parse(&raw) {
            let uri = path.to_uri();
            prop_assert!(uri.is_ascii() && uri.starts_with('/') && !uri.starts_with("//"));
            let again = Path::parse(&uri).unwrap();
            prop_assert_eq!(again, path);
        }
    }
}
