//! Why the server did not start.

use std::{io, path::PathBuf};

use crate::{records::message_id, systemd, transport::Listen};

/// The server cannot start; one line says why.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program listens there.
    #[error("cannot listen on {0}: the address is in use by another program")]
    AddressInUse(Listen),
    /// Another program listens there, or it is somebody's file.
    #[error("cannot listen on {0}: another program listens there, or it is no socket")]
    NameInUse(Listen),
    /// Each worker has a descriptor of each.
    #[error(
        "cannot listen on {listeners} addresses with {workers} workers and {descriptors} descriptors: \
         raise `ulimit -n` (LimitNOFILE= of a unit), or set fewer `workers`"
    )]
    TooManyListeners {
        /// Addresses to listen on.
        listeners: usize,
        /// Threads.
        workers: usize,
        /// The limit of this process.
        descriptors: u64,
    },
    /// A socket unit has the port for more addresses, which only another of its user could share.
    #[error(
        "cannot listen on {listen}: systemd has passed a socket on {passed}. Name {passed} in `listen`, or \
         have the socket unit listen on {listen} (`systemctl edit pywebd.socket`, ListenStream=)"
    )]
    PassedWider {
        /// What was asked for.
        listen: Listen,
        /// What was passed.
        passed: Listen,
    },
    /// The address is not one of this machine's.
    #[error("cannot listen on {0}: no network interface of this machine has this address")]
    NoSuchAddress(Listen),
    /// A low port, or a socket's directory that is not ours.
    #[error("cannot listen on {listen}: permission denied: {remedy}")]
    BindPermission {
        /// The address.
        listen: Listen,
        /// What a person can do about it.
        remedy: &'static str,
    },
    /// Anything else about a listener.
    #[error("cannot listen on {listen}: {error}")]
    Bind {
        /// The address.
        listen: Listen,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The access log cannot be had.
    #[error("cannot write the access log {}: {error}", path.display())]
    AccessLog {
        /// Its file.
        path: PathBuf,
        /// What is in the way.
        error: io::Error,
    },
    /// The operating system refused something else.
    #[error("{action}: {error}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
}

/// `unpassed`: a service that has no socket of a socket unit. One that is missing has most likely
/// failed, since another server has the port; the kernel looks at the permission first.
fn bind_remedy(listen: &Listen, unpassed: bool) -> &'static str {
    match listen {
        Listen::Tcp(_) if unpassed => {
            "no socket unit has passed a socket. Another server may have the port: `systemctl status \
             pywebd.socket` tells why. Else have pywebd.socket listen there (`systemctl edit \
             pywebd.socket`, ListenStream=), or give the service CAP_NET_BIND_SERVICE by the drop-in \
             /usr/share/doc/pywebd/drop-ins/low-ports.conf"
        }
        Listen::Tcp(_) => {
            "a port below 1024 is not for every user. As a service of systemd, have pywebd.socket \
             listen there (`systemctl edit pywebd.socket`, ListenStream=), or give the service \
             CAP_NET_BIND_SERVICE by the drop-in /usr/share/doc/pywebd/drop-ins/low-ports.conf; else \
             start as root, run `setcap cap_net_bind_service=ep` on the program, or lower the sysctl \
             net.ipv4.ip_unprivileged_port_start"
        }
        Listen::Unix(_) => "the directory has to be writable for the server's user",
    }
}

impl StartError {
    /// A refusal of the operating system.
    pub fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { action, error }
    }

    /// What kind of message it is, where an administrator may look it up.
    pub fn message_id(&self) -> Option<&'static str> {
        match self {
            Self::AccessLog { .. } => Some(message_id::ACCESS_LOG_FAILED),
            Self::System { .. } => None,
            _ => Some(message_id::NOT_LISTENING),
        }
    }

    /// Whether more rights would help.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::BindPermission { .. } => true,
            Self::AccessLog { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// A listener that could not be had.
    pub fn bind(listen: &Listen, error: io::Error) -> Self {
        let listen = listen.clone();
        match error.kind() {
            io::ErrorKind::AddrInUse if matches!(listen, Listen::Unix(_)) => {
                Self::NameInUse(listen)
            }
            io::ErrorKind::AddrInUse => Self::AddressInUse(listen),
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress(listen),
            io::ErrorKind::PermissionDenied => {
                let unpassed = systemd::notify::is_heard() && !systemd::sockets::are_passed();
                let remedy = bind_remedy(&listen, unpassed);
                Self::BindPermission { listen, remedy }
            }
            _ => Self::Bind { listen, error },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_its_socket_is_told_of_another_server_first() {
        let listen = "[::]:80".parse().unwrap();
        let socket_unit = bind_remedy(&listen, true).find("systemctl status pywebd.socket");
        let capability = bind_remedy(&listen, true).find("low-ports.conf");
        assert!(socket_unit.is_some() && socket_unit < capability);
        assert!(bind_remedy(&listen, false).contains("setcap"));
    }
}
