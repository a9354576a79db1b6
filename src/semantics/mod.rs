//! What RFC 9110 says of requests and answers, as pure functions on values.
//!
//! Nothing here reads a file, a clock or a socket: time and metadata come in as arguments.

#![forbid(unsafe_code)]

pub mod accept;
pub mod authority;
pub mod coding;
pub mod failure;
pub mod fields;
pub mod precondition;
pub mod range;
pub mod representation;
pub mod target;
pub mod validator;
