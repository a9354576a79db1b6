//! Connections: addresses, byte streams, and how far they have come.

pub mod deadline;
pub mod framing;
pub mod progress;
pub mod socket;
pub mod stream;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

/// An address to listen on, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    /// `[::]:80`, `127.0.0.1:8000`
    Tcp(SocketAddr),
    /// `unix:/run/pywebd/http.sock`
    Unix(PathBuf),
}

impl std::str::FromStr for Listen {
    type Err = String;

    /// `ADDRESS:PORT` or `unix:PATH`; the error is for the person who wrote the text.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("`unix:` needs the path of a socket".to_owned()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            let remedy = match text.trim_start_matches([':', '*']).parse::<u16>() {
                Ok(port) => format!(": `[::]:{port}` listens on every address, `127.0.0.1:{port}` on this machine only"),
                Err(_) => ", such as `[::]:80`, `127.0.0.1:8000` or `unix:/run/pywebd/http.sock`".to_owned(),
            };
            format!("`{text}` is no address to listen on{remedy}")
        })
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// Our end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local<A>(pub A);

/// The client's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote<A>(pub A);

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// An address and port.
    Tcp(SocketAddr),
    /// A Unix socket, which has no address worth telling.
    Unix,
}

impl Address {
    /// The IP address, with an IPv4-mapped one as IPv4.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }

    /// The port.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix => None,
        }
    }
}

/// What is known of a connection before its first byte.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Unique in the life of the process.
    pub id: u64,
    /// The configured address it came in by.
    pub listener: Arc<Listen>,
    /// Our end.
    pub local: Local<Address>,
    /// The client's end.
    pub remote: Remote<Address>,
}
