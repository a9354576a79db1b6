//! `pywebd launcher`: the second process, started by the first with a listening socket as
//! standard input.

use crate::{
    cli::{
        Exit,
        arguments::{Launcher, Serve},
        logging::{self, Lines},
        serve,
    },
    config::{self, Source},
    launcher,
    site::Snapshot,
};

/// Starts scripts until the server ends.
pub fn launch(what: &Launcher) -> Exit {
    let outcome = source(&what.serve).and_then(|source| {
        let listener = launcher::listener_from_stdin().map_err(|error| error.to_string())?;
        let _messages = logging::start(level(&source), Lines::Direct);
        let load = || load(&source);
        launcher::run(listener, what.parent, load).map_err(|error| error.to_string())
    });
    match outcome {
        Ok(()) => Exit::Success,
        Err(message) => {
            eprintln!("pywebd launcher: {message}");
            Exit::OsError
        }
    }
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
    let loaded = config::load(source, &config::environment::variable);
    loaded.snapshot.ok_or_else(|| {
        let findings = loaded.report.diagnostics.iter();
        let lines: Vec<String> = findings.map(ToString::to_string).collect();
        lines.join("\n")
    })
}
