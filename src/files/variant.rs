//! Which of a file's representations a client gets (RFC 9110 §12): the file as it is, a compressed
//! sibling of it, or one that is made on the way.

use std::sync::Arc;

use http::StatusCode;

use crate::{
    files::{
        Look, Options, Sight, Source,
        answer::Asked,
        cache::Named,
        compress::{self, Place},
        content::IN_MEMORY,
        media_type::MediaType,
    },
    fs::{Kind, Metadata, OpenError, Wait},
    semantics::{
        coding::{Acceptable, Coding},
        failure::{Cause, Failure},
        representation,
    },
};

/// Smaller files are not worth it: the fields about the coding take as much as it saves.
pub(super) const WORTH_IT: u64 = 1024;

/// Larger files would cost a processor for long at each request. They can be stored compressed.
const MOST: u64 = 16 << 20;

/// The content coding of a representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coded {
    /// None: the file as it is.
    Identity,
    /// That of a sibling which is stored in it.
    Stored(Coding),
    /// One that is made on the way.
    Made(Coding),
}

/// Whether the answer depends on `Accept-Encoding`.
pub(super) fn varies(options: &Options, media_type: &MediaType) -> bool {
    options.compress && media_type.is_text_like
}

/// A representation, and what it takes.
#[derive(Debug)]
pub(super) struct Choice {
    pub coded: Coded,
    /// The sibling, where one is sent.
    pub sibling: Option<Source>,
    /// A place for the encoder of a large file.
    pub place: Option<Place>,
}

/// Chooses. Ranges are of the file as it is, so whoever asks for one gets that. Fails with 406 where
/// the client takes nothing that there is.
pub(super) async fn choose(source: &Source, asked: &Asked<'_>) -> Result<Choice, Failure> {
    let (file, head) = (source.metadata(), asked.head);
    let choice = |coded| Choice {
        coded,
        sibling: None,
        place: None,
    };
    let acceptable = Acceptable::of(&head.headers);
    let may_be_plain = acceptable.takes_identity();
    let wants_part = representation::asks_for_part(&head.method, &head.headers);
    let best = acceptable.ranked().next();
    if varies(asked.options, &asked.media_type) && !(may_be_plain && wants_part) {
        for coding in acceptable.ranked() {
            if let Some(sibling) = stored(file, asked, coding).await? {
                return Ok(Choice {
                    sibling: Some(sibling),
                    ..choice(Coded::Stored(coding))
                });
            }
        }
        let least = if may_be_plain { WORTH_IT } else { 0 };
        let size = file.size;
        if let Some(coding) = best.filter(|_| (least..=MOST).contains(&size)) {
            let takes_place = size > IN_MEMORY && !is_coded(source, asked, coding);
            let place = takes_place.then(compress::place).flatten();
            if let Some(sight) = asked.cache.filter(|_| takes_place && place.is_none()) {
                sight.holds_for_now();
            }
            if !takes_place || place.is_some() {
                return Ok(Choice {
                    place,
                    ..choice(Coded::Made(coding))
                });
            }
        }
    }
    if may_be_plain {
        return Ok(choice(Coded::Identity));
    }
    let status = StatusCode::NOT_ACCEPTABLE;
    Err(Failure::new(status, Cause::NotAcceptable))
}

/// Whether the cache has the file in a coding.
fn is_coded(source: &Source, asked: &Asked<'_>, coding: Coding) -> bool {
    match (source, asked.cache) {
        (Source::Kept(kept), Some(cache)) => cache.cache().coded(kept, coding).is_some(),
        _ => false,
    }
}

/// The sibling in a coding, unless it is older than the file.
async fn stored(
    file: &Metadata,
    asked: &Asked<'_>,
    coding: Coding,
) -> Result<Option<Source>, Failure> {
    let name = [asked.name, coding.ending().as_bytes()].concat();
    let root = &asked.options.place.root;
    let look = Look {
        wait: Wait::Never,
        cache: asked.cache,
    };
    let named = match look.open(root, &name) {
        Err(OpenError::WouldWait) => {
            let (root, cache) = (
                Arc::clone(root),
                asked.cache.map(|sight| Arc::clone(sight.cache())),
            );
            let opening = tokio::task::spawn_blocking(move || {
                let sight = cache.as_ref().map(Sight::of);
                let look = Look {
                    wait: Wait::Allowed,
                    cache: sight.as_ref(),
                };
                look.open(&root, &name)
            });
            opening
                .await
                .map_err(|error| Failure::system("looking up a file", &error.into()))?
        }
        outcome => outcome,
    };
    // One that cannot be had is as if it were not there: there is always the file itself.
    let sibling = match named {
        Ok(Named::Kept(kept)) => Source::Kept(kept),
        Ok(Named::Opened(opened, vacancy)) => Source::Opened(opened, vacancy),
        Ok(Named::Directory) | Err(_) => return Ok(None),
    };
    let is_file = sibling.metadata().kind == Kind::File;
    let is_taken = is_file && is_current(sibling.metadata(), file);
    Ok(is_taken.then_some(sibling))
}

/// How long before a file a sibling may have come to where it is: both may be copied in any order.
const TOGETHER: i64 = 60;

/// Whether a sibling is of this content: not older than the file, and not of a file in whose place an
/// older one was put since. One that is empty is being made.
fn is_current(sibling: &Metadata, file: &Metadata) -> bool {
    sibling.modified >= file.modified
        && sibling.changed.0.saturating_add(TOGETHER) >= file.changed.0
        && (sibling.size > 0 || file.size == 0)
}
