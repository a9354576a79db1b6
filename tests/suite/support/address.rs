//! Addresses that servers are told to listen to, or not any more.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::Instant,
};

use super::HANG;

/// An address of this machine that nobody listens to. The kernel gives its port to no connection of
/// another test (ip(7), `ip_local_port_range`).
pub fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [.., first, second] = std::process::id().to_be_bytes();
    let first = u16::from_be_bytes([first, second]);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + first.wrapping_mul(31).wrapping_add(next) % 12_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            let address = listener.local_addr().unwrap();
            drop(listener);
            // A program that another test starts just now may have it, too.
            until_refused(address);
            return address;
        }
    }
}

/// Waits until nobody listens there: workers close when they come to it.
pub fn until_refused(address: SocketAddr) {
    let start = Instant::now();
    while !TcpStream::connect(address)
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    {
        assert!(start.elapsed() < HANG, "it still listens");
        thread::yield_now();
    }
}
