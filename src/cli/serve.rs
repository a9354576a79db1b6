//! `pywebd serve`: a launcher, the log, and the server, in this order and in the foreground.

use std::{
    ffi::OsString,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    cgi::Gateway,
    cli::{Exit, arguments::Serve, control, logging},
    config::{self, Report, Source},
    records::{self, message_id},
    server::{
        Server, Start,
        error::StartError,
        event,
        launcher::LauncherChild,
        logs::{self, Logs},
    },
    sys::seqpacket,
    systemd::{self, sockets::Passed},
    transport::Listen,
};

/// So many errors of a configuration are told to the journal.
const FINDINGS: usize = 50;

/// Without a verb: the folder `www` here, as in a fresh clone.
pub fn demonstrate() -> Exit {
    if !Path::new("www").is_dir() {
        eprintln!(
            "pywebd: there is no folder `www` here to serve; \
             `pywebd serve DIR` serves another, `pywebd --help` tells more"
        );
        return Exit::NoInput;
    }
    serve(&Serve {
        directory: Some("www".into()),
        listen: Listen::Tcp(([127, 0, 0, 1], 8000).into()),
        cgi: true,
        config: None,
        launcher: None,
        control: None,
    })
}

/// Serves until it is told to stop.
pub fn serve(what: &Serve) -> Exit {
    let source = match present(what).and_then(|()| source(what)) {
        Ok(source) => source,
        Err((message, exit)) => {
            eprintln!("pywebd: {message}");
            return exit;
        }
    };
    let signals = match event::take_signals() {
        Ok(signals) => signals,
        Err(error) => return refused("taking signals", &error),
    };
    let loaded = config::load(&source, &config::environment::variable);
    let Some(snapshot) = loaded.snapshot else {
        refuse(&loaded.report);
        return ended(Exit::Config);
    };
    anstream::eprint!("{}", loaded.report.render());
    let (sockets, launcher, gateway) = match divide(what) {
        Ok(divided) => divided,
        Err((action, error)) => return refused(action, &error),
    };
    let (sink, records) = records::queue();
    let messages = logging::queued(snapshot.log.level, sink.clone());
    let writer = logs::open(&snapshot.log).and_then(|target| {
        let writer = records::writer::start(records, target, logging::waiting);
        writer.map_err(StartError::system("starting the writer of records"))
    });
    let writer = match writer {
        Ok(writer) => writer,
        Err(error) => {
            eprintln!("pywebd: {error}");
            return exit_of(&error);
        }
    };
    let start = Start {
        source,
        snapshot,
        values: loaded.values,
        seen: loaded.seen,
        signals,
        sockets,
        gateway: gateway.clone(),
        launcher,
        logs: Logs {
            sink,
            level: messages.level.clone(),
        },
        control: control::of_server(what),
    };
    let exit = match Server::start(start) {
        Ok(server) => run(what, server, &gateway),
        Err(error) => {
            complain(&error);
            exit_of(&error)
        }
    };
    drop(messages);
    // Every sink is gone with the server: what is queued is written, and the writer ends.
    writer.finish();
    ended(exit)
}

/// Takes over the sockets that were passed, before another process could get them, too. Then the launcher
/// is started, while this process is small and has one thread.
fn divide(what: &Serve) -> Result<(Passed, Option<LauncherChild>, Gateway), Refusal> {
    let sockets = systemd::sockets::passed();
    let sockets = sockets.map_err(|error| ("taking over passed sockets", error))?;
    let launcher = start_launcher(what);
    let (launcher, gateway) = launcher.map_err(|error| ("starting the launcher", error))?;
    Ok((sockets, launcher, gateway))
}

