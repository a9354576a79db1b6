//! Which script a path names: the first name below the key that is a regular file; what follows is
//! `PATH_INFO` (RFC 3875 §4.1.5, §4.1.13). For a key with one program, that, and the rest follows.
//!
//! The server and the launcher both decide with this function. A script's source is never a file
//! to serve: whatever is below such a key is run or refused.

use std::path::{Path, PathBuf};

use http::StatusCode;

use crate::{
    cgi::{Options, Programs},
    fs::{Kind, Metadata, OpenError, Place, Wait, policy},
    semantics::failure::{Cause, Failure},
};

/// A script that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// `SCRIPT_NAME`: the decoded URL path of the script.
    pub name: Box<[u8]>,
    /// `PATH_INFO`: what follows the name, empty or with a leading slash.
    pub path_info: Box<[u8]>,
    /// The program's absolute path.
    pub file: PathBuf,
    /// Its metadata.
    pub metadata: Metadata,
}

/// Why no script was found.
#[derive(Debug)]
pub enum LocateError {
    /// The look-up would wait, and was told not to.
    WouldWait,
    /// It is a directory, which a script stands for, and its path has no slash at the end.
    MissingSlash,
    /// There is none, or it must not run.
    Failure(Failure),
}

/// Finds the script. Fails with 404 where nothing is and for a name that is never served, and with
/// 403 for a directory, a program without an execute bit, a link that leads out of the root, and
/// what is not a regular file. Whether it can be read is for those to find out who run it.
///
/// Only the part that names the script is looked at; `PATH_INFO` may be anything. In the usual
/// case the first segment is the script, and one file is looked for.
pub fn locate(options: &Options, path: &[u8], wait: Wait) -> Result<Script, LocateError> {
    match &options.programs {
        Programs::Below {
            place,
            key_length,
            index,
        } => below(place, index, path, (*key_length, wait)),
        Programs::One { file, name } => one(file, path, (name.len(), wait)),
        Programs::Interpreted {
            place,
            prefix_length,
            ending,
            ..
        } => interpreted(place, ending, path, (*prefix_length, wait)),
    }
}

/// The first executable on the way down from the key's directory.
fn below(
    place: &Place,
    index: &[Box<str>],
    path: &[u8],
    (key_length, wait): (usize, Wait),
) -> Result<Script, LocateError> {
    // A key's directory is asked for without its slash too, and then nothing is behind it.
    let mut end = key_length.min(path.len());
    loop {
        end += segment(&path[end..]).len();
        let (name, path_info) = path.split_at(end);
        let metadata = look(place, name, wait)?;
        match metadata.kind {
            Kind::Directory if path_info.len() > 1 => end += 1,
            Kind::Directory => {
                return match index_of(place, index, name, wait)? {
                    Some(script) if path.ends_with(b"/") => Ok(script),
                    Some(_) => Err(LocateError::MissingSlash),
                    None => Err(forbidden(Cause::ScriptDirectory, &place.absolute(name))),
                };
            }
            kind => {
                let file = place.absolute(name);
                check_executable(kind, &metadata, &file)?;
                return Ok(Script {
                    name: name.into(),
                    path_info: path_info.into(),
                    file,
                    metadata,
                });
            }
        }
    }
}

/// The first script that stands for a directory.
fn index_of(
    place: &Place,
    index: &[Box<str>],
    directory: &[u8],
    wait: Wait,
) -> Result<Option<Script>, LocateError> {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    let mut no_script = None;
    for index in index {
        let name = [directory, b"/", index.as_bytes()].concat();
        let metadata = match look(place, &name, wait) {
            Ok(metadata) => metadata,
            Err(LocateError::Failure(failure)) if failure.status == StatusCode::NOT_FOUND => {
                continue;
            }
            Err(error) => return Err(error),
        };
        let file = place.absolute(&name);
        match check_executable(metadata.kind, &metadata, &file) {
            Ok(()) => {
                return Ok(Some(Script {
                    name: name.into(),
                    path_info: Box::default(),
                    file,
                    metadata,
                }));
            }
            Err(error) => {
                no_script.get_or_insert(error);
            }
        }
    }
    no_script.map_or(Ok(None), Err)
}

/// The one program, by the key's name, whatever follows it. It may be anywhere, so that a look at it may
/// wait for any filesystem.
fn one(
    file: &Path,
    path: &[u8],
    (name_length, wait): (usize, Wait),
) -> Result<Script, LocateError> {
    if wait == Wait::Never {
        return Err(LocateError::WouldWait);
    }
    let (name, path_info) = path.split_at(name_length.min(path.len()));
    let metadata = Metadata::at(file).map_err(|error| refusal(error, file))?;
    check_executable(metadata.kind, &metadata, file)?;
    Ok(Script {
        name: name.into(),
        path_info: path_info.into(),
        file: file.to_owned(),
        metadata,
    })
}

