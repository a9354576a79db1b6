//! The launcher as a child of the foreground server: the same program, first started before any
//! thread, and started again when it ends.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};

use crate::{records::message_id, server::event::Event};

/// The shortest time from one start to the next.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// How long it is not started again: whoever has ended it may be about to end this process, too.
const MOMENT: Duration = Duration::from_millis(100);

/// How long it may take to end its scripts and itself.
const STOP: Duration = Duration::from_secs(10);

/// A launcher that ends with this process. Its socket is kept here, so that requests wait in it while
/// there is no launcher.
#[derive(Debug)]
pub struct LauncherChild(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    listener: OwnedFd,
    arguments: Vec<OsString>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    child: Child,
    started: Instant,
    restarts: u64,
    is_stopping: bool,
}

impl LauncherChild {
    /// Starts `pywebd` with these arguments; the listening socket is its standard input.
    pub fn start(listener: OwnedFd, arguments: Vec<OsString>) -> io::Result<Self> {
        let state = State {
            child: spawn(&listener, &arguments)?,
            started: Instant::now(),
            restarts: 0,
            is_stopping: false,
        };
        Ok(Self(Arc::new(Shared {
            listener,
            arguments,
            state: Mutex::new(state),
        })))
    }

    /// Starts it again whenever it ends, from now on, and has the configuration read again then, by both.
    ///
    /// A thread does so that lives as long as this process, for the launcher ends with the thread that
    /// has started it (`PR_SET_PDEATHSIG`).
    pub fn keep(&self, events: Sender<Event>) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        thread::Builder::new()
            .name("launcher".into())
            .spawn(move || {
                while shared.watch() {
                    // Without a server it ends soon, too.
                    let _ = events.send(Event::Reload);
                }
                thread::park();
            })?;
        Ok(())
    }
}

impl LauncherChild {
    /// Does not start it again any more: this process is stopping.
    pub fn let_go(&self) {
        self.0.lock().is_stopping = true;
    }

    /// Whether it runs, and is not about to be started again.
    pub fn runs(&self) -> bool {
        matches!(self.0.lock().child.try_wait(), Ok(None))
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u64 {
        self.0.lock().restarts
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a thread leaves behind that panics is as good as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the launcher's end and starts another one. Answers whether there is one.
    fn watch(&self) -> bool {
        let (pid, started) = {
            let state = self.lock();
            (Pid::from_child(&state.child), state.started)
        };
        wait_for_end(pid);
        let mut soonest = (started + LEAST_TIME).max(Instant::now() + MOMENT);
        loop {
            thread::sleep(soonest.saturating_duration_since(Instant::now()));
            let mut state = self.lock();
            if state.is_stopping {
                return false;
            }
            // It has ended, so this does not wait; later it tells the same.
            match state.child.wait() {
                Ok(status) => {
                    tracing::error!(
                        MESSAGE_ID = message_id::LAUNCHER_ENDED,
                        "the launcher has ended ({status}) and is started again"
                    );
                }
                Err(error) => tracing::error!(
                    MESSAGE_ID = message_id::LAUNCHER_ENDED,
                    "the launcher has ended: {error}"
                ),
            }
            match spawn(&self.listener, &self.arguments) {
                Ok(child) => {
                    state.child = child;
                    state.started = Instant::now();
                    state.restarts += 1;
                    return true;
                }
                Err(error) => tracing::error!(
                    MESSAGE_ID = message_id::LAUNCHER_ENDED,
                    "the launcher is not started: {error}"
                ),
            }
            soonest = Instant::now() + LEAST_TIME;
        }
    }
}

/// Waits until a child has ended, and leaves it to be reaped. One that was stopped goes on: a script
/// of the same user can do that, and no script would run.
fn wait_for_end(pid: Pid) {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), ended | WaitIdOptions::STOPPED) {
            Ok(Some(status)) if status.stopped() => {
                tracing::warn!(
                    MESSAGE_ID = message_id::LAUNCHER_STOPPED,
                    "the launcher was stopped, and goes on"
                );
                let _ = kill_process(pid, Signal::CONT);
                // It is told of but once when it is asked for without NOWAIT.
                let _ = waitid(
                    WaitId::Pid(pid),
                    WaitIdOptions::STOPPED | WaitIdOptions::NOHANG,
                );
            }
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

fn spawn(listener: &OwnedFd, arguments: &[OsString]) -> io::Result<Child> {
    // This program, also when its file was replaced by another version since.
    Command::new("/proc/self/exe")
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
        let mut state = self.0.lock();
        state.is_stopping = true;
        let pid = Pid::from_child(&state.child);
        let by = Instant::now() + STOP;
        let has_ended = |state: &mut State| !matches!(state.child.try_wait(), Ok(None));
        if has_ended(&mut state) {
            return;
        }
        for signal in [Signal::TERM, Signal::CONT] {
            let _ = kill_process(pid, signal);
        }
        while !has_ended(&mut state) {
            if Instant::now() >= by {
                tracing::error!("the launcher does not end, and is killed");
                let _ = state.child.kill();
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}
