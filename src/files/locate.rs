//! What a path names below a root: a file, a directory with an index, a directory to list.

use http::{HeaderValue, StatusCode};

use crate::{
    files::{Options, media_type},
    fs::{Kind, OpenError, Opened, Wait, policy},
    semantics::{
        failure::{Cause, Failure},
        target::Path,
    },
};

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// A regular file, asked for by its name or found as an index.
    File {
        /// The file.
        opened: Opened,
        /// Its media type (RFC 9110 §8.3).
        media_type: HeaderValue,
    },
    /// A directory to list.
    Directory(Opened),
}

/// Why nothing was found.
#[derive(Debug)]
pub enum LocateError {
    /// The look-up would wait, and was told not to.
    WouldWait,
    /// A directory was asked for without its trailing slash: the links in it would not work.
    MissingSlash,
    /// Nothing that may be served.
    Failure(Failure),
}

/// Finds what `path` names. Fails with 404 for what is not there or has a name that is never
/// served, and 403 for what must not be read.
pub fn locate(options: &Options, path: &Path<'_>, wait: Wait) -> Result<Found, LocateError> {
    let bytes = path.as_bytes();
    if policy::hidden_component(bytes).is_some() {
        return Err(failure(path, StatusCode::NOT_FOUND, Cause::HiddenName));
    }
    let relative = options.place.relative(bytes);
    let opened = open(options, path, relative, wait)?;
    match opened.metadata.kind {
        Kind::File => Ok(Found::File {
            opened,
            media_type: media_type::of(relative),
        }),
        Kind::Directory if !path.is_directory() => Err(LocateError::MissingSlash),
        Kind::Directory => directory(options, path, opened, wait),
        Kind::Other => Err(failure(path, StatusCode::FORBIDDEN, Cause::NotRegular)),
    }
}

/// The first index file that is there, else the listing.
fn directory(
    options: &Options,
    path: &Path<'_>,
    opened: Opened,
    wait: Wait,
) -> Result<Found, LocateError> {
    let mut name = options.place.relative(path.as_bytes()).to_vec();
    let length = name.len();
    for index in &options.index {
        name.truncate(length);
        name.extend_from_slice(index.as_bytes());
        match options.place.root.open(&name, wait) {
            Ok(opened) if opened.metadata.kind == Kind::File => {
                let media_type = media_type::of(index.as_bytes());
                return Ok(Found::File { opened, media_type });
            }
            Ok(_) | Err(OpenError::NotFound) => {}
            Err(error) => return Err(refusal(path, error)),
        }
    }
    if options.listing {
        return Ok(Found::Directory(opened));
    }
    Err(failure(path, StatusCode::FORBIDDEN, Cause::NoIndex))
}

fn open(
    options: &Options,
    path: &Path<'_>,
    relative: &[u8],
    wait: Wait,
) -> Result<Opened, LocateError> {
    options
        .place
        .root
        .open(relative, wait)
        .map_err(|error| refusal(path, error))
}

fn refusal(path: &Path<'_>, error: OpenError) -> LocateError {
    match error {
        OpenError::WouldWait => LocateError::WouldWait,
        OpenError::NotFound => failure(path, StatusCode::NOT_FOUND, Cause::NotFound),
        OpenError::Denied => failure(path, StatusCode::FORBIDDEN, Cause::Unreadable),
        OpenError::Outside => failure(path, StatusCode::FORBIDDEN, Cause::OutsideRoot),
        OpenError::System(error) => LocateError::Failure(Failure::system("opening a file", &error)),
    }
}

fn failure(path: &Path<'_>, status: StatusCode, cause: fn(String) -> Cause) -> LocateError {
    let name = String::from_utf8_lossy(path.as_bytes()).into_owned();
    LocateError::Failure(Failure::new(status, cause(name)))
}
