//! A copy of this process (fork(2)), for a process of one thread alone.

use std::{fs, io};

use rustix::process::Pid;

/// A test's process has one more, of the harness, which waits for the test and holds nothing.
const THREADS: u64 = if cfg!(test) { 2 } else { 1 };

/// Makes a copy of this process, which goes on from here too; the copy is told nothing, the
/// original the copy's process id. Fails in a process of several threads: a lock that another
/// thread holds would stay locked in the copy for ever.
pub fn fork() -> io::Result<Option<Pid>> {
    if threads()? > THREADS {
        return Err(io::Error::other("the process has more than one thread"));
    }
    // SAFETY: the only thread that does anything is here, so the copy is as whole as the original.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// The twentieth field of `/proc/self/stat`. The second is a name in parentheses
/// that may have spaces.
fn threads() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let threads = fields.split_whitespace().nth(17);
    threads
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/stat is not as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_several_threads_is_not_copied() {
        let wait = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| wait.wait());
            }
            assert!(threads().unwrap() > THREADS);
            assert!(fork().is_err());
            wait.wait();
        });
    }
}
