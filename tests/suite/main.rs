//! The integration suite: one binary that starts the real `pywebd` on a free loopback port, with
//! real files and scripts, and looks at the bytes a client sees.

// Tables of cases are long.
#![allow(missing_docs, clippy::unwrap_used, clippy::too_many_lines)]

mod support;

/// Content codings.
mod coding;
/// Configurations and what is said of them.
mod config;
/// `pywebd explain`.
mod explain;
/// Files, their metadata, ranges, preconditions, listings and containment.
mod files;
/// Where one request ends and the next begins.
mod framing;
/// Files that change while they are served.
mod live;
/// Requests that are none, limits of connections, and what is written down of them.
mod protocol;
/// Ranges and preconditions.
mod ranges;
/// Scripts: variables, answers, streams, ends.
mod scripts;
/// Start, errors at the start, stop and reload.
mod serve;
/// Virtual hosts.
mod virtual_host;
/// The welcome site of the repository.
mod welcome;
