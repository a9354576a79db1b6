//! What a path names below a root: a file, a directory with an index, a directory to list.

use std::sync::Arc;

use http::StatusCode;

use crate::{
    files::{
        Options, Types,
        cache::{Kept, Look, Named, Vacancy},
        media_type::MediaType,
    },
    fs::{Kind, Metadata, OpenError, Opened, Wait, policy},
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
        file: Source,
        /// The path it could be asked for by, where that is another than it was: an index, or the
        /// file that `fallback` names.
        own_path: Option<Path<'static>>,
    },
    /// A directory to list.
    Directory(Opened),
}

impl Found {
    /// Whether it is a file in memory.
    pub fn is_kept(&self) -> bool {
        let Self::File { file, .. } = self else {
            return false;
        };
        matches!(file, Source::Kept(_))
    }
}

/// Where the content of a file is.
#[derive(Debug)]
pub enum Source {
    /// In memory.
    Kept(Arc<Kept>),
    /// In the file, to be kept in memory if there is a place.
    Opened(Opened, Option<Box<Vacancy>>),
}

impl Source {
    /// The media type of the file, which has this name (RFC 9110 §8.3).
    pub fn media_type(&self, types: &Types, name: &[u8]) -> MediaType {
        match self {
            Self::Kept(kept) => kept.media_type(types, name),
            Self::Opened(..) => types.of(name),
        }
    }

    /// The metadata of the file.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Kept(kept) => &kept.metadata,
            Self::Opened(opened, _) => &opened.metadata,
        }
    }
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

type Outcome = Result<Found, LocateError>;

/// How often the names that an answer rests on are looked up again because they have changed meanwhile.
const TURNS: usize = 4;

/// Finds what `path` names. Fails with 404 for what is not there or has a name that is never
/// served, and 403 for what must not be read.
pub fn locate(options: &Options, path: &Path<'_>, look: Look<'_>) -> Result<Found, LocateError> {
    if policy::hidden_component(path.as_bytes()).is_some() {
        return Err(failure(path, StatusCode::NOT_FOUND, Cause::HiddenName));
    }
    let again = || {
        look.take_note();
        located(options, path, look)
    };
    confirmed(located(options, path, look), again, |found| {
        is_of_a_moment(options, path, look, found)
    })
}

/// What was found, or is found twice where that may be of more than one moment.
fn confirmed(
    mut found: Outcome,
    look_again: impl Fn() -> Outcome,
    is_of_a_moment: impl Fn(&Outcome) -> Result<bool, LocateError>,
) -> Outcome {
    for _ in 0..TURNS {
        if is_of_a_moment(&found)? {
            break;
        }
        let again = look_again();
        let now = which(&again);
        if now.is_some() && now == which(&found) {
            break;
        }
        found = again;
    }
    found
}

/// Whether all that an outcome rests on held at one moment. It may rest on names that were not there before
/// the root or a directory was swapped, and neither the old nor the new one may have both.
fn is_of_a_moment(
    options: &Options,
    path: &Path<'_>,
    look: Look<'_>,
    found: &Outcome,
) -> Result<bool, LocateError> {
    Ok(match found {
        Ok(Found::File { own_path, .. }) => {
            let is_first = |own: &Path<'_>| {
                let first = options.index.first();
                first.is_some_and(|first| *own == path.child(first.as_bytes()))
            };
            look.is_of_a_moment() || own_path.as_ref().is_none_or(is_first)
        }
        Ok(Found::Directory(opened)) => !has_index(options, opened, look.wait)?,
        Err(LocateError::Failure(_)) => {
            !path.is_directory() && options.fallback.is_none() || look.is_of_a_moment()
        }
        Err(LocateError::WouldWait | LocateError::MissingSlash) => true,
    })
}

/// Whether a directory that is to be listed shows by itself that it may have an index.
fn has_index(options: &Options, opened: &Opened, wait: Wait) -> Result<bool, LocateError> {
    for index in &options.index {
        match opened.may_have_file(index.as_bytes(), wait) {
            Ok(false) => {}
            Err(OpenError::WouldWait) => return Err(LocateError::WouldWait),
            Ok(true) | Err(_) => return Ok(true),
        }
    }
    Ok(false)
}

