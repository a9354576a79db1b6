//! What systemd and a service tell each other. Without systemd everything here does nothing.

pub mod journal;
pub mod notify;
pub mod sockets;
pub mod store;
pub mod watchdog;