/// The first file whose name ends so. One with another name is never given to the interpreter,
/// whatever follows it: `/upload/picture.jpg/x.php` is nothing.
fn interpreted(
    place: &Place,
    ending: &[u8],
    path: &[u8],
    (prefix_length, wait): (usize, Wait),
) -> Result<Script, LocateError> {
    let mut end = prefix_length.min(path.len());
    loop {
        let name = segment(&path[end..]);
        end += name.len();
        let name_ends_so = name.ends_with(ending);
        let (name, path_info) = path.split_at(end);
        if name_ends_so {
            let metadata = look(place, name, wait)?;
            let file = place.absolute(name);
            match metadata.kind {
                Kind::File => {
                    return Ok(Script {
                        name: name.into(),
                        path_info: path_info.into(),
                        file,
                        metadata,
                    });
                }
                Kind::Other => return Err(forbidden(Cause::NotRegular, &file)),
                // A directory may be called so, too.
                Kind::Directory => {}
            }
        }
        if path_info.len() < 2 {
            return Err(not_found(Cause::NotFound, &place.absolute(name)));
        }
        end += 1;
    }
}

fn segment(rest: &[u8]) -> &[u8] {
    rest.split(|&byte| byte == b'/').next().unwrap_or_default()
}

/// What is at a path, if its last name may be known at all.
fn look(place: &Place, name: &[u8], wait: Wait) -> Result<Metadata, LocateError> {
    let file = || place.absolute(name);
    let relative = place.relative(name);
    if policy::hidden_component(relative).is_some() {
        return Err(not_found(Cause::HiddenName, &file()));
    }
    let found = place.root.find(relative, wait);
    Ok(found.map_err(|error| refusal(error, &file()))?.metadata)
}

fn check_executable(kind: Kind, metadata: &Metadata, file: &Path) -> Result<(), LocateError> {
    match kind {
        Kind::File if metadata.permissions & 0o111 != 0 => Ok(()),
        Kind::File => Err(forbidden(Cause::NotExecutable, file)),
        Kind::Directory => Err(forbidden(Cause::ScriptDirectory, file)),
        Kind::Other => Err(forbidden(Cause::NotRegular, file)),
    }
}

fn forbidden(cause: fn(String) -> Cause, file: &Path) -> LocateError {
    failure(StatusCode::FORBIDDEN, cause, file)
}

fn not_found(cause: fn(String) -> Cause, file: &Path) -> LocateError {
    failure(StatusCode::NOT_FOUND, cause, file)
}

fn failure(status: StatusCode, cause: fn(String) -> Cause, file: &Path) -> LocateError {
    LocateError::Failure(Failure::new(status, cause(file.display().to_string())))
}

