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

impl Choice {
    fn of(coded: Coded) -> Self {
        Self {
            coded,
            sibling: None,
            place: None,
        }
    }
}

/// Chooses. Ranges are of the file as it is, so whoever asks for one gets that. Fails with 406 where
/// the client takes nothing that there is.
pub(super) async fn choose(source: &Source, asked: &Asked<'_>) -> Result<Choice, Failure> {
    let head = asked.head;
    let acceptable = Acceptable::of(&head.headers);
    let may_be_plain = acceptable.takes_identity();
    let wants_part = representation::asks_for_part(&head.method, &head.headers);
    if varies(asked.options, &asked.media_type)
        && !(may_be_plain && wants_part)
        && let Some(choice) = coded(source, asked, &acceptable).await?
        && (!may_be_plain || is_of_a_moment(source.metadata(), asked).await?)
    {
        return Ok(choice);
    }
    if may_be_plain {
        return Ok(Choice::of(Coded::Identity));
    }
    let status = StatusCode::NOT_ACCEPTABLE;
    Err(Failure::new(status, Cause::NotAcceptable))
}

/// The best coding that can be had.
async fn coded(
    source: &Source,
    asked: &Asked<'_>,
    acceptable: &Acceptable,
) -> Result<Option<Choice>, Failure> {
    let file = source.metadata();
    for coding in acceptable.ranked() {
        if let Some(sibling) = stored(file, asked, coding).await? {
            return Ok(Some(Choice {
                sibling: Some(sibling),
                ..Choice::of(Coded::Stored(coding))
            }));
        }
    }
    let least = if acceptable.takes_identity() {
        WORTH_IT
    } else {
        0
    };
    let best = acceptable.ranked().next();
    let Some(coding) = best.filter(|_| (least..=MOST).contains(&file.size)) else {
        return Ok(None);
    };
    let takes_place = file.size > IN_MEMORY && !is_coded(source, asked, coding);
    let place = takes_place.then(compress::place).flatten();
    if takes_place && place.is_none() {
        if let Some(sight) = asked.cache {
            sight.holds_for_now();
        }
        return Ok(None);
    }
    Ok(Some(Choice {
        place,
        ..Choice::of(Coded::Made(coding))
    }))
}

/// Whether the file and what was found beside it were there at one moment. A name that has led to another
/// file meanwhile, as where the root was swapped, may have other siblings; the file alone is of a moment.
async fn is_of_a_moment(file: &Metadata, asked: &Asked<'_>) -> Result<bool, Failure> {
    if asked.cache.is_some_and(Sight::is_of_a_moment) {
        return Ok(true);
    }
    let (root, name) = (&asked.options.place.root, asked.name);
    let found = match root.find(name, Wait::Never) {
        Err(OpenError::WouldWait) => {
            let (root, name) = (Arc::clone(root), name.to_owned());
            elsewhere(move || root.find(&name, Wait::Allowed)).await?
        }
        found => found,
    };
    Ok(found.is_ok_and(|now| now.metadata.identity() == file.identity()))
}

/// Looks on a thread that may wait.
async fn elsewhere<T: Send + 'static>(
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let looking = tokio::task::spawn_blocking(look);
    looking
        .await
        .map_err(|error| Failure::system("looking up a file", &error.into()))
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
            let open = move || {
                let sight = cache.as_ref().map(Sight::of);
                let look = Look {
                    wait: Wait::Allowed,
                    cache: sight.as_ref(),
                };
                look.open(&root, &name)
            };
            elsewhere(open).await?
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

#[cfg(test)]
mod tests {
    use std::fs;

    use http::{Request, header};

    use super::*;
    use crate::{
        files::{self, Types, locate},
        fs::{Place, Root},
        semantics::target::Path,
    };

    #[test]
    fn what_lies_beside_another_file_of_that_name_is_not_asked() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for root in ["root", "next"] {
            fs::create_dir(at(root)).unwrap();
            fs::write(at(root).join("a.css"), "x".repeat(5000)).unwrap();
        }
        fs::write(at("next/a.css.gz"), "stored").unwrap();
        let options = Options {
            place: Place {
                root: Arc::new(Root::new(at("root"))),
                strip: 1,
            },
            index: Vec::new(),
            listing: false,
            types: Types::default(),
            compress: true,
            fallback: None,
        };
        let path = Path::parse("/a.css").unwrap();
        let request = Request::get("/a.css").header(header::ACCEPT_ENCODING, "gzip");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        for is_swapped in [false, true] {
            let found = locate(&options, &path, Look::plain(Wait::Allowed)).unwrap();
            if is_swapped {
                fs::rename(at("root"), at("last")).unwrap();
                fs::rename(at("next"), at("root")).unwrap();
            }
            let response = files::respond(found, &options, &path, &head, None);
            let response = runtime.block_on(response).unwrap();
            let coding = response.headers().get(header::CONTENT_ENCODING);
            assert_eq!(coding.is_some(), !is_swapped);
        }
    }
}
