//! Whether a script may be started: only what the launcher's own configuration maps, and only a
//! file that is as scripts ought to be ([`checks`]).
//!
//! Nothing that the network process says is believed but the facts of the request. The file is
//! found with the same function that the server decides with.

use std::{
    ffi::{CString, OsStr},
    os::fd::OwnedFd,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    thread::CapabilitySet,
};

use crate::{
    cgi::{
        self, Account, Confinement, Programs,
        locate::{LocateError, Script, locate},
        wire::{Launch, Refusal},
    },
    fs::{Metadata, Opened, Place, Wait},
    launcher::{checks::checks, environment::environment},
    site::{Action, Snapshot},
};

/// The longest of the names in a request to launch: of a path, for the kernel.
const MAX_NAME: usize = 4096;

/// A script that may be started, with all that its start takes.
#[derive(Debug)]
pub struct Admitted<'s> {
    /// The program and its arguments, itself the first.
    pub arguments: Vec<CString>,
    /// The directory that the script lies in.
    pub directory: OwnedFd,
    /// Its environment.
    pub environment: Vec<CString>,
    /// What it may take.
    pub confinement: &'s Confinement,
    /// The user to become, where the launcher is not that user already.
    pub account: Option<&'s Account>,
}

/// Decides about a request to launch.
///
/// 1. The site and the path key exist, and the key maps programs.
/// 2. The script's own path is of that key: no other one denies it or sends it elsewhere.
/// 3. It is found, and nothing of its name is left over.
/// 4. It passes the [`checks`]. Whether it can be executed is for the kernel to say, when it is.
/// 5. Its environment is one.
pub fn admit<'s>(snapshot: &'s Snapshot, launch: &Launch) -> Result<Admitted<'s>, Refusal> {
    let options = mapping(snapshot, launch)?;
    let script = locate(options, &launch.script_name, Wait::Allowed).map_err(not_found)?;
    if !script.path_info.is_empty() {
        let name = script.file.display();
        return Err(Refusal::NotMapped(format!(
            "{name} is the script of that path"
        )));
    }
    let account = options.confinement.account.as_ref();
    let account = account.filter(|account| rustix::process::geteuid().as_raw() != account.uid);
    account.map_or(Ok(()), check_privilege)?;
    let (path, directory) = open_directory(&script, &options.programs)?;
    for (_, verdict) in checks(&script, options, (&path, &directory.metadata)) {
        verdict.map_err(Refusal::Unsafe)?;
    }
    Ok(Admitted {
        account,
        arguments: arguments(&script, &options.programs)
            .into_iter()
            .map(c_string)
            .collect::<Result<_, _>>()?,
        directory: directory.fd,
        environment: environment(&launch.environment, &script, options)?,
        confinement: &options.confinement,
    })
}

/// To run something as another user takes what only root's processes have.
fn check_privilege(account: &Account) -> Result<(), Refusal> {
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::KILL;
    let own = rustix::thread::capabilities(None);
    if own.is_ok_and(|sets| sets.effective.contains(needed)) {
        return Ok(());
    }
    let name = &account.name;
    Err(Refusal::Unsafe(format!(
        "it runs as user {name}, and the launcher may not change users: start it as root, or give it \
         CAP_SETUID, CAP_SETGID and CAP_KILL"
    )))
}

/// What the configuration says about the script.
fn mapping<'s>(snapshot: &'s Snapshot, launch: &Launch) -> Result<&'s cgi::Options, Refusal> {
    let Launch {
        site,
        key,
        script_name,
        ..
    } = launch;
    if [site.len(), key.len(), script_name.len()].into_iter().max() > Some(MAX_NAME) {
        return Err(Refusal::Malformed("a name that is too long".into()));
    }
    let Some(site) = snapshot.site_named(site) else {
        return Err(Refusal::NotMapped(format!("there is no site {site:?}")));
    };
    let routes = &site.routes;
    let route = routes.keyed(key);
    let Some((route, Action::Cgi(options))) = route.map(|route| (route, &route.action)) else {
        return Err(Refusal::NotMapped(format!(
            "the path key {key:?} maps no programs"
        )));
    };
    let is_of_it = match &options.programs {
        Programs::One { name, .. } => **name == **script_name,
        Programs::Below { .. } | Programs::Interpreted { .. } => {
            is_plain(script_name)
                && std::ptr::eq(&raw const routes[routes.find(script_name)], route)
        }
    };
    if !is_of_it {
        let name = String::from_utf8_lossy(script_name);
        return Err(Refusal::NotMapped(format!(
            "{name:?} is not of the path key {key:?}"
        )));
    }
    Ok(options)
}

/// Whether a path is as a request's is after it was parsed: segments that are names, and none of
/// them `.` or `..`.
fn is_plain(path: &[u8]) -> bool {
    path.strip_prefix(b"/").is_some_and(|path| {
        !path.contains(&0)
            && path
                .split(|&byte| byte == b'/')
                .all(|segment| !matches!(segment, b"" | b"." | b".."))
    })
}

fn not_found(error: LocateError) -> Refusal {
    match error {
        LocateError::Failure(failure) => Refusal::NotMapped(failure.to_string()),
        LocateError::MissingSlash => Refusal::NotMapped("it is a directory".into()),
        LocateError::WouldWait => Refusal::System {
            step: "openat2".into(),
            errno: Errno::AGAIN.raw_os_error(),
        },
    }
}

/// Opens the directory that the script is named in: its working directory (RFC 3875 §7.2).
pub fn open_directory(script: &Script, programs: &Programs) -> Result<(PathBuf, Opened), Refusal> {
    let (path, opened) = match programs {
        Programs::Below { place, .. } | Programs::Interpreted { place, .. } => {
            directory_within(place, &script.name)
        }
        Programs::One { file, .. } => directory_of(file),
    };
    match opened {
        Ok(opened) => Ok((path, opened)),
        Err(error) => {
            let path = path.display();
            Err(Refusal::Unsafe(format!("its directory {path}: {error}")))
        }
    }
}

fn directory_within(place: &Place, name: &[u8]) -> (PathBuf, Result<Opened, String>) {
    let end = name.iter().rposition(|&byte| byte == b'/');
    let name = &name[..=end.unwrap_or_default()];
    let opened = place.root.find(place.relative(name), Wait::Allowed);
    let opened = opened.map_err(|error| error.to_string());
    (place.absolute(name), opened)
}

fn directory_of(file: &Path) -> (PathBuf, Result<Opened, String>) {
    let path = file.parent().unwrap_or(Path::new("/"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| error.to_string());
    let opened = opened.and_then(|fd| match Metadata::of(&fd) {
        Ok(metadata) => Ok(Opened { fd, metadata }),
        Err(error) => Err(error.to_string()),
    });
    (path.to_owned(), opened)
}

/// The program that is run, and the script where that is another one. A query never becomes an
/// argument (RFC 3875 §4.4 would let it): programs take those for options.
pub fn arguments<'s>(script: &'s Script, programs: &'s Programs) -> Vec<&'s OsStr> {
    let interpreter = match programs {
        Programs::Interpreted { interpreter, .. } => Some(interpreter),
        Programs::Below { .. } | Programs::One { .. } => None,
    };
    let arguments = interpreter.into_iter().chain([&script.file]);
    arguments.map(|path| path.as_os_str()).collect()
}

fn c_string(text: &OsStr) -> Result<CString, Refusal> {
    CString::new(text.as_bytes()).map_err(|_| Refusal::Malformed("a name with a NUL in it".into()))
}
