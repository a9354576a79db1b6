//! A directory without an index: what is in it, as a page for people or as JSON for programs.

mod html;
mod json;
mod order;

use std::{ffi::CStr, io, os::fd::OwnedFd};

use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use rustix::fs::{AtFlags, Dir, FileType};

use crate::{
    body::Body,
    files::{Options, compress, media_type::essence, variant::WORTH_IT},
    fs::{Kind, Metadata, OpenError, Opened, Wait, policy},
    semantics::{
        accept,
        coding::{Acceptable, Coding},
        failure::{Cause, Failure},
        target::Path,
    },
};

use order::Order;

/// How many names a listing shows at most.
const MOST: usize = 10_000;

/// What a listing tells of a file or directory.
#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    is_directory: bool,
    /// Without parameters; empty for a directory.
    media_type: String,
    /// In bytes.
    size: u64,
    /// Seconds since the epoch.
    modified: i64,
}

/// Answers with what is in a directory that was asked for by `path`.
pub(super) async fn respond(
    opened: Opened,
    options: &Options,
    path: &Path<'_>,
    head: &Parts,
) -> Result<Response<Body>, Failure> {
    let is_json = accept::prefers(&head.headers, "application/json", "text/html");
    let order = Order::of(head.uri.query().unwrap_or_default());
    let name = String::from_utf8_lossy(path.as_bytes()).into_owned();
    let (options, path) = (options.clone(), path.clone().into_owned());
    let compresses = options.compress;
    let listing = tokio::task::spawn_blocking(move || {
        let (mut entries, is_complete) = entries(&opened.fd, &options, &path)?;
        order.sort(&mut entries);
        Ok(if is_json {
            json::document(&entries)
        } else {
            html::page(&entries, path.as_bytes(), order, is_complete)
        })
    });
    let listing = listing.await.map_err(io::Error::from).and_then(|page| page);
    let listing = listing.map_err(|error| refusal(name, &error))?;
    let coding = Acceptable::of(&head.headers).ranked().next();
    let coding = coding.filter(|_| compresses && listing.len() as u64 >= WORTH_IT);
    let mut response = content(listing, coding).await?;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, media_type(is_json));
    let vary = HeaderValue::from_static("accept, accept-encoding");
    fields.insert(header::VARY, vary);
    Ok(response.map(|body| body.for_method(&head.method)))
}

/// A directory that is closed to us after it was found is as one that was so before.
fn refusal(name: String, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Failure::new(StatusCode::FORBIDDEN, Cause::Unreadable(name));
    }
    Failure::system("reading a directory", error)
}

fn media_type(is_json: bool) -> HeaderValue {
    HeaderValue::from_static(if is_json {
        "application/json"
    } else {
        "text/html; charset=utf-8"
    })
}

/// The listing with its length, in a coding where one is wanted.
async fn content(listing: String, coding: Option<Coding>) -> Result<Response<Body>, Failure> {
    let mut bytes = listing.into();
    if let Some(coding) = coding {
        let encoded = compress::whole(move || Ok(bytes), coding).await;
        bytes = encoded.map_err(|error| Failure::system("compressing a listing", &error))?;
    }
    let length = bytes.len();
    let mut response = Response::new(Body::Bytes(bytes));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_LENGTH, length.into());
    if let Some(coding) = coding {
        let name = HeaderValue::from_static(coding.name());
        fields.insert(header::CONTENT_ENCODING, name);
    }
    Ok(response)
}

/// What is in the directory, and whether that is all. Names that are never served are not told, nor
/// what a link leads to that is not served.
fn entries(
    directory: &OwnedFd,
    options: &Options,
    path: &Path<'_>,
) -> io::Result<(Vec<Entry>, bool)> {
    let mut entries = Vec::new();
    for item in Dir::read_from(directory)? {
        let item = item?;
        let name = item.file_name().to_bytes();
        if policy::is_hidden(name) {
            continue;
        }
        let link = || {
            let path = path.child(name);
            let relative = options.place.relative(path.as_bytes());
            options.place.root.open(relative, Wait::Allowed)
        };
        let Some(metadata) = metadata(directory, item.file_name(), link) else {
            continue;
        };
        if entries.len() == MOST {
            return Ok((entries, false));
        }
        let is_directory = metadata.kind == Kind::Directory;
        entries.push(Entry {
            name: name.to_vec(),
            is_directory,
            media_type: if is_directory {
                String::new()
            } else {
                essence(&options.types.of(name).value)
            },
            size: metadata.size,
            modified: metadata.modified.0,
        });
    }
    Ok((entries, true))
}

/// The metadata of a file or directory; of a link, that of what it leads to.
fn metadata(
    directory: &OwnedFd,
    name: &CStr,
    link: impl FnOnce() -> Result<Opened, OpenError>,
) -> Option<Metadata> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let metadata = if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        link().ok()?.metadata
    } else {
        Metadata::from(stat)
    };
    (metadata.kind != Kind::Other).then_some(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_closed_after_it_was_found_is_403() {
        let failure = refusal("/closed/".into(), &rustix::io::Errno::ACCESS.into());
        assert_eq!(failure.status, StatusCode::FORBIDDEN);
    }
}
