//! Opening files beneath a root, and asking the opened file, never the path.

pub mod filesystem;
mod follow;
pub mod handles;
pub mod policy;
pub mod root;

pub use root::{Kind, Metadata, OpenError, Opened, Place, Root, Version, Wait};
