//! A script that runs: its start, the ladder that ends it, and its burial.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    cgi::wire::{End, Exit, Refusal},
    launcher::{admission::Admitted, interpreter},
    sys::{
        spawn::{Program, Spawner},
        wait::{self, How},
    },
};

/// How long a script may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// A script that is not reaped yet, so that its process id and group are its own. One that is
/// dropped before its end is killed: nothing outlives the launcher, even one that fails.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    rung: Rung,
}

/// How far up the ladder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rung {
    Running,
    Terminated { kill_at: Instant },
    Killed,
    Reaped,
}

impl Child {
    /// Starts the script. Its file is run by its path, since an interpreter must be able to open
    /// it again; who can replace it after it was checked could have written it before.
    pub fn start(
        spawner: &mut Spawner,
        admitted: &Admitted<'_>,
        streams: &[OwnedFd; 3],
        open_files: u64,
    ) -> Result<Self, Refusal> {
        let program = Program {
            path: &admitted.path,
            environment: &admitted.environment,
            directory: admitted.directory.as_fd(),
            streams: streams.each_ref().map(AsFd::as_fd),
            open_files,
        };
        match spawner.spawn(program) {
            Ok(pid) => Ok(Self {
                pid,
                rung: Rung::Running,
            }),
            Err(error) => Err(interpreter::refusal(error, || admitted.beginning())),
        }
    }

    /// The process id, which is the id of its group and of its session too.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Asks it and its group to end, once; they are killed after the grace time.
    pub fn terminate(&mut self, now: Instant) {
        if self.rung == Rung::Running {
            self.signal(Signal::TERM);
            let kill_at = now + GRACE;
            self.rung = Rung::Terminated { kill_at };
        }
    }

    /// When [`Child::press`] is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        match self.rung {
            Rung::Terminated { kill_at } => Some(kill_at),
            Rung::Running | Rung::Killed | Rung::Reaped => None,
        }
    }

    /// Kills it and its group if the grace time is over.
    pub fn press(&mut self, now: Instant) {
        if self.deadline().is_some_and(|kill_at| kill_at <= now) {
            self.signal(Signal::KILL);
            self.rung = Rung::Killed;
        }
    }

    /// Kills what is left of the group and reaps the script, which has ended.
    pub fn bury(mut self) -> io::Result<Exit> {
        self.signal(Signal::KILL);
        self.rung = Rung::Reaped;
        let ended = wait::reap(self.pid)?;
        Ok(Exit {
            end: match ended.how {
                How::Status(status) => End::Status(status),
                How::Signal(signal) => End::Signal(signal),
            },
            cpu_us: u64::try_from(ended.cpu.as_micros()).unwrap_or(u64::MAX),
            max_rss_kib: ended.max_rss_kib,
        })
    }

    fn signal(&self, signal: Signal) {
        // The group is there as long as the script is not reaped. A member that runs as another
        // user cannot be signaled; there is nothing to be done about that here.
        let _ = kill_process_group(self.pid, signal);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.rung != Rung::Reaped {
            self.signal(Signal::KILL);
        }
    }
}
