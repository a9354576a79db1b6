//! The task that attends to one script from its start to its end.

use std::{io, path::PathBuf, rc::Rc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::{net::unix::pipe, sync::oneshot};

use crate::{
    cgi::{
        process::{
            LastWords,
            launcher::{Launcher, lost_launcher},
            patience::{Limit, Patience},
            pipe::Receiver,
            streams::{Lines, TooMuch, discard, feed},
        },
        queue::Permit,
        wire::{Exit, Met},
    },
    records::{Pending, ScriptUse, message_id},
    semantics::failure::{Cause, Failure},
};

/// How long the launcher may take to kill a script: its grace time and more. After it the
/// connection is closed, which kills what is left.
const KILL: Duration = Duration::from_secs(10);

/// What became of a script's output.
#[derive(Debug)]
pub enum Fate {
    /// It was read to its end.
    Ended,
    /// Nobody wants the rest, but the script may write it.
    Unwanted(Receiver),
}

/// What attends to a script.
pub struct Supervision {
    /// The script, for the launcher.
    pub launcher: Launcher,
    /// Its file, for people.
    pub file: PathBuf,
    /// Its process id.
    pub pid: u32,
    /// The request's record, written when the last who hold it let go.
    pub pending: Pending,
    /// The limits.
    pub patience: Rc<Patience>,
    /// The place in the queue.
    pub permit: Permit,
    /// Present if the script is over already.
    pub exit: Option<Exit>,
    /// Tells the output that the script is over, or why it is killed.
    pub end: Option<oneshot::Sender<Result<LastWords, Failure>>>,
    /// Tells what became of the output; closed: the client has left.
    pub fate: oneshot::Receiver<Fate>,
    /// Whether it does not end by itself.
    pub is_killed: bool,
    /// The limit of time that it has met.
    pub out_of_time: Option<Limit>,
}

/// Why a script is killed.
enum Kill {
    Limit(Limit),
    Content(Failure),
    ClientLeft,
    TooMuch(TooMuch),
}

impl Supervision {
    /// Attends to the script until it is over, then lets go of the record and of the place in the
    /// queue.
    pub async fn run<C>(mut self, content: C, stdin: Option<pipe::Sender>, mut stderr: Lines)
    where
        C: http_body::Body<Data = Bytes, Error = Failure> + Unpin,
    {
        let pending = self.pending.clone();
        let exit = tokio::select! {
            // Nothing is waited for where it is over already.
            biased;
            exit = self.until_over(content, stdin) => exit,
            never = stderr.follow(&pending) => match never {},
        };
        stderr.finish(&pending);
        self.note(|script| match &exit {
            Ok(exit) => {
                script.end = Some(match exit.met {
                    Some(met @ Met::Tasks(_)) => format!("{}, {met} met", exit.end),
                    _ => exit.end.to_string(),
                });
                if let Some(met @ Met::Memory(_)) = exit.met {
                    script.killed.get_or_insert(met.to_string());
                }
                script.cpu_us = exit.cpu_us;
                script.max_rss_kib = exit.max_rss_kib;
            }
            Err(error) => script.end = Some(format!("unknown, the launcher is gone: {error}")),
        });
        if let Ok(exit) = &exit {
            self.warn_of_limits(exit.met);
        }
        let is_over = exit.is_ok();
        self.tell(match exit {
            Ok(exit) => Ok(LastWords {
                end: (!self.is_killed).then_some(exit.end),
                met: exit.met,
                stderr: pending.last_script_lines(),
            }),
            Err(error) => Err(lost_launcher(&error)),
        });
        drop(self.permit);
        if is_over {
            self.launcher.keep();
        }
    }

    async fn until_over<C>(&mut self, content: C, stdin: Option<pipe::Sender>) -> io::Result<Exit>
    where
        C: http_body::Body<Data = Bytes, Error = Failure> + Unpin,
    {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        let kill = tokio::select! {
            biased;
            exit = self.launcher.exited() => return exit,
            Err(failure) = feed(content, stdin, &self.patience) => Kill::Content(failure),
            Err(kill) = see_to_output(&mut self.fate, &self.patience) => kill,
            limit = self.patience.run_out() => Kill::Limit(limit),
        };
        self.kill(kill).await
    }

    /// Has the launcher kill the script and all it started.
    async fn kill(&mut self, why: Kill) -> io::Result<Exit> {
        let (reason, failure) = match why {
            Kill::Limit(limit) => {
                self.out_of_time = Some(limit);
                (limit.to_string(), Some(self.timed_out(limit)))
            }
            Kill::Content(failure) => (failure.to_string(), Some(failure)),
            Kill::ClientLeft => ("the client left".into(), None),
            Kill::TooMuch(reason) => (reason.to_string(), None),
        };
        self.is_killed = true;
        self.note(|script| script.killed = Some(reason));
        // Told before the script can end: the end of its output must not look like a good one.
        if let Some(failure) = failure {
            self.tell(Err(failure));
        }
        tokio::time::timeout(KILL, self.launcher.kill()).await?
    }

    /// Says which limit the script has met, for whoever wrote it or set the limit.
    fn warn_of_limits(&self, met: Option<Met>) {
        let (killed, reason) = match (self.out_of_time, met) {
            (Some(limit), _) => (true, limit.to_string()),
            (None, Some(met)) => (matches!(met, Met::Memory(_)), met.to_string()),
            (None, None) => return,
        };
        let what = if killed {
            "was killed"
        } else {
            "could not start more processes"
        };
        let file = self.file.display();
        self.pending.note(|outcome| {
            let site = outcome.site.as_deref().unwrap_or_default();
            tracing::warn!(
                MESSAGE_ID = message_id::SCRIPT_LIMIT,
                PYWEBD_SITE = site,
                PYWEBD_SCRIPT = %file,
                PYWEBD_PID = self.pid,
                PYWEBD_REQUEST_ID = %self.pending.id(),
                PYWEBD_KILLED = killed.then_some(&*reason),
                "script {file} of site {site:?} {what}: {reason}"
            );
        });
    }

    fn timed_out(&self, limit: Limit) -> Failure {
        let cause = Cause::ScriptTimeout {
            script: self.file.display().to_string(),
            reason: limit.to_string(),
        };
        Failure::new(StatusCode::GATEWAY_TIMEOUT, cause)
    }

    /// Tells the output how the script ended; the first word counts.
    fn tell(&mut self, end: Result<LastWords, Failure>) {
        if let Some(channel) = self.end.take() {
            // The output may be gone, and then nobody needs to know.
            drop(channel.send(end));
        }
    }

    /// Notes something about this script; after a local redirect the record names another one.
    fn note(&self, change: impl FnOnce(&mut ScriptUse)) {
        self.pending.note(|outcome| {
            if let Some(script) = outcome.script.as_mut().filter(|s| s.pid == self.pid) {
                change(script);
            }
        });
    }
}

/// Waits for what becomes of the output, and reads what nobody wants of it.
async fn see_to_output(
    fate: &mut oneshot::Receiver<Fate>,
    patience: &Patience,
) -> Result<(), Kill> {
    match fate.await {
        Ok(Fate::Ended) => {}
        Ok(Fate::Unwanted(stdout)) => discard(stdout, patience).await.map_err(Kill::TooMuch)?,
        Err(_) => return Err(Kill::ClientLeft),
    }
    // From here on the script gives no output that could count as progress.
    patience.awaits_output(true);
    Ok(())
}
