//! `pywebd launcher`: the second process, started by the first with a listening socket as
//! standard input, or by the service manager.

use std::{io, os::fd::OwnedFd};

use crate::{
    cli::{
        Exit,
        arguments::{Launcher, Serve},
        logging, serve,
    },
    config::{self, Source},
    launcher,
    server::logs::set_level,
    site::Snapshot,
    systemd,
};

/// Starts scripts until the server ends.
pub fn launch(what: &Launcher) -> Exit {
    let outcome = source(&what.serve).and_then(|source| {
        let listener = listener(what).map_err(|error| error.to_string())?;
        let log_level = logging::direct(level(&source));
        let load = || {
            let snapshot = load(&source)?;
            set_level(&log_level, &snapshot.log);
            Ok(snapshot)
        };
        let groups = launcher::groups::Groups::prepare(what.parent);
        launcher::run(listener, what.parent, groups, load).map_err(|error| error.to_string())
    });
    match outcome {
        Ok(()) => Exit::Success,
        Err(message) => {
            eprintln!("pywebd launcher: {message}");
            Exit::OsError
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

fn source(what: &Serve) -> Result<Source, String> {
    serve::source(what).map_err(|(message, _)| message)
}

/// What the configuration says of the log, as long as it can be read.
fn level(source: &Source) -> tracing::Level {
    load(source).map_or(tracing::Level::INFO, |snapshot| snapshot.log.level)
}

/// The launcher's own reading of the configuration.
fn load(source: &Source) -> Result<Snapshot, String> {
    // Whoever asks for a script was let pass, and passwords may be for the server's eyes alone.
    let loaded = config::load_without_passwords(source, &config::environment::variable);
    loaded.snapshot.ok_or_else(|| {
        let findings = loaded.report.diagnostics.iter();
        let lines: Vec<String> = findings.map(ToString::to_string).collect();
        lines.join("\n")
    })
}
