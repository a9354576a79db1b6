//! The launcher as a child of the foreground server: the same program, first started before any
//! thread, and started again when it ends.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc::Sender,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::server::event::Event;

/// It is not started more often.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// A launcher that ends with this process. Its socket is kept here, so that requests wait in it while
/// there is no launcher.
#[derive(Debug)]
pub struct LauncherChild {
    listener: OwnedFd,
    arguments: Vec<OsString>,
    child: Child,
    started: Instant,
}

impl LauncherChild {
    /// Starts `pywebd` with these arguments; the listening socket is its standard input.
    pub fn start(listener: OwnedFd, arguments: Vec<OsString>) -> io::Result<Self> {
        let child = spawn(&listener, &arguments)?;
        Ok(Self {
            listener,
            arguments,
            child,
            started: Instant::now(),
        })
    }

    /// Tells when the launcher has ended, once and not too soon.
    pub fn watch(&self, events: Sender<Event>) -> io::Result<()> {
        let pid = Pid::from_child(&self.child);
        let soonest = self.started + LEAST_TIME;
        thread::Builder::new()
            .name("launcher".into())
            .spawn(move || {
                // Reaped by the thread that may start it again; gone when the server stops.
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
                thread::sleep(soonest.saturating_duration_since(Instant::now()));
                // Nobody listens any longer when the server has stopped.
                let _ = events.send(Event::LauncherEnded);
            })?;
        Ok(())
    }

    /// Starts it again, from the same thread as at first. What ran is lost: its requests are answered
    /// with 502 when its connections close, and it is killed with the launcher or by the next one.
    pub fn restart(&mut self, events: Sender<Event>) -> io::Result<()> {
        match self.child.wait() {
            Ok(status) => tracing::error!("the launcher has ended ({status}) and is started again"),
            Err(error) => tracing::error!("the launcher has ended: {error}"),
        }
        self.child = spawn(&self.listener, &self.arguments)?;
        self.started = Instant::now();
        self.watch(events)
    }
}

fn spawn(listener: &OwnedFd, arguments: &[OsString]) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg0("pywebd-launcher")
        .args(arguments)
        .stdin(Stdio::from(listener.as_fd().try_clone_to_owned()?))
        .stdout(Stdio::null())
        // A terminal's Ctrl-C is for the server, which lets running scripts finish first.
        .process_group(0)
        .spawn()
}

impl Drop for LauncherChild {
    /// Ends the launcher, and with it what it still runs.
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
