//! Which of a file's representations a client gets (RFC 9110 §12): the file as it is, a compressed
//! sibling of it, or one that is made on the way.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, request::Parts};

use crate::{
    files::Options,
    fs::{Kind, Metadata, OpenError, Opened, Wait},
    semantics::{
        coding::{Acceptable, Coding},
        failure::{Cause, Failure},
        representation,
    },
};

/// Smaller files are not worth it: the fields about the coding take as much as it saves.
const LEAST: u64 = 1024;

/// Larger files would cost a processor for long at each request. They can be stored compressed.
const MOST: u64 = 16 << 20;

/// A representation of a file.
#[derive(Debug)]
pub(super) enum Variant {
    /// The file as it is.
    Identity,
    /// A sibling, stored in a coding.
    Stored(Coding, Opened),
    /// The file in a coding that is made on the way.
    Made(Coding),
}

/// The file that was asked for.
pub(super) struct File<'f> {
    pub metadata: &'f Metadata,
    pub media_type: &'f HeaderValue,
    /// Its path below the root.
    pub relative: &'f [u8],
}

/// Whether the answer depends on `Accept-Encoding`.
pub(super) fn varies(options: &Options, media_type: &HeaderValue) -> bool {
    options.compress && is_text_like(media_type)
}

/// Chooses. Ranges are of the file as it is, so whoever asks for one gets that. Fails with 406 where
/// the client takes nothing that there is.
pub(super) async fn choose(
    file: &File<'_>,
    options: &Options,
    head: &Parts,
) -> Result<Variant, Failure> {
    let acceptable = Acceptable::of(&head.headers);
    let may_be_plain = acceptable.takes_identity();
    if may_be_plain && representation::asks_for_part(&head.method, &head.headers) {
        return Ok(Variant::Identity);
    }
    if varies(options, file.media_type) {
        for coding in acceptable.ranked() {
            if let Some(opened) = stored(file, options, coding).await? {
                return Ok(Variant::Stored(coding, opened));
            }
        }
    }
    let is_worth_it = varies(options, file.media_type) && file.metadata.size >= LEAST;
    let is_bearable = file.metadata.size <= MOST;
    match acceptable.ranked().next() {
        Some(coding) if is_bearable && (is_worth_it || !may_be_plain) => Ok(Variant::Made(coding)),
        _ if may_be_plain => Ok(Variant::Identity),
        _ => Err(Failure::new(
            StatusCode::NOT_ACCEPTABLE,
            Cause::NotAcceptable,
        )),
    }
}

/// The sibling in a coding, unless it is older than the file.
async fn stored(
    file: &File<'_>,
    options: &Options,
    coding: Coding,
) -> Result<Option<Opened>, Failure> {
    let name = [file.relative, coding.ending().as_bytes()].concat();
    let root = &options.place.root;
    let opened = match root.open(&name, Wait::Never) {
        Err(OpenError::WouldWait) => {
            let root = Arc::clone(root);
            let opening = tokio::task::spawn_blocking(move || root.open(&name, Wait::Allowed));
            opening
                .await
                .map_err(|error| Failure::system("looking up a file", &error.into()))?
        }
        outcome => outcome,
    };
    // One that cannot be had is as if it were not there: there is always the file itself.
    let is_current = |opened: &Opened| {
        opened.metadata.kind == Kind::File && opened.metadata.modified >= file.metadata.modified
    };
    Ok(opened.ok().filter(is_current))
}

/// Whether content of this type shrinks under a coding: text, and what is text underneath.
fn is_text_like(media_type: &HeaderValue) -> bool {
    const OTHERS: [&str; 12] = [
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
    let text = media_type.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim_ascii_end();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || OTHERS.contains(&essence)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            let value = HeaderValue::from_static(media_type);
            assert_eq!(is_text_like(&value), expected, "{media_type}");
        }
    }
}
