//! The log as the configuration wants it: where records go, and how much the server says.
//!
//! What can fail is opening; a change to what is open cannot.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Registry, reload};

use crate::{
    records::{
        Sink,
        file::AccessFile,
        writer::{self, Requests, Target},
    },
    server::error::StartError,
    site::{AccessLog, Log},
    systemd,
};

/// What sets the least important own message that is written.
pub type LevelHandle = reload::Handle<LevelFilter, Registry>;

/// The log in use.
#[derive(Debug)]
pub struct Logs {
    /// Where records are handed in.
    pub sink: Sink,
    /// How much is said.
    pub level: LevelHandle,
}

impl Logs {
    /// Does as another configuration says, with what was opened for it.
    pub fn change(&self, log: &Log, target: Target) {
        set_level(&self.level, log);
        self.sink.change(target);
    }

    /// Opens the access log again by its name.
    pub fn reopen(&self) {
        self.sink.reopen();
    }
}

/// Writes messages of the level that the configuration says, and above.
pub fn set_level(level: &LevelHandle, log: &Log) {
    // It fails only without a subscriber, and then nothing is written.
    let _ = level.reload(LevelFilter::from_level(log.level));
}

/// Opens what the configuration names for records.
pub fn open(log: &Log) -> Result<Target, StartError> {
    Ok(Target {
        // First: at the start, what is said before a failure is written by nobody.
        requests: requests(&log.access)?,
        log: rest(&log.access),
    })
}

fn requests(access: &AccessLog) -> Result<Requests, StartError> {
    match access {
        AccessLog::Auto | AccessLog::Journal | AccessLog::Stderr => Ok(Requests::Logged),
        AccessLog::Off => Ok(Requests::Ignored),
        AccessLog::File { path, format } => match AccessFile::open(path, *format) {
            Ok(file) => Ok(Requests::InFile(file)),
            Err(error) => Err(StartError::AccessLog {
                path: path.clone(),
                error,
            }),
        },
    }
}

/// The log of everything else.
fn rest(access: &AccessLog) -> writer::Log {
    let is_journal = match access {
        AccessLog::Journal => true,
        AccessLog::Stderr => false,
        AccessLog::Auto | AccessLog::Off | AccessLog::File { .. } => systemd::journal::is_stderr(),
    };
    if !is_journal {
        return writer::Log::Stderr;
    }
    writer::Log::journal().unwrap_or_else(|error| {
        tracing::warn!("no journal to write access records to, using stderr: {error}");
        writer::Log::Stderr
    })
}
