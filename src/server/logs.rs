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
    let (requests, journal) = match &log.access {
        AccessLog::Auto => (Requests::Logged, systemd::journal::is_stderr()),
        AccessLog::Journal => (Requests::Logged, true),
        AccessLog::Stderr => (Requests::Logged, false),
        AccessLog::Off => (Requests::Ignored, systemd::journal::is_stderr()),
        AccessLog::File { path, format } => {
            let file = AccessFile::open(path, *format).map_err(|error| StartError::AccessLog {
                path: path.clone(),
                error,
            })?;
            (Requests::InFile(file), systemd::journal::is_stderr())
        }
    };
    let log = if journal {
        writer::Log::journal().unwrap_or_else(|error| {
            tracing::warn!("no journal to write access records to, using stderr: {error}");
            writer::Log::Stderr
        })
    } else {
        writer::Log::Stderr
    };
    Ok(Target { requests, log })
}
