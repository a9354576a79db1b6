//! The launcher as a child of the foreground server: the same program, started before any thread.

use std::{
    io,
    os::fd::OwnedFd,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

/// A launcher that ends with this process.
#[derive(Debug)]
pub struct LauncherChild {
    child: Child,
}

impl LauncherChild {
    /// Starts `pywebd` with these arguments; the listening socket is its standard input.
    pub fn start(listener: OwnedFd, arguments: &[std::ffi::OsString]) -> io::Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .arg0("pywebd-launcher")
            .args(arguments)
            .stdin(Stdio::from(listener))
            .stdout(Stdio::null())
            // A terminal's Ctrl-C is for the server, which lets running scripts finish first.
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }
}

impl Drop for LauncherChild {
    /// Ends the launcher, and with it what it still runs.
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // Already gone is as good.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
