//! What a path key says about scripts, complete.

use std::{path::PathBuf, time::Duration};

use crate::fs::Place;

/// What a path key says about scripts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which programs.
    pub programs: Programs,
    /// Variables given to every script here beyond those of RFC 3875.
    pub env: Vec<(Box<str>, Box<str>)>,
    /// Killed after so long without output.
    pub timeout: Duration,
    /// Killed after so long in all.
    pub max_time: Duration,
    /// Whether `Authorization` is passed as `HTTP_AUTHORIZATION`.
    pub pass_authorization: bool,
    /// Whether content without a length is taken in whole before the script starts.
    pub spool: bool,
    /// What a script may take, and as whom it runs.
    pub confinement: Confinement,
}

/// Which programs a path key is for.
#[derive(Debug, Clone)]
pub enum Programs {
    /// The executables below a directory.
    Below {
        /// Where they lie.
        place: Place,
        /// Length of the path key: the script's name begins after it.
        key_length: usize,
        /// The names of scripts that stand for their directory.
        index: Vec<Box<str>>,
    },
    /// One program for every path.
    One {
        /// Its absolute path.
        file: PathBuf,
        /// Its name: the key that maps it, without a slash at the end.
        name: Box<[u8]>,
    },
    /// Files that another program reads, which need not be executable.
    Interpreted {
        /// Where they lie.
        place: Place,
        /// Length of the part of the key that is a directory.
        prefix_length: usize,
        /// How their names end.
        ending: Box<[u8]>,
        /// The absolute path of that program.
        interpreter: PathBuf,
    },
}

/// What a script may take, and as whom it runs. The limits are for all that one request starts
/// together where control groups are to be had, else for each of its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Memory in bytes.
    pub memory: u64,
    /// Processes and threads.
    pub tasks: u32,
    /// Its share of the processors against other scripts, 1 to 10,000; 100 is the usual one.
    pub cpu_weight: u16,
    /// Whether what it has started may outlive it.
    pub detach: bool,
    /// Whether programs that it starts may gain the rights of their owner by set-user-ID.
    pub setuid: bool,
    /// Whom it runs as; else the user of the launcher.
    pub account: Option<Account>,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: Box<str>,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The ids of all its groups.
    pub groups: Vec<u32>,
}

/// A number of bytes, for people and as the configuration writes it.
#[derive(Debug, Clone, Copy)]
pub struct Size(pub u64);

impl std::fmt::Display for Size {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(bytes) = *self;
        let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
        let fits = |&(bits, _): &(u32, _)| bytes > 0 && bytes % (1 << bits) == 0;
        match units.into_iter().find(fits) {
            Some((bits, name)) => write!(out, "{}{name}", bytes >> bits),
            None => write!(out, "{bytes}B"),
        }
    }
}

impl Default for Confinement {
    /// What holds where the configuration says nothing.
    fn default() -> Self {
        Self {
            memory: 512 << 20,
            tasks: 64,
            cpu_weight: 100,
            detach: false,
            setuid: false,
            account: None,
        }
    }
}

#[cfg(test)]
impl Options {
    /// Options that say nothing but which programs.
    pub fn bare(programs: Programs) -> Self {
        Self {
            programs,
            env: Vec::new(),
            timeout: Duration::from_secs(60),
            max_time: Duration::from_secs(600),
            pass_authorization: false,
            spool: false,
            confinement: Confinement::default(),
        }
    }

    /// The executables below a directory.
    pub fn below(place: Place, key_length: usize) -> Self {
        Self::bare(Programs::Below {
            place,
            key_length,
            index: Vec::new(),
        })
    }
}
