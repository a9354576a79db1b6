//! Files and directories as resources: RFC 9110's representations from a filesystem.
//!
//! [`locate()`] finds what a path names, `respond` makes the answer of what was found.

#![forbid(unsafe_code)]

mod listing;
pub mod locate;
pub mod media_type;

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use rustix::io::{Errno, ReadWriteFlags};

use crate::{
    body::{Body, FileContent},
    fs::{Metadata, Opened, Place, Wait},
    semantics::{
        failure::{Cause, Failure},
        representation::{self, Answer},
        validator::{FileState, Validators},
    },
};

pub use locate::{Found, LocateError, locate};

/// What a path key says about files, complete.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the files lie.
    pub place: Place,
    /// Names tried in order in a directory.
    pub index: Vec<Box<str>>,
    /// Whether a directory without an index is listed.
    pub listing: bool,
}

/// Files up to this size are read and sent from memory, in one write with the head; longer ones
/// by `sendfile`.
const IN_MEMORY: u64 = 64 * 1024;

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

/// Answers with a file or a listing. `path` is the decoded path of the request.
pub async fn respond(found: Found, path: &[u8], head: &Parts) -> Result<Response<Body>, Failure> {
    if head.method == Method::OPTIONS {
        return Ok(options());
    }
    match found {
        Found::File { opened, media_type } => file(opened, media_type, head).await,
        Found::Directory(opened) => {
            let page = tokio::task::spawn_blocking({
                let path = path.to_vec();
                move || listing::page(&opened.fd, &path)
            });
            let page = page
                .await
                .map_err(std::io::Error::from)
                .and_then(|page| page)
                .map_err(|error| Failure::system("reading a directory", &error))?;
            Ok(html(page, &head.method))
        }
    }
}

/// The answer to OPTIONS (RFC 9110 §9.3.7).
fn options() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, ALLOW);
    response
}

fn html(page: String, method: &Method) -> Response<Body> {
    let length = page.len() as u64;
    let mut response = Response::new(Body::Empty);
    let fields = response.headers_mut();
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    fields.insert(header::CONTENT_LENGTH, length.into());
    if *method != Method::HEAD {
        *response.body_mut() = page.into();
    }
    response
}

async fn file(
    opened: Opened,
    media_type: HeaderValue,
    head: &Parts,
) -> Result<Response<Body>, Failure> {
    let metadata = opened.metadata;
    let validators = validators(&metadata);
    let answer = representation::select(&head.method, &head.headers, &validators, metadata.size);
    let (status, offset, length) = match answer {
        Answer::Whole => (StatusCode::OK, 0, metadata.size),
        Answer::Part(range) => (
            StatusCode::PARTIAL_CONTENT,
            range.start,
            range.end - range.start,
        ),
        Answer::NotModified => (StatusCode::NOT_MODIFIED, 0, 0),
        Answer::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, 0, 0),
        Answer::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    let described = matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
    if described {
        fields.insert(header::CONTENT_TYPE, media_type);
    }
    // A 304 has no content whose length could be told (RFC 9110 §15.4.5, §8.6).
    if status != StatusCode::NOT_MODIFIED {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
    describe(fields, &validators);
    content_range(fields, status, offset, length, metadata.size);
    if described && head.method != Method::HEAD {
        *response.body_mut() = content(opened, offset, length).await?;
    }
    Ok(response)
}

fn validators(metadata: &Metadata) -> Validators {
    let state = FileState {
        device: metadata.device,
        inode: metadata.inode,
        size: metadata.size,
        modified: metadata.modified,
        changed: metadata.changed,
    };
    Validators::of_file(&state, SystemTime::now())
}

fn describe(fields: &mut HeaderMap, validators: &Validators) {
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(tag) = HeaderValue::try_from(validators.tag.to_string()) {
        fields.insert(header::ETAG, tag);
    }
    if let Some(time) = validators.last_modified
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(time))
    {
        fields.insert(header::LAST_MODIFIED, date);
    }
}

/// RFC 9110 §14.4: with 206 the part, with 416 the length.
fn content_range(fields: &mut HeaderMap, status: StatusCode, offset: u64, length: u64, size: u64) {
    let text = match status {
        StatusCode::PARTIAL_CONTENT => {
            format!("bytes {offset}-{}/{size}", offset + length - 1)
        }
        StatusCode::RANGE_NOT_SATISFIABLE => format!("bytes */{size}"),
        _ => return,
    };
    if let Ok(value) = HeaderValue::try_from(text) {
        fields.insert(header::CONTENT_RANGE, value);
    }
}

/// The bytes themselves: small files from memory, so that head and content leave in one write.
async fn content(opened: Opened, offset: u64, length: u64) -> Result<Body, Failure> {
    if length > IN_MEMORY {
        let file = Arc::new(opened.fd);
        return Ok(Body::File(FileContent {
            file,
            offset,
            length,
        }));
    }
    let bytes = match read(&opened.fd, offset, length, Wait::Never) {
        Err(Errno::AGAIN | Errno::OPNOTSUPP) => {
            let fd = opened.fd;
            tokio::task::spawn_blocking(move || read(&fd, offset, length, Wait::Allowed))
                .await
                .unwrap_or(Err(Errno::CANCELED))
        }
        outcome => outcome,
    };
    bytes
        .map(Body::Bytes)
        .map_err(|error| Failure::system("reading a file", &error.into()))
}

/// Reads exactly `length` bytes, or fails: a file that has become shorter cannot be answered with
/// the length its metadata gave.
fn read(fd: &OwnedFd, offset: u64, length: u64, wait: Wait) -> Result<Bytes, Errno> {
    let flags = match wait {
        Wait::Never => ReadWriteFlags::NOWAIT,
        Wait::Allowed => ReadWriteFlags::empty(),
    };
    // At most IN_MEMORY.
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    let mut filled = 0;
    while filled < bytes.len() {
        let mut rest = [std::io::IoSliceMut::new(&mut bytes[filled..])];
        match rustix::io::preadv2(fd.as_fd(), &mut rest, offset + filled as u64, flags) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes.into())
}
