//! Children that have ended: which, how, and what they took (waitid(2), wait4(2)).
//!
//! A child that has ended keeps its process id, and its process group keeps its own, until it is
//! reaped. So one looks first, kills what is left of the group, and reaps last: no signal can
//! reach a stranger that was given the number anew.

use std::{io, mem, time::Duration};

use rustix::process::Pid;

/// How a child ended and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Exit status or signal.
    pub how: How,
    /// Processor time of it and of the children it waited for.
    pub cpu: Duration,
    /// The largest resident memory of it or of a child it waited for, in KiB.
    pub max_rss_kib: u64,
}

/// Exit status or signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It called `exit` with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
}

/// What there is of children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// This one has ended and is not reaped yet; asked again, the same one may come.
    Ended(Pid),
    /// All run.
    Running,
    /// There are none.
    None,
}

/// Looks for a child that has ended.
pub fn children() -> io::Result<Children> {
    // SAFETY: all zeroes are a valid `siginfo_t`, a C structure of integers and pointers.
    let mut information: libc::siginfo_t = unsafe { mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the pointer is to a `siginfo_t` that lives throughout the call.
    match unsafe { libc::waitid(libc::P_ALL, 0, &raw mut information, options) } {
        0 => {
            // SAFETY: waitid has filled in the fields for SIGCHLD, or none: then the id is zero.
            let pid = Pid::from_raw(unsafe { information.si_pid() });
            Ok(pid.map_or(Children::Running, Children::Ended))
        }
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(Children::None),
            error => Err(error),
        },
    }
}

/// Reaps a child; waits for its end if that is yet to come.
pub fn reap(child: Pid) -> io::Result<Ended> {
    let mut status = 0;
    // SAFETY: all zeroes are a valid `rusage`, a C structure of integers.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    loop {
        // SAFETY: both pointers are to values of their types that live throughout the call.
        let outcome = unsafe {
            libc::wait4(
                child.as_raw_nonzero().get(),
                &raw mut status,
                0,
                &raw mut usage,
            )
        };
        match outcome {
            0.. => break,
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    let how = if libc::WIFSIGNALED(status) {
        How::Signal(libc::WTERMSIG(status))
    } else {
        How::Status(libc::WEXITSTATUS(status))
    };
    Ok(Ended {
        how,
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or_default(),
    })
}

/// A length of time as the kernel counts it: never negative.
fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let microseconds = u64::try_from(time.tv_usec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(microseconds)
}
