//! Whether a script may be started: only what the launcher's own configuration maps, and only a
//! file that is as scripts ought to be (the checks of Apache's suexec that need no other user).
//!
//! Nothing that the network process says is believed but the facts of the request. The file is
//! found with the same function that the server decides with.

use std::{ffi::CString, os::fd::OwnedFd, os::unix::ffi::OsStrExt};

use rustix::io::Errno;

use crate::{
    cgi::{
        self,
        locate::{LocateError, Script, locate},
        wire::{Launch, Refusal},
    },
    fs::{Place, Wait},
    launcher::{environment::environment, interpreter::BEGINNING},
    site::{Action, Route, Site, Snapshot},
};

/// The longest of the names in a request to launch: of a path, for the kernel.
const MAX_NAME: usize = 4096;

/// Mode bits: others may write.
const OTHERS_WRITE: u32 = 0o002;

/// Mode bits: run as the file's owner or group.
const SET_ID: u32 = 0o6000;

/// A script that may be started, with all that its start takes.
#[derive(Debug)]
pub struct Admitted<'s> {
    /// The program.
    pub path: CString,
    /// The directory that it lies in.
    pub directory: OwnedFd,
    /// Its environment.
    pub environment: Vec<CString>,
    place: &'s Place,
    name: Box<[u8]>,
}

/// Decides about a request to launch.
///
/// 1. The site and the path key exist, and the key maps programs.
/// 2. The script's own path is of the same mapping: no other key denies it or sends it elsewhere.
/// 3. It is found, and nothing of its name is left over.
/// 4. Neither it nor its directory can be written by others, and it changes no user or group. The
///    sticky bit is no excuse for a directory: everyone could add a script. Whether it can be
///    executed is for the kernel to say, when it is.
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
    check_file(&script)?;
    Ok(Admitted {
        path: CString::new(script.file.as_os_str().as_bytes())
            .map_err(|_| Refusal::Malformed("a name with a NUL in it".into()))?,
        directory: open_directory(&script, &options.place)?,
        environment: environment(&launch.environment, &script, options)?,
        place: &options.place,
        name: script.name,
    })
}

impl Admitted<'_> {
    /// The beginning of the file, to explain why it was not run. Absent when it cannot be read.
    pub fn beginning(&self) -> Option<Vec<u8>> {
        let opened = self
            .place
            .root
            .open(self.place.relative(&self.name), Wait::Allowed)
            .ok()?;
        let mut bytes = vec![0; BEGINNING];
        let length = rustix::io::read(opened.fd, &mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }
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
    let mapping = site.routes.keyed(key).and_then(programs);
    let Some(options) = mapping else {
        return Err(Refusal::NotMapped(format!(
            "the path key {key:?} maps no programs"
        )));
    };
    let is_of_it = is_plain(script_name)
        && route(site, script_name).is_some_and(|own| is_same(&own.place, &options.place));
    if !is_of_it {
        let name = String::from_utf8_lossy(script_name);
        return Err(Refusal::NotMapped(format!(
            "{name:?} is not of the path key {key:?}"
        )));
    }
    Ok(options)
}

fn programs(route: &Route) -> Option<&cgi::Options> {
    match &route.action {
        Action::Cgi(options) => Some(options),
        Action::Files(_) | Action::Redirect(_) | Action::Deny => None,
    }
}

fn route<'s>(site: &'s Site, path: &[u8]) -> Option<&'s cgi::Options> {
    programs(&site.routes[site.routes.find(path)])
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

fn is_same(one: &Place, other: &Place) -> bool {
    (one.root.path(), one.strip) == (other.root.path(), other.strip)
}

fn not_found(error: LocateError) -> Refusal {
    match error {
        LocateError::Failure(failure) => Refusal::NotMapped(failure.to_string()),
        LocateError::WouldWait => Refusal::System {
            step: "openat2".into(),
            errno: Errno::AGAIN.raw_os_error(),
        },
    }
}

fn check_file(script: &Script) -> Result<(), Refusal> {
    let file = script.file.display();
    let permissions = script.metadata.permissions;
    if permissions & OTHERS_WRITE != 0 {
        let reason = format!("{file} can be written by others: run chmod o-w");
        return Err(Refusal::Unsafe(reason));
    }
    if permissions & SET_ID != 0 {
        let reason = format!("{file} would change its user or group: run chmod ug-s");
        return Err(Refusal::Unsafe(reason));
    }
    Ok(())
}

/// Opens the directory that the script is named in: its working directory (RFC 3875 §7.2).
fn open_directory(script: &Script, place: &Place) -> Result<OwnedFd, Refusal> {
    let end = script.name.iter().rposition(|&byte| byte == b'/');
    let name = &script.name[..=end.unwrap_or_default()];
    let directory = place.absolute(name);
    let directory = directory.display();
    let opened = place.root.open(place.relative(name), Wait::Allowed);
    let opened =
        opened.map_err(|error| Refusal::Unsafe(format!("its directory {directory}: {error}")))?;
    if opened.metadata.permissions & OTHERS_WRITE != 0 {
        let reason = format!("its directory {directory} can be written by others: run chmod o-w");
        return Err(Refusal::Unsafe(reason));
    }
    Ok(opened.fd)
}
