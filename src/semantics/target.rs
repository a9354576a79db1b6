//! The target of a request: RFC 9110 §7.1, RFC 9112 §3.2.
//!
//! A path is percent-decoded exactly once, here. Refused with 400: NUL, an encoded slash, an
//! incomplete percent-encoding, and dot segments, plain or encoded, which clients resolve before
//! they send (RFC 3986 §5.2.4). Repeated slashes count as one. A backslash is a byte like any
//! other, and so are bytes that are no UTF-8. Later code sees only the result.

use std::borrow::Cow;

use http::{Method, StatusCode, Uri, Version, header, request::Parts, uri::PathAndQuery};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_encode};

use crate::semantics::{
    authority::Authority,
    failure::{Cause, Failure},
};

/// What a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'h> {
    /// From an absolute-form target or else from `Host`; absent only in HTTP/1.0.
    pub authority: Option<Authority>,
    /// The decoded path.
    pub path: Path<'h>,
    /// The query as received, without the question mark.
    pub query: Option<&'h str>,
    /// Whether the target is `*`: the server as a whole (RFC 9112 §3.2.4). The path is then `/`.
    pub is_server: bool,
}

/// A decoded absolute path: begins with a slash, no empty and no dot segment, no NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'h>(Cow<'h, [u8]>);

impl<'h> Target<'h> {
    /// Reads the target from a request's head: origin-form, absolute-form, or `*` for `OPTIONS`
    /// (whose path is then `/`). A missing `Host` in HTTP/1.1, a second one and a malformed one
    /// are refused (RFC 9112 §3.2). Fails with 400, and with 501 for what only a proxy can do.
    pub fn parse(head: &'h Parts) -> Result<Self, Failure> {
        let host = host_field(head)?;
        let uri = &head.uri;
        let authority = match (uri.scheme_str(), uri.authority()) {
            (None, None) => host,
            // RFC 9112 §3.2.2: the target's authority counts, whatever `Host` says.
            (Some("http" | "https"), Some(authority)) => {
                Some(Authority::parse(authority.as_str().as_bytes())?)
            }
            (None, Some(_)) => return Err(authority_form(&head.method)),
            (Some(_), _) => return Err(Failure::bad_target("the target's scheme is not HTTP")),
        };
        let path = match uri.path() {
            "*" if head.method == Method::OPTIONS => Path(Cow::Borrowed(b"/")),
            "*" => return Err(Failure::bad_target("the target `*` is for OPTIONS only")),
            path => Path::parse(path)?,
        };
        Ok(Self {
            authority,
            path,
            query: uri.query(),
            is_server: uri.path() == "*",
        })
    }
}

/// RFC 9112 §3.2: exactly one valid `Host`, except that HTTP/1.0 may do without.
fn host_field(head: &Parts) -> Result<Option<Authority>, Failure> {
    let mut values = head.headers.get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Authority::parse(value.as_bytes()).map(Some),
        (None, _) if head.version < Version::HTTP_11 => Ok(None),
        (None, _) => Err(Failure::bad_target("the request has no `Host` field")),
        (Some(_), Some(_)) => Err(Failure::bad_target("the request has two `Host` fields")),
    }
}

/// RFC 9112 §3.2.3: authority-form is for CONNECT, which asks for a tunnel.
fn authority_form(method: &Method) -> Failure {
    if *method == Method::CONNECT {
        let cause = Cause::BadTarget("a tunnel (CONNECT) needs a proxy");
        return Failure::new(StatusCode::NOT_IMPLEMENTED, cause);
    }
    Failure::bad_target("the target is neither a path nor an absolute URI")
}

/// The request's URI with the path and query of a local redirect in the place of its own; the
/// authority stays (RFC 3875 §6.2.2). None where the reference is malformed.
pub fn redirected(uri: &Uri, reference: &str) -> Option<Uri> {
    if !reference.starts_with('/') {
        return None;
    }
    let reference: PathAndQuery = reference.parse().ok()?;
    Path::parse(reference.path()).ok()?;
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(reference);
    Uri::from_parts(parts).ok()
}

impl Path<'_> {
    /// Decodes and checks the path of a target or the text of a path key. Borrows where nothing
    /// has to be decoded or merged. Fails with 400.
    pub fn parse(raw: &str) -> Result<Path<'_>, Failure> {
        let raw = raw.as_bytes();
        if raw.first() != Some(&b'/') {
            return Err(Failure::bad_target("the path does not begin with a slash"));
        }
        if is_plain(raw) {
            return Ok(Path(Cow::Borrowed(raw)));
        }
        let path = decode(raw)?;
        if path.contains(&0) {
            return Err(Failure::bad_target("the path has a NUL byte"));
        }
        if path.split(|&byte| byte == b'/').any(is_dot_segment) {
            return Err(Failure::bad_target("the path has a dot segment"));
        }
        Ok(Path(Cow::Owned(path)))
    }

    /// The decoded bytes, beginning with a slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the path ends with a slash and so names a directory.
    pub fn is_directory(&self) -> bool {
        self.0.ends_with(b"/")
    }

    /// The path of a name in this directory, whose path ends with a slash.
    pub fn child(&self, name: &[u8]) -> Path<'static> {
        Path(Cow::Owned([self.as_bytes(), name].concat()))
    }

    /// The same path with memory of its own.
    pub fn into_owned(self) -> Path<'static> {
        Path(Cow::Owned(self.0.into_owned()))
    }

    /// The path as a URI reference: percent-encoded. It begins with exactly one slash, so it
    /// cannot name another host.
    pub fn to_uri(&self) -> String {
        encode(&self.0).to_string()
    }
}

/// Percent-encodes the bytes of a decoded path.
pub fn encode(path: &[u8]) -> PercentEncode<'_> {
    percent_encode(path, ENCODED)
}

/// Everything but RFC 3986's `pchar` (unreserved, sub-delims, `:`, `@`) and the slash.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// Whether a path stands for itself: nothing to decode, to merge or to refuse. Almost every
/// request's path does, so this is one pass over the bytes that keeps nothing.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().enumerate().all(|(at, &byte)| {
        let begins_segment = previous == b'/';
        previous = byte;
        match byte {
            b'%' | 0 => false,
            b'/' => !begins_segment,
            b'.' => !(begins_segment && begins_with_dot_segment(&path[at..])),
            _ => true,
        }
    })
}

fn begins_with_dot_segment(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/')
        .next()
        .is_some_and(is_dot_segment)
}

fn is_dot_segment(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

/// Decodes percent-encodings and merges slashes. An encoded slash is refused, since it is no
/// separator in the URI but would become one in a file's name.
fn decode(raw: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut path = Vec::with_capacity(raw.len());
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'%' => match encoded_byte(rest.next(), rest.next()) {
                Some(b'/') => return Err(Failure::bad_target("the path has an encoded slash")),
                Some(byte) => path.push(byte),
                None => {
                    let reason = "the path has an incomplete percent-encoding";
                    return Err(Failure::bad_target(reason));
                }
            },
            b'/' if path.last() == Some(&b'/') => {}
            byte => path.push(byte),
        }
    }
    Ok(path)
}

fn encoded_byte(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high?)? << 4 | digit(*low?)?).ok()
}

#[cfg(test)]
mod tests;