/// What was tried, and what the system said.
type Refusal = (&'static str, io::Error);

fn run(what: &Serve, server: Server, gateway: &Gateway) -> Exit {
    // From here on both processes have read the configuration.
    if let Err(error) = gateway.reload() {
        eprintln!("pywebd: the launcher is not ready: {error}");
        return Exit::OsError;
    }
    announce(what, &server);
    match server.run() {
        Ok(()) => Exit::Success,
        Err(error) => {
            tracing::error!("{error}");
            Exit::Software
        }
    }
}

/// Says what is wrong with the configuration.
fn refuse(report: &Report) {
    if !systemd::journal::is_stderr() {
        anstream::eprint!("{}", report.render());
        return;
    }
    logging::direct(tracing::Level::INFO, "pywebd");
    for finding in report.diagnostics.iter().take(FINDINGS) {
        tracing::error!(
            MESSAGE_ID = message_id::CONFIGURATION_REFUSED,
            "the server does not start: {finding}"
        );
    }
}

/// Who has failed stays for a moment: journald looks up whose an entry is when it reads it, and of a process
/// that has gone it finds no unit. Then `systemctl status` would not show why.
fn ended(exit: Exit) -> Exit {
    if exit != Exit::Success && systemd::journal::is_stderr() {
        thread::sleep(Duration::from_millis(200));
    }
    exit
}

/// Says why the server does not start.
fn complain(error: &StartError) {
    if systemd::journal::is_stderr() {
        tracing::error!(MESSAGE_ID = error.message_id(), "{error}");
    } else {
        eprintln!("pywebd: {error}");
    }
}

/// Says what the operating system has refused.
fn refused(action: &str, error: &io::Error) -> Exit {
    eprintln!("pywebd: {action}: {error}");
    Exit::OsError
}

/// Fails where there is no file that a configuration could be read from.
fn present(what: &Serve) -> Result<(), (String, Exit)> {
    match &what.config {
        Some(file) if !file.exists() => {
            Err((format!("{}: no such file", file.display()), Exit::NoInput))
        }
        _ => Ok(()),
    }
}

/// Where the configuration comes from. A relative directory is made absolute here, so that the
/// launcher and scripts see the same path.
pub fn source(what: &Serve) -> Result<Source, (String, Exit)> {
    if let Some(file) = &what.config {
        return Ok(Source::File(file.clone()));
    }
    let named = what.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    match readable_directory(&named) {
        Ok(root) => Ok(Source::Directory {
            root,
            listen: what.listen.clone(),
            cgi: what.cgi,
            env: state_directory(),
        }),
        Err(error) => {
            let exit = match error.kind() {
                ErrorKind::PermissionDenied => Exit::NoPermission,
                _ => Exit::NoInput,
            };
            Err((format!("cannot serve {}: {error}", named.display()), exit))
        }
    }
}

/// The absolute path of a directory that can be listed.
fn readable_directory(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::fs::canonicalize(path)?;
    std::fs::read_dir(&absolute)?;
    Ok(absolute)
}

/// A place for what scripts keep, by the name systemd gives it to services.
fn state_directory() -> Vec<(String, String)> {
    let base = std::env::var("XDG_STATE_HOME")
        .ok()
        .or_else(|| Some(std::env::var("HOME").ok()? + "/.local/state"));
    base.into_iter()
        .map(|base| ("STATE_DIRECTORY".to_owned(), base + "/pywebd"))
        .collect()
}

/// The launcher that runs already, or one that is started here.
fn start_launcher(what: &Serve) -> io::Result<(Option<LauncherChild>, Gateway)> {
    if let Some(path) = &what.launcher {
        let launcher = seqpacket::Address::new(path)?;
        return Ok((None, Gateway { launcher }));
    }
    let listener = seqpacket::Listener::bind_abstract()?;
    let gateway = Gateway {
        launcher: listener.address()?,
    };
    let child = LauncherChild::start(listener.into(), launcher_arguments(what))?;
    Ok((Some(child), gateway))
}

fn launcher_arguments(what: &Serve) -> Vec<OsString> {
    let parent = std::process::id().to_string();
    let mut arguments: Vec<OsString> = vec!["launcher".into(), "--parent".into(), parent.into()];
    if let Some(config) = &what.config {
        arguments.extend(["--config".into(), config.into()]);
        return arguments;
    }
    arguments.extend(["--listen".into(), what.listen.to_string().into()]);
    if what.cgi {
        arguments.push("--cgi".into());
    }
    if let Some(directory) = &what.directory {
        arguments.extend(["--".into(), directory.into()]);
    }
    arguments
}

/// Says where the site is and how to stop, to a person who started it by hand.
fn announce(what: &Serve, server: &Server) {
    if systemd::journal::is_stderr() {
        let addresses: Vec<String> = server.addresses().map(Listen::to_string).collect();
        let addresses = addresses.join(", ");
        tracing::info!(
            MESSAGE_ID = message_id::STARTED,
            "started, listening on {addresses}"
        );
        return;
    }
    let what = match (&what.directory, &what.config) {
        (_, Some(config)) => config.display().to_string(),
        (Some(directory), None) => directory.display().to_string(),
        (None, None) => ".".to_owned(),
    };
    let mut out = std::io::stdout().lock();
    for address in server.addresses() {
        let url = match address {
            Listen::Tcp(address) if address.ip().is_unspecified() => {
                format!("http://localhost:{}/", address.port())
            }
            Listen::Tcp(address) => format!("http://{address}/"),
            Listen::Unix(_) => address.to_string(),
        };
        // Nobody reads it when standard output is closed.
        let _ = writeln!(out, "Serving {what} at {url}");
    }
    let _ = writeln!(out, "Ctrl-C stops.");
}

fn exit_of(error: &StartError) -> Exit {
    if error.is_permission() {
        Exit::NoPermission
    } else {
        Exit::OsError
    }
}
