//! The integration suite: one binary that starts the real `pywebd` on a free loopback port, with
//! real files and scripts, and looks at the bytes a client sees.

// Tables of cases are long.
#![allow(missing_docs, clippy::unwrap_used, clippy::too_many_lines)]

mod support;

/// The access log in a file, its rotation, and `[log]` at a reload.
mod access_log;
/// Passwords.
mod auth;
/// Content codings.
mod coding;
/// Files that are others than a moment ago.
mod coherence;
/// Configurations and what is said of them.
mod config;
/// What stays out of reach.
mod containment;
/// `pywebd reload`, `pywebd diff`, and the socket they ask over.
mod control;
/// Larger files that are asked for often.
mod copies;
/// What is said of scripts that fail.
mod diagnosis;
/// `pywebd explain`.
mod explain;
/// Files, their metadata, ranges, preconditions, listings and containment.
mod files;
/// Where one request ends and the next begins.
mod framing;
/// Connections over which nobody asks for anything.
mod idle;
/// The process that starts scripts.
mod launcher;
/// Limits of heads, content, connections and descriptors.
mod limits;
/// Where the server listens.
mod listeners;
/// Listings of directories.
mod listing;
/// Files that change while they are served.
mod live;
/// What the manual pages say.
mod manual;
/// The environment of scripts.
mod meta_variables;
/// Files that change at random.
mod model;
/// What a configuration may say about answers.
mod options;
/// Which program a path runs.
mod programs;
/// Requests that are none, limits of connections, and what is written down of them.
mod protocol;
/// The places for scripts, between clients.
mod queue;
/// Ranges and preconditions.
mod ranges;
/// Another configuration while the server runs.
mod reload;
mod repeats;
/// How the output of a script becomes an answer.
mod script_output;
/// Scripts: variables, answers, streams, ends.
mod scripts;
/// Start, errors at the start, stop and reload.
mod serve;
/// What a service manager and a server tell each other.
mod service;
/// `pywebd status`.
mod status;
/// What becomes of requests and connections at a stop.
mod stop;
/// Restarts and reloads while clients are served.
mod under_load;
/// Virtual hosts.
mod virtual_host;
/// The welcome site of the repository.
mod welcome;
