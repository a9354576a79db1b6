//! pywebd: a web server for files and CGI scripts, from one TOML configuration.
//!
//! The modules below are in reading order: a request passes them from the top (`server` accepts
//! it) down to `semantics` (what RFC 9110 says of it) and `sys` (what the kernel does for it).
//! A module imports only from modules below its own line; `tests/architecture.rs` holds them to it.
//! `ARCHITECTURE.md` draws the same picture with the path of a request and of a reload.

#![deny(unsafe_code)]

// The command line.
pub mod cli;

// Two processes: the network process and the one that starts scripts.
pub mod launcher;
pub mod server;

// What a request means and how it is answered; what a configuration says.
pub mod config;
pub mod service;

// The compiled configuration.
pub mod site;

// The handlers.
pub mod cgi;
pub mod files;

// Bytes in, records out.
pub mod records;
pub mod transport;

// Foundations.
pub mod body;
pub mod fs;
pub mod page;
pub mod semantics;
pub mod systemd;

// The only unsafe code.
pub mod sys;
