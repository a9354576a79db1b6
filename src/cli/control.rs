//! `pywebd reload`, `diff` and `status`: a server that runs is asked over its control socket. It does
//! what is asked, with its own rights and environment, and says what there is to print.

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use crate::{
    cli::{
        Exit,
        arguments::{ControlPath, Running, Serve},
        outcome::Outcome,
    },
    server::control::{self, Answer, Ending, Place, Request},
};

/// The control socket of the server that the service manager or root has started.
const OF_THE_MACHINE: &str = "/run/pywebd/control";

/// Asks a server, and tells what it answers.
pub fn ask(server: &Running, request: Request) -> Outcome {
    let path = match place(server.control.as_ref()) {
        Place::Usual(path) if path.exists() => path,
        // The server of the machine says who may ask.
        Place::Usual(_) | Place::Unknown if Path::new(OF_THE_MACHINE).exists() => {
            OF_THE_MACHINE.into()
        }
        Place::Named(path) | Place::Usual(path) => path,
        Place::Unknown => {
            let reason = "neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR is set: \
                          name the control socket of the server with --control";
            return failed(reason, Exit::Usage);
        }
    };
    match control::ask(&path, request) {
        Ok(answer) => told(answer),
        Err(error) => unanswered(&path, &error),
    }
}

/// Where a server listens for that; nowhere where it serves a directory, unless it is told to.
pub fn of_server(what: &Serve) -> Option<Place> {
    let is_wanted = what.control.is_some() || what.config.is_some();
    is_wanted.then(|| place(what.control.as_ref()))
}

/// The place that is named, that systemd has made for this service, root's, or the user's.
fn place(named: Option<&ControlPath>) -> Place {
    if let Some(ControlPath(path)) = named {
        return Place::Named(path.clone());
    }
    // A relative path is to be ignored (XDG Base Directory Specification).
    let set = |name| {
        let value = std::env::var(name).ok();
        value.filter(|value| value.starts_with('/'))
    };
    // Of several directories (systemd.exec(5), `RuntimeDirectory=`) the first.
    let first = |list: String| list.split(':').next().map(str::to_owned);
    if let Some(directory) = set("RUNTIME_DIRECTORY").and_then(first) {
        return Place::Named(Path::new(&directory).join("control"));
    }
    if rustix::process::geteuid().is_root() {
        return Place::Usual(OF_THE_MACHINE.into());
    }
    match set("XDG_RUNTIME_DIR") {
        Some(directory) => Place::Usual(Path::new(&directory).join("pywebd/control")),
        None => Place::Unknown,
    }
}

fn told(answer: Answer) -> Outcome {
    let exit = match answer.ending {
        Ending::Done => Exit::Success,
        Ending::Configuration => Exit::Config,
        Ending::Refused | Ending::Launcher => Exit::OsError,
        Ending::Permission | Ending::Denied => Exit::NoPermission,
        Ending::NotUnderstood | Ending::Stopping => Exit::Unavailable,
    };
    Outcome {
        output: answer.output,
        findings: answer.findings,
        exit,
    }
}

fn unanswered(path: &Path, error: &io::Error) -> Outcome {
    let path = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => {
            let reason = format!("{path} is not for you: run this as root or as the server's user");
            failed(&reason, Exit::NoPermission)
        }
        ErrorKind::InvalidFilename => {
            let reason = format!("{path} is too long for a socket: name another with --control");
            failed(&reason, Exit::Usage)
        }
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            let reason = format!(
                "no server listens at {path}: start one with `pywebd serve --config FILE`, \
                 or name its socket with --control"
            );
            failed(&reason, Exit::Unavailable)
        }
        _ => {
            let reason = format!(
                "the server at {path} gives no answer ({error}): its log tells what it does"
            );
            failed(&reason, Exit::Unavailable)
        }
    }
}

fn failed(reason: &str, exit: Exit) -> Outcome {
    Outcome {
        output: String::new(),
        findings: format!("pywebd: {reason}\n"),
        exit,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::arguments::{Arguments, Verb};

    fn place(arguments: &[&str]) -> Option<Place> {
        let arguments = [&["pywebd", "serve"], arguments].concat();
        match Arguments::try_parse_from(arguments).unwrap().verb {
            Some(Verb::Serve(what)) => of_server(&what),
            _ => unreachable!("`serve` is written"),
        }
    }

    #[test]
    fn a_served_directory_has_no_control_socket_but_where_one_is_named() {
        assert_eq!(place(&["/srv"]), None);
        assert_eq!(place(&[]), None);
        let named = ["--control", "/run/a/control"];
        for what in ["/srv", "--config=a"] {
            let place = place(&[&[what], &named[..]].concat());
            assert_eq!(place, Some(Place::Named("/run/a/control".into())));
        }
    }
}