/// What makes two outcomes the same: the file, else the status. None for those that need no other of their kind.
fn which(found: &Outcome) -> Option<Result<(u64, u64), StatusCode>> {
    match found {
        Ok(Found::File { file, .. }) => Some(Ok(file.metadata().identity())),
        Err(LocateError::Failure(failure)) => Some(Err(failure.status)),
        Ok(Found::Directory(_)) | Err(LocateError::WouldWait | LocateError::MissingSlash) => None,
    }
}

/// What `path` names or, if that is nothing, `fallback`.
fn located(options: &Options, path: &Path<'_>, look: Look<'_>) -> Outcome {
    match named(options, path, look) {
        Err(LocateError::Failure(failure)) if is_nothing(&failure) => {
            let fallback = options.fallback.as_ref();
            let found = fallback.map(|fallback| by_itself(options, fallback, look));
            found
                .transpose()?
                .flatten()
                .ok_or(LocateError::Failure(failure))
        }
        outcome => outcome,
    }
}

/// What a path names without a `fallback`.
fn named(options: &Options, path: &Path<'_>, look: Look<'_>) -> Outcome {
    let relative = options.place.relative(path.as_bytes());
    let named = look.open(&options.place.root, relative);
    let file = match named.map_err(|error| refusal(path, error))? {
        Named::Kept(kept) => Source::Kept(kept),
        Named::Directory => return directory(options, path, look),
        Named::Opened(opened, vacancy) => match opened.metadata.kind {
            Kind::File => Source::Opened(opened, vacancy),
            Kind::Directory => return directory(options, path, look),
            Kind::Other => {
                return Err(failure(path, StatusCode::FORBIDDEN, Cause::NotRegular));
            }
        },
    };
    Ok(Found::File {
        file,
        own_path: None,
    })
}

/// Whether nothing was there to answer with, so that `fallback` may.
fn is_nothing(failure: &Failure) -> bool {
    matches!(failure.cause, Cause::NotFound(_) | Cause::NoIndex(_))
}

/// The first index file that is there, else the listing.
fn directory(options: &Options, path: &Path<'_>, look: Look<'_>) -> Outcome {
    if !path.is_directory() {
        return Err(LocateError::MissingSlash);
    }
    for index in &options.index {
        if let Some(found) = by_itself(options, &path.child(index.as_bytes()), look)? {
            return Ok(found);
        }
    }
    if options.listing {
        let relative = options.place.relative(path.as_bytes());
        let opened = options.place.root.open(relative, look.wait);
        return Ok(Found::Directory(
            opened.map_err(|error| refusal(path, error))?,
        ));
    }
    Err(failure(path, StatusCode::FORBIDDEN, Cause::NoIndex))
}

/// The file with a path of its own, if there is one.
fn by_itself(
    options: &Options,
    path: &Path<'static>,
    look: Look<'_>,
) -> Result<Option<Found>, LocateError> {
    let found = file_at(options, path, look)?;
    Ok(found.map(|file| Found::File {
        file,
        own_path: Some(path.clone()),
    }))
}

