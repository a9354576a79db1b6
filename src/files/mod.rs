//! Files and directories as resources: RFC 9110's representations from a filesystem.
//!
//! [`locate()`] finds what a path names, [`respond`] makes the answer of what was found: `variant`
//! chooses a representation, `content` holds one version of a file, `answer` puts them together.

#![forbid(unsafe_code)]

mod answer;
pub mod cache;
mod compress;
mod content;
mod listing;
pub mod locate;
pub mod media_type;
mod multipart;
mod variant;

use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};

use crate::{
    body::Body,
    fs::Place,
    semantics::{
        failure::{Cause, Failure},
        target::Path,
    },
};

pub use cache::{Cache, Look, Sight};
pub use locate::{Found, LocateError, Source, file_at, locate};
pub use media_type::Types;

/// What a path key says about files, complete.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the files lie.
    pub place: Place,
    /// Names tried in order in a directory.
    pub index: Vec<Box<str>>,
    /// Whether a directory without an index is listed.
    pub listing: bool,
    /// Media types that the configuration gives.
    pub types: Types,
    /// Whether text is sent in a content coding to clients that take one.
    pub compress: bool,
    /// The path of the file that answers where nothing else is.
    pub fallback: Option<Path<'static>>,
}

/// What may be done with a file (RFC 9110 §9.3).
pub const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// What RFC 9110 §9.3 and RFC 5789 define, and files do not take.
const NOT_FOR_FILES: [Method; 6] = [
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::TRACE,
    Method::PATCH,
];

/// Refuses the methods that files do not take: with 405 and `Allow` where somebody could, with 501
/// what no part of this server knows (RFC 9110 §9.1).
pub fn admit(method: &Method) -> Result<(), Failure> {
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
        return Ok(());
    }
    let method = method.clone();
    Err(if NOT_FOR_FILES.contains(&method) {
        let allow = ALLOW;
        let cause = Cause::MethodNotAllowed { method, allow };
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, cause)
    } else {
        Failure::new(StatusCode::NOT_IMPLEMENTED, Cause::UnknownMethod(method))
    })
}

/// Answers with a file or a listing. `path` is the decoded path of the request; `cache`, what is known
/// of siblings and codings.
pub async fn respond(
    found: Found,
    options: &Options,
    path: &Path<'_>,
    head: &Parts,
    cache: Option<&Sight<'_>>,
) -> Result<Response<Body>, Failure> {
    if head.method == Method::OPTIONS {
        return Ok(allowed());
    }
    match found {
        Found::File { file, own_path } => {
            let path = own_path.as_ref().unwrap_or(path);
            let name = options.place.relative(path.as_bytes());
            let asked = answer::Asked {
                name,
                media_type: file.media_type(&options.types, name),
                options,
                head,
                cache,
            };
            answer::answer(file, &asked).await
        }
        // Boxed, as all that is rare on the way of a request: the future of the usual answer is small.
        Found::Directory(opened) => Box::pin(listing::respond(opened, options, path, head)).await,
    }
}

/// A file as it is, for whoever did not ask for it, such as a page for an error. `path` is its own.
pub async fn page(
    file: Source,
    options: &Options,
    path: &Path<'_>,
) -> Result<Response<Body>, Failure> {
    let media_type = options.types.of(path.as_bytes());
    answer::whole(file, &media_type.value).await
}

/// The answer to OPTIONS (RFC 9110 §9.3.7).
pub fn allowed() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, ALLOW);
    response
}
