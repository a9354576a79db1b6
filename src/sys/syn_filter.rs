//! A filter on a listening TCP socket that lets no connection begin.
//!
//! To close a listener resets whoever has connected and was not accepted yet, and whoever is
//! between the SYN and the end of the handshake. So first no more begin, by a program of the
//! kernel's packet filter that drops each SYN, whose client repeats it after a second; then those
//! that have begun can be accepted.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use libc::{
    SO_ATTACH_FILTER, SO_DETACH_FILTER, SOL_SOCKET, c_int, setsockopt, sock_filter, sock_fprog,
};

/// Where the flags are in a TCP header, and SYN among them (RFC 9293 §3.1).
const FLAGS: u32 = 13;
const SYN: u32 = 0x02;

/// From here on no connection to the socket begins.
pub fn attach(socket: impl AsFd) -> io::Result<()> {
    let statement = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    let mut program = [
        // BPF_LD | BPF_B | BPF_ABS
        statement(0x30, 0, FLAGS),
        // BPF_JMP | BPF_JSET | BPF_K: where it is not set, over the next one.
        statement(0x45, 1, SYN),
        // BPF_RET | BPF_K: nothing of the packet is taken, or all.
        statement(0x06, 0, 0),
        statement(0x06, 0, u32::MAX),
    ];
    let filter = sock_fprog {
        len: 4,
        filter: program.as_mut_ptr(),
    };
    set(socket, SO_ATTACH_FILTER, &filter)
}

/// Connections begin again.
pub fn detach(socket: impl AsFd) -> io::Result<()> {
    set(socket, SO_DETACH_FILTER, &0)
}

fn set<T>(socket: impl AsFd, option: c_int, value: &T) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `size` bytes of the value, which lives as long as the call; so does
    // the program that a filter points to, with as many statements as it says.
    let outcome = unsafe {
        setsockopt(
            socket.as_fd().as_raw_fd(),
            SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size,
        )
    };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