/// The regular file that a path names, and nothing in its place.
pub fn file_at(
    options: &Options,
    path: &Path<'_>,
    look: Look<'_>,
) -> Result<Option<Source>, LocateError> {
    let relative = options.place.relative(path.as_bytes());
    match look.open(&options.place.root, relative) {
        Ok(Named::Kept(kept)) => Ok(Some(Source::Kept(kept))),
        Ok(Named::Opened(opened, vacancy)) if opened.metadata.kind == Kind::File => {
            Ok(Some(Source::Opened(opened, vacancy)))
        }
        Ok(Named::Opened(..) | Named::Directory) | Err(OpenError::NotFound) => Ok(None),
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, sync::Arc};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::{
        files::Types,
        fs::{Place, Root, Wait},
    };

    /// A root with files and links, and beside it what must not be reached.
    fn site() -> (TempDir, Options) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/x"), "outside").unwrap();
        for file in ["x", "d/x", "d/e/x", "d/index.html"] {
            fs::write(root.join(file), "inside").unwrap();
        }
        for (link, target) in [
            ("up", ".."),
            ("d/out", "../../outside"),
            ("d/abs", "/"),
            ("in", "d/e"),
            ("d/e/back", "../.."),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let options = Options {
            place: Place {
                root: Arc::new(Root::new(root)),
                strip: 1,
            },
            index: vec!["index.html".into()],
            listing: true,
            types: Types::default(),
            compress: true,
            fallback: None,
        };
        (directory, options)
    }

    /// The inodes of everything below a directory, without following links.
    fn inodes(directory: &std::path::Path, found: &mut Vec<u64>) {
        use std::os::unix::fs::MetadataExt;
        found.push(fs::metadata(directory).unwrap().ino());
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                inodes(&path, found);
            } else {
                found.push(metadata.ino());
            }
        }
    }

    #[test]
    fn what_is_missing_from_two_roots_together_is_looked_for_again() {
        let (_directory, options) = site();
        let path = Path::parse("/d/").unwrap();
        let look = Look::plain(Wait::Allowed);
        // The directory of the old root, and no index in that of the new one.
        let mixed = Err(failure(&path, StatusCode::FORBIDDEN, Cause::NoIndex));
        let again = || located(&options, &path, look);
        let found = confirmed(mixed, again, |found| {
            is_of_a_moment(&options, &path, look, found)
        });
        assert!(matches!(found, Ok(Found::File { .. })), "{found:?}");
    }

    #[test]
    fn what_can_be_confirmed_only_by_waiting_would_wait() {
        let (_directory, options) = site();
        let path = Path::parse("/d/e/").unwrap();
        let listed = located(&options, &path, Look::plain(Wait::Allowed));
        let again = || panic!("it need not be looked up again");
        let found = confirmed(listed, again, |_| Err(LocateError::WouldWait));
        assert!(matches!(found, Err(LocateError::WouldWait)), "{found:?}");
    }

    #[test]
    fn only_what_may_be_a_file_is_an_index() {
        let (_directory, mut options) = site();
        let opened = options.place.root.open(b"d", Wait::Allowed).unwrap();
        for (index, expected) in [("x", true), ("out", true), ("e", false), ("none", false)] {
            options.index = vec![index.into()];
            let found = has_index(&options, &opened, Wait::Allowed).unwrap();
            assert_eq!(found, expected, "{index}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Names that exist, dots, links, encodings, and anything else.
        #[test]
        fn nothing_outside_of_the_root_is_ever_opened(
            segments in proptest::collection::vec(
                prop_oneof![
                    Just("x"), Just("d"), Just("e"), Just("up"), Just("out"), Just("abs"), Just("in"),
                    Just("back"), Just(".."), Just("."), Just(""), Just("outside"), Just("root"),
                    Just("%2e%2e"), Just(".%2e"), Just("%2f"), Just("..%2f"), Just("%5c.."), Just("%00"),
                    Just("%c0%ae%c0%ae"), Just("%ff"), Just("etc"), Just("passwd"), Just("index.html"),
                ],
                0..8,
            ),
            noise in "[ -~]{0,6}",
        ) {
            thread_local! {
                static SITE: (TempDir, Options) = site();
            }
            let text = format!("/{}{noise}", segments.join("/"));
            let Ok(path) = Path::parse(&text) else { return Ok(()) };
            SITE.with(|(_directory, options)| {
                let found = locate(options, &path, Look::plain(Wait::Allowed));
                let inode = match found {
                    Ok(Found::File { file, .. }) => file.metadata().inode,
                    Ok(Found::Directory(opened)) => opened.metadata.inode,
                    Err(_) => return Ok(()),
                };
                let mut inside = Vec::new();
                inodes(options.place.root.path(), &mut inside);
                prop_assert!(inside.contains(&inode), "{}", text);
                Ok(())
            })?;
        }
    }
}
