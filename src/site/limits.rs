//! Limits and logging, as the configuration sets them.

use std::{path::PathBuf, time::Duration};

use tracing::Level;

use crate::{records::format::AccessFormat, transport::progress::Patience};

/// `[limits]`: what a connection and a request may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte of a head to its end.
    pub request_head_timeout: Duration,
    /// Without a byte of the request's content.
    pub request_body_timeout: Duration,
    /// Without the client taking a byte of the answer.
    pub response_timeout: Duration,
    /// Between requests on a connection.
    pub idle_timeout: Duration,
    /// Bytes of a request's head.
    pub request_head_size: usize,
    /// Fields in a request's head.
    pub request_headers: usize,
    /// Bytes of a request's content.
    pub request_body_size: u64,
    /// Connections at once.
    pub connections: usize,
}

impl Limits {
    /// How long each turn of a client may take.
    pub fn patience(&self) -> Patience {
        Patience {
            idle: self.idle_timeout,
            head: self.request_head_timeout,
            response: self.response_timeout,
        }
    }
}

/// `[log]`: where records go and how much the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Where access records go.
    pub access: AccessLog,
    /// The least important own message that is logged.
    pub level: Level,
}

/// Where access records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// The journal under systemd, else standard error.
    Auto,
    /// The journal.
    Journal,
    /// Standard error.
    Stderr,
    /// A file of their own.
    File {
        /// Absolute.
        path: PathBuf,
        /// The form of its lines.
        format: AccessFormat,
    },
    /// Nowhere; what scripts write to stderr is logged all the same.
    Off,
}
