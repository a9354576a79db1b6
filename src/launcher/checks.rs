//! What a script is looked at for before it is started: that nobody else could have written what
//! runs, and, where it runs as another user, what Apache's suexec asks.
//!
//! `pywebd explain` shows the same list.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    cgi::{Account, Confinement, Options, Programs, locate::Script},
    fs::{Kind, Metadata},
    launcher::{
        admission::{arguments, open_directory},
        interpreter::{beginning, objection},
    },
};

/// Mode bits: others may write.
const OTHERS_WRITE: u32 = 0o002;

/// Mode bits: the group or others may write.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;

/// Mode bits: run as the file's owner or group.
const SET_ID: u32 = 0o6000;

/// Mode bits: someone may execute.
const EXECUTE: u32 = 0o111;

/// What was looked at, and what is wrong with it, with the remedy.
pub type Check = (&'static str, Result<(), String>);

/// How a script would be started, for people.
#[derive(Debug)]
pub struct Examined {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// The working directory.
    pub directory: PathBuf,
    /// What it was looked at for.
    pub checks: Vec<Check>,
}

/// Looks at a script as the launcher does, and at what the kernel will say.
pub fn examine(script: &Script, options: &Options) -> Examined {
    let arguments = arguments(script, &options.programs);
    let line = beginning(Path::new(arguments[0])).and_then(|bytes| objection(&bytes));
    let line = line.map_or(Ok(()), Err);
    let (directory, mut checks) = match open_directory(script, &options.programs) {
        Ok((path, opened)) => {
            let checks = checks(script, options, (&path, &opened.metadata)).collect();
            (path, checks)
        }
        Err(refusal) => {
            let parent = script.file.parent().unwrap_or(Path::new("/"));
            let check = ("its directory", Err(refusal.to_string()));
            (parent.to_owned(), vec![check])
        }
    };
    checks.push(("what runs it", line));
    if let Some(account) = &options.confinement.account {
        checks.push(("whether its user can read it", check_reach(script, account)));
    }
    Examined {
        arguments: arguments
            .iter()
            .map(|argument| argument.display().to_string())
            .collect(),
        directory,
        checks,
    }
}

/// The checks of a script that was found, in their order. `directory` is the one that it lies in.
pub fn checks(
    script: &Script,
    options: &Options,
    directory: (&Path, &Metadata),
) -> impl Iterator<Item = Check> {
    let confinement = &options.confinement;
    let file = (&*script.file, &script.metadata);
    let interpreter = match &options.programs {
        Programs::Interpreted { interpreter, .. } => Some(interpreter),
        Programs::Below { .. } | Programs::One { .. } => None,
    };
    let interpreter = interpreter.map(|file| ("its interpreter", check_interpreter(file)));
    let own = [
        (
            "who may write to it",
            check_writers("it", file, confinement),
        ),
        ("its set-user-ID bits", check_bits(file, confinement)),
        (
            "who may write to its directory",
            check_writers("its directory", directory, confinement),
        ),
    ];
    let account = confinement.account.as_ref();
    let owners = account.map(|account| {
        let check = check_owner("it", file, account)
            .and_then(|()| check_owner("its directory", directory, account));
        ("whose it is", check)
    });
    own.into_iter().chain(interpreter).chain(owners)
}

/// The sticky bit is no excuse for a directory: everyone could add a script.
fn check_writers(
    what: &str,
    (path, metadata): (&Path, &Metadata),
    confinement: &Confinement,
) -> Result<(), String> {
    let path = path.display();
    let permissions = metadata.permissions;
    if permissions & OTHERS_WRITE != 0 {
        return Err(format!(
            "{what}, {path}, can be written by others: run chmod o-w"
        ));
    }
    if confinement.account.is_some() && permissions & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(format!(
            "{what}, {path}, can be written by its group, and runs as another user: run chmod g-w"
        ));
    }
    Ok(())
}

fn check_bits(
    (path, metadata): (&Path, &Metadata),
    confinement: &Confinement,
) -> Result<(), String> {
    if metadata.permissions & SET_ID == 0 || confinement.setuid {
        return Ok(());
    }
    let path = path.display();
    Err(format!(
        "{path} would change its user or group: run chmod ug-s, or write setuid = true"
    ))
}

fn check_interpreter(file: &Path) -> Result<(), String> {
    let name = file.display();
    let metadata = Metadata::at(file).map_err(|error| format!("interpreter {name} {error}"))?;
    if metadata.kind != Kind::File || metadata.permissions & EXECUTE == 0 {
        return Err(format!("interpreter {name} is not executable"));
    }
    if metadata.permissions & OTHERS_WRITE != 0 {
        return Err(format!("interpreter {name} can be written by others"));
    }
    Ok(())
}

/// Whether the permission bits let a user read a script, which an interpreter must, and come to it.
fn check_reach(script: &Script, account: &Account) -> Result<(), String> {
    let may = |path: &Path, bit: u32| {
        let Ok(metadata) = std::fs::metadata(path) else {
            return false;
        };
        let shift = if metadata.uid() == account.uid {
            6
        } else if account.groups.contains(&metadata.gid()) {
            3
        } else {
            0
        };
        metadata.mode() >> shift & bit == bit
    };
    let closed = script.file.ancestors().skip(1).find(|path| !may(path, 0o1));
    if let Some(directory) = closed {
        let directory = directory.display();
        return Err(format!("it may not enter {directory}: run chmod +x"));
    }
    let is_script = beginning(&script.file).is_some_and(|bytes| bytes.starts_with(b"#!"));
    if is_script && !may(&script.file, 0o4) {
        return Err("it may not: run chmod +r, or let it belong to the user".into());
    }
    Ok(())
}

fn check_owner(
    what: &str,
    (path, metadata): (&Path, &Metadata),
    account: &Account,
) -> Result<(), String> {
    if metadata.uid == account.uid || metadata.uid == 0 {
        return Ok(());
    }
    let Account { name, .. } = account;
    let path = path.display();
    Err(format!(
        "{what}, {path}, belongs neither to user {name}, as whom it runs, nor to root: \
         run chown {name} {path}"
    ))
}
