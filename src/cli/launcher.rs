//! `pywebd launcher`: the second process, started by the first with a listening socket as
//! standard input, or by the service manager.

use std::{error::Error, io, os::fd::OwnedFd};

use crate::{
    cli::{Exit, arguments::Launcher, logging, serve},
    config::{self, Source},
    launcher,
    server::logs::set_level,
    site::Snapshot,
    sys::heap,
    systemd,
};

/// Starts scripts until the server ends.
pub fn launch(what: &Launcher) -> Exit {
    let refused = |error: &dyn Error| (error.to_string(), Exit::OsError);
    let outcome = serve::source(&what.serve).and_then(|source| {
        let listener = listener(what).map_err(|error| refused(&error))?;
        let log_level = logging::direct(tracing::Level::INFO, "pywebd-cgi");
        let load = || {
            let snapshot = load(&source)?;
            set_level(&log_level, &snapshot.log);
            Ok(snapshot)
        };
        let groups = launcher::groups::Groups::prepare(what.parent);
        launcher::run(listener, what.parent, groups, load).map_err(|error| refused(&error))
    });
    match outcome {
        Ok(()) => Exit::Success,
        Err((message, exit)) => {
            eprintln!("pywebd launcher: {message}");
            exit
        }
    }
}

/// The socket that the service manager or the server has passed.
fn listener(what: &Launcher) -> io::Result<OwnedFd> {
    if what.parent.is_some() {
        return launcher::listener_from_stdin();
    }
    let sockets = systemd::sockets::passed()?;
    let missing = "no socket was passed: it is started by pywebd-cgi.socket";
    sockets
        .sockets
        .into_iter()
        .next()
        .ok_or_else(|| io::Error::other(missing))
}

/// The launcher's own reading of the configuration.
fn load(source: &Source) -> Result<Snapshot, String> {
    let config::Loaded {
        snapshot, report, ..
    } = config::load_for_launcher(source, &config::environment::variable);
    // Of what was read nothing else is left.
    heap::trim();
    snapshot.ok_or_else(|| {
        let findings = report.diagnostics.iter();
        let lines: Vec<String> = findings.map(ToString::to_string).collect();
        lines.join("\n")
    })
}
