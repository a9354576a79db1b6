//! Which script a path names: the first segment below the key that is a regular file; what
//! follows is `PATH_INFO` (RFC 3875 §4.1.5, §4.1.13).
//!
//! The server and the launcher both decide with this function. A script's source is never a file
//! to serve: whatever is below a `cgi` key is run or refused.

use std::path::{Path, PathBuf};

use http::StatusCode;

use crate::{
    cgi::Options,
    fs::{Kind, Metadata, OpenError, Wait, policy},
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
    /// There is none, or it must not run.
    Failure(Failure),
}

/// Finds the script. Fails with 404 where nothing is and for a name that is never served, and with
/// 403 for a directory, a file that cannot be read or has no execute bit, a link that leads out of
/// the root, and what is not a regular file.
///
/// Only the part that names the script is looked at; `PATH_INFO` may be anything. In the usual
/// case the first segment is the script, and one file is opened.
pub fn locate(options: &Options, path: &[u8], wait: Wait) -> Result<Script, LocateError> {
    // A key's directory is asked for without its slash too, and then nothing is behind it.
    let mut end = options.key_length.min(path.len());
    loop {
        let segment = path[end..].split(|&byte| byte == b'/').next();
        let segment = segment.unwrap_or_default();
        end += segment.len();
        let (name, path_info) = path.split_at(end);
        let file = || options.place.absolute(name);
        if policy::is_hidden(segment) {
            let cause = Cause::HiddenName(file().display().to_string());
            return Err(failure(StatusCode::NOT_FOUND, cause));
        }
        let opened = options.place.root.open(options.place.relative(name), wait);
        let metadata = opened.map_err(|error| refusal(error, &file()))?.metadata;
        match metadata.kind {
            Kind::Directory if path_info.len() > 1 => end += 1,
            Kind::File if metadata.permissions & 0o111 != 0 => {
                return Ok(Script {
                    name: name.into(),
                    path_info: path_info.into(),
                    file: file(),
                    metadata,
                });
            }
            kind => return Err(failure(StatusCode::FORBIDDEN, no_script(kind, &file()))),
        }
    }
}

fn failure(status: StatusCode, cause: Cause) -> LocateError {
    LocateError::Failure(Failure::new(status, cause))
}

/// Why nothing was opened.
///
/// Whoever runs a program need not be able to read it, but a script's interpreter must be; so a
/// compiled program that can only be run (mode 711) is refused like an unreadable script, in the
/// server and in the launcher alike.
fn refusal(error: OpenError, file: &Path) -> LocateError {
    let file = file.display().to_string();
    match error {
        OpenError::NotFound => failure(StatusCode::NOT_FOUND, Cause::NotFound(file)),
        OpenError::Denied => failure(StatusCode::FORBIDDEN, Cause::Unreadable(file)),
        OpenError::Outside => failure(StatusCode::FORBIDDEN, Cause::OutsideRoot(file)),
        OpenError::WouldWait => LocateError::WouldWait,
        OpenError::System(error) => {
            LocateError::Failure(Failure::system("looking for a script", &error))
        }
    }
}

/// Why what was opened is not run.
fn no_script(kind: Kind, file: &Path) -> Cause {
    let file = file.display().to_string();
    match kind {
        Kind::Directory => Cause::ScriptDirectory(file),
        Kind::File => Cause::NotExecutable(file),
        Kind::Other => Cause::NotRegular(file),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        sync::Arc,
        time::Duration,
    };

    use super::*;
    use crate::fs::{Place, Root};

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
        Options {
            place: Place {
                root: Arc::new(root),
                strip,
            },
            key_length: "/cgi-bin/".len(),
            env: Vec::new(),
            timeout: Duration::MAX,
            max_time: Duration::MAX,
            pass_authorization: false,
        }
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
            ("/cgi-bin/socket", 403, Cause::Unreadable),
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
    fn a_key_without_a_directory_is_not_found() {
        let directory = tempfile::tempdir().unwrap();
        let options = mapping(Root::new(directory.path()), 1);
        for path in ["/cgi-bin", "/cgi-bin/", "/cgi-bin/x"] {
            assert_eq!(refused(&options, path).status, StatusCode::NOT_FOUND);
        }
    }
}
