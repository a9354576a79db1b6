//! The command line: verbs, and exit statuses as sysexits.h names them.

#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod arguments;
pub mod check;
mod completions;
mod control;
mod explain;
mod help;
mod launcher;
mod logging;
pub mod outcome;
mod serve;
pub mod show;
mod status;

use std::{io, process::ExitCode};

use clap::Parser;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

use crate::{config::Source, server::control::Request, sys::exec_filter};

use arguments::{Arguments, ConfigFile, Verb};

/// How the program ended, as sysexits.h numbers it and systemd shows it by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Success = 0,
    /// The command line makes no sense.
    Usage = 64,
    /// A file or directory that was named does not exist.
    NoInput = 66,
    /// No server is there to be asked.
    Unavailable = 69,
    /// A bug of pywebd.
    Software = 70,
    /// The operating system refused.
    OsError = 71,
    /// A permission is missing.
    NoPermission = 77,
    /// The configuration has errors.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs the program with the arguments it was started with.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed standard output is no reason to fail differently.
            let _ = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            };
            return exit.into();
        }
    };
    arguments.color.write_global();
    run(arguments.verb).into()
}

/// Keeps processes of the same user, as scripts may be, from this one's memory and environment
/// (prctl(2), `PR_SET_DUMPABLE`).
fn close_to_others() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("pywebd: scripts may look into this process: {error}");
    }
}

/// Gives up what only programs would gain by that this process started: the rights that a unit lets
/// it hand on (`AmbientCapabilities=`), those of files, and in the end the programs themselves. What it
/// may do itself stays as it is. Each is tried, whatever came of the others.
fn keep_rights() {
    let tell = |what, outcome: io::Result<()>| {
        if let Err(error) = outcome {
            eprintln!("pywebd: {what}: {error}");
        }
    };
    let inherited = inherit_nothing().map_err(io::Error::from);
    tell("rights that are not needed stay", inherited);
    let without = set_no_new_privs(true).map_err(io::Error::from);
    tell("this process may gain rights by a program", without);
    tell("this process may start programs", exec_filter::attach());
}

/// Empties the sets of capabilities that a program would inherit and have, of which the first has all
/// of the second. Where it is empty nothing is asked for: the filter of a unit may refuse capset(2).
fn inherit_nothing() -> rustix::io::Result<()> {
    let sets = capabilities(None)?;
    let inheritable = CapabilitySet::empty();
    if sets.inheritable == inheritable {
        return Ok(());
    }
    let sets = CapabilitySets {
        inheritable,
        ..sets
    };
    let had = clear_ambient_capability_set();
    set_capabilities(None, sets).and(had)
}

fn run(verb: Option<Verb>) -> Exit {
    if matches!(verb, None | Some(Verb::Serve(_) | Verb::Launcher(_))) {
        close_to_others();
    }
    // Else it starts the launcher, also again later, which may need them.
    if matches!(&verb, Some(Verb::Serve(what)) if what.launcher.is_some()) {
        keep_rights();
    }
    match verb {
        None => serve::demonstrate(),
        Some(Verb::Serve(what)) => serve::serve(&what),
        Some(Verb::Launcher(what)) => launcher::launch(&what),
        Some(Verb::Check { config, strict }) => {
            let warnings = if strict {
                check::Warnings::Fail
            } else {
                check::Warnings::Pass
            };
            existing(config, |source| check::check(source, warnings).print())
        }
        Some(Verb::Show { config }) => existing(config, |source| show::show(source).print()),
        Some(Verb::Diff(server)) => control::ask(&server, Request::Diff).print(),
        Some(Verb::Reload(server)) => control::ask(&server, Request::Reload).print(),
        Some(Verb::Status { server, json }) => {
            let form = if json {
                status::Form::Json
            } else {
                status::Form::Text
            };
            status::status(&server, form).print()
        }
        Some(Verb::Explain(question)) => existing(question.config.clone(), |source| {
            explain::explain(&question, source).print()
        }),
        Some(Verb::Completions { shell }) => completions::completions(shell).print(),
    }
}

/// Goes on with a configuration file that is there.
fn existing(config: ConfigFile, go_on: impl FnOnce(&Source) -> Exit) -> Exit {
    match config.source() {
        Ok(source) => go_on(&source),
        Err(message) => {
            eprintln!("pywebd: {message}");
            Exit::NoInput
        }
    }
}