/// Why nothing was found.
fn refusal(error: OpenError, file: &Path) -> LocateError {
    match error {
        OpenError::NotFound => not_found(Cause::NotFound, file),
        OpenError::Denied => forbidden(Cause::Unreadable, file),
        OpenError::Outside => forbidden(Cause::OutsideRoot, file),
        OpenError::WouldWait => LocateError::WouldWait,
        OpenError::System(error) => {
            LocateError::Failure(Failure::system("looking for a script", &error))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        sync::Arc,
    };

    use super::*;
    use crate::fs::Root;

    const PROGRAMS: [&str; 6] = [
        "a.cgi",
        "x.bak",
        "sub/b.cgi",
        "sub/.git/hook",
        ".hidden/c.cgi",
        "caf\u{e9}",
    ];

    /// A site whose `/cgi-bin/` lies below its root.
    fn site() -> (tempfile::TempDir, Options) {
        let directory = tempfile::tempdir().unwrap();
        let scripts = directory.path().join("cgi-bin");
        for (names, mode) in [(&PROGRAMS[..], 0o755), (&["data.txt"], 0o644)] {
            for name in names {
                let file = scripts.join(name);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(&file, "#!/bin/sh\n").unwrap();
                fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            }
        }
        symlink("a.cgi", scripts.join("link")).unwrap();
        symlink("/bin/sh", scripts.join("shell")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(scripts.join("socket")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            scripts.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o755),
            0,
        )
        .unwrap();
        let options = mapping(Root::new(directory.path()), 1);
        (directory, options)
    }

    fn mapping(root: Root, strip: usize) -> Options {
        let root = Arc::new(root);
        Options::below(Place { root, strip }, "/cgi-bin/".len())
    }

    fn found(options: &Options, path: &str) -> (String, String) {
        let script = locate(options, path.as_bytes(), Wait::Allowed).unwrap();
        let text = |bytes| String::from_utf8(Vec::from(bytes)).unwrap();
        (text(script.name), text(script.path_info))
    }

    fn refused(options: &Options, path: &str) -> Failure {
        match locate(options, path.as_bytes(), Wait::Allowed) {
            Err(LocateError::Failure(failure)) => failure,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn the_first_segment_that_is_a_file_is_the_script() {
        let (_directory, options) = site();
        for (path, name, path_info) in [
            ("/cgi-bin/a.cgi", "/cgi-bin/a.cgi", ""),
            ("/cgi-bin/a.cgi/", "/cgi-bin/a.cgi", "/"),
            ("/cgi-bin/a.cgi/b/c", "/cgi-bin/a.cgi", "/b/c"),
            ("/cgi-bin/a.cgi/.git/x.bak", "/cgi-bin/a.cgi", "/.git/x.bak"),
            ("/cgi-bin/sub/b.cgi", "/cgi-bin/sub/b.cgi", ""),
            ("/cgi-bin/sub/b.cgi/x", "/cgi-bin/sub/b.cgi", "/x"),
            ("/cgi-bin/link/x", "/cgi-bin/link", "/x"),
            ("/cgi-bin/caf\u{e9}/x", "/cgi-bin/caf\u{e9}", "/x"),
        ] {
            let expected = (name.to_owned(), path_info.to_owned());
            assert_eq!(found(&options, path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_script_is_refused_and_the_cause_names_the_file() {
        let (directory, options) = site();
        for (path, status, cause) in [
            (
                "/cgi-bin/",
                403,
                Cause::ScriptDirectory as fn(String) -> Cause,
            ),
            ("/cgi-bin", 403, Cause::ScriptDirectory),
            ("/cgi-bin/sub", 403, Cause::ScriptDirectory),
            ("/cgi-bin/sub/", 403, Cause::ScriptDirectory),
            ("/cgi-bin/none", 404, Cause::NotFound),
            ("/cgi-bin/sub/none/x", 404, Cause::NotFound),
            ("/cgi-bin/x.bak", 404, Cause::HiddenName),
            ("/cgi-bin/.hidden/c.cgi", 404, Cause::HiddenName),
            ("/cgi-bin/sub/.git/hook", 404, Cause::HiddenName),
            ("/cgi-bin/../bin/x", 404, Cause::HiddenName),
            ("/cgi-bin/data.txt", 403, Cause::NotExecutable),
            ("/cgi-bin/data.txt/x", 403, Cause::NotExecutable),
            ("/cgi-bin/shell", 403, Cause::OutsideRoot),
            ("/cgi-bin/socket", 403, Cause::NotRegular),
            ("/cgi-bin/fifo", 403, Cause::NotRegular),
        ] {
            let failure = refused(&options, path);
            assert_eq!(failure.status.as_u16(), status, "{path}");
            let text = failure.to_string();
            assert!(text.contains(directory.path().to_str().unwrap()), "{text}");
            let kind = std::mem::discriminant(&failure.cause);
            assert_eq!(
                kind,
                std::mem::discriminant(&cause(String::new())),
                "{path}"
            );
        }
    }

    #[test]
    fn a_directory_elsewhere_is_searched_without_the_key() {
        let (directory, _) = site();
        let elsewhere = directory.path().join("cgi-bin");
        let options = mapping(Root::new(&elsewhere), "/cgi-bin/".len());
        let script = locate(&options, b"/cgi-bin/sub/b.cgi/x", Wait::Allowed).unwrap();
        assert_eq!(&*script.name, b"/cgi-bin/sub/b.cgi");
        assert_eq!(script.file, elsewhere.join("sub/b.cgi"));
        for path in ["/cgi-bin", "/cgi-bin/"] {
            let cause = refused(&options, path).cause;
            assert!(matches!(cause, Cause::ScriptDirectory(_)), "{cause}");
        }
    }

    #[test]
    fn the_one_program_is_looked_at_only_where_that_may_wait() {
        let options = Options {
            programs: Programs::One {
                file: "/bin/sh".into(),
                name: b"/sh".as_slice().into(),
            },
            ..mapping(Root::new("/"), 1)
        };
        let never = locate(&options, b"/sh/x", Wait::Never);
        assert!(matches!(never, Err(LocateError::WouldWait)), "{never:?}");
        assert_eq!(found(&options, "/sh/x"), ("/sh".into(), "/x".into()));
    }

    #[test]
    fn a_key_without_a_directory_is_not_found() {
        let directory = tempfile::tempdir().unwrap();
        let options = mapping(Root::new(directory.path()), 1);
        for path in ["/cgi-bin", "/cgi-bin/", "/cgi-bin/x"] {
            assert_eq!(refused(&options, path).status, StatusCode::NOT_FOUND);
        }
    }
}
