//! What a path names below a root: a file, a directory with an index, a directory to list.

use http::{HeaderValue, StatusCode};

use crate::{
    files::Options,
    fs::{Kind, OpenError, Opened, Wait, policy},
    semantics::{
        failure::{Cause, Failure},
        target::Path,
    },
};

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// A regular file.
    File {
        /// The file.
        opened: Opened,
        /// Its media type (RFC 9110 §8.3).
        media_type: HeaderValue,
        /// The path it could be asked for by, where that is another than it was: an index, or the
        /// file that `fallback` names.
        own_path: Option<Path<'static>>,
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
    match named(options, path, wait) {
        Err(LocateError::Failure(failure)) if is_nothing(&failure) => {
            let fallback = options.fallback.as_ref();
            let found = fallback.map(|fallback| by_itself(options, fallback, wait));
            match found.transpose()? {
                Some(Some(found)) => Ok(found),
                _ => Err(LocateError::Failure(failure)),
            }
        }
        outcome => outcome,
    }
}

/// What a path names without a `fallback`.
fn named(options: &Options, path: &Path<'_>, wait: Wait) -> Result<Found, LocateError> {
    let relative = options.place.relative(path.as_bytes());
    let opened = options.place.root.open(relative, wait);
    let opened = opened.map_err(|error| refusal(path, error))?;
    match opened.metadata.kind {
        Kind::File => Ok(Found::File {
            opened,
            media_type: options.types.of(relative),
            own_path: None,
        }),
        Kind::Directory if !path.is_directory() => Err(LocateError::MissingSlash),
        Kind::Directory => directory(options, path, opened, wait),
        Kind::Other => Err(failure(path, StatusCode::FORBIDDEN, Cause::NotRegular)),
    }
}

/// Whether nothing was there to answer with, so that `fallback` may.
fn is_nothing(failure: &Failure) -> bool {
    matches!(failure.cause, Cause::NotFound(_) | Cause::NoIndex(_))
}

/// The first index file that is there, else the listing.
fn directory(
    options: &Options,
    path: &Path<'_>,
    opened: Opened,
    wait: Wait,
) -> Result<Found, LocateError> {
    for index in &options.index {
        if let Some(found) = by_itself(options, &path.child(index.as_bytes()), wait)? {
            return Ok(found);
        }
    }
    if options.listing {
        return Ok(Found::Directory(opened));
    }
    Err(failure(path, StatusCode::FORBIDDEN, Cause::NoIndex))
}

/// The file with a path of its own, if there is one.
fn by_itself(
    options: &Options,
    path: &Path<'static>,
    wait: Wait,
) -> Result<Option<Found>, LocateError> {
    let relative = options.place.relative(path.as_bytes());
    match options.place.root.open(relative, wait) {
        Ok(opened) if opened.metadata.kind == Kind::File => Ok(Some(Found::File {
            opened,
            media_type: options.types.of(relative),
            own_path: Some(path.clone()),
        })),
        Ok(_) | Err(OpenError::NotFound) => Ok(None),
        Err(error) => Err(refusal(path, error)),
    }
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
