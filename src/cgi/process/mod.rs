//! One running script, seen from the network process: the launcher's connection, three pipes and
//! two limits.
//!
//! [`start`] has it started. What attends to it then is a task of its own ([`supervision`]),
//! which feeds its stdin, writes down its stderr and has it killed when it must be; the caller
//! gets its stdout ([`Output`]). The two tell each other what happens through two one-shot
//! channels, so each may end first: the output when the client leaves, the script when it likes.
//! Nothing here forks, waits for a process or sends a signal; the launcher does.

mod launcher;
mod output;
mod patience;
mod pipe;
mod streams;
mod supervision;

use std::{
    fs::File,
    io::{self, PipeWriter},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use rustix::io::ioctl_fionbio;
use tokio::{net::unix, sync::oneshot, task};

use crate::{
    cgi::{
        diagnosis,
        queue::Permit,
        wire::{End, Exit, Launch, Met, Reply, Request},
    },
    records::{Pending, ScriptUse},
    semantics::failure::Failure,
    sys::seqpacket::Address,
};

use launcher::{Launcher, unexpected, unreachable_launcher};
use patience::Patience;
use pipe::Receiver;
use streams::Lines;
use supervision::Supervision;

pub use launcher::{is_at_work, reload};
pub use output::Output;
pub use streams::next_data;

/// How long the launcher may take to start a script.
const START: Duration = Duration::from_secs(10);

/// What to start, and what the start must know.
pub struct Start<'r> {
    /// For the launcher.
    pub launch: Launch,
    /// The script's file, for people.
    pub file: &'r Path,
    /// Killed after so long without output.
    pub timeout: Duration,
    /// Killed after so long in all.
    pub max_time: Duration,
    /// The request's record.
    pub pending: &'r Pending,
    /// Held until the script is over.
    pub permit: Permit,
    /// What it reads, where that is here as a whole; else content is fed to it as it comes.
    pub stdin: Option<File>,
}

/// What is known of a script that is over.
#[derive(Debug, Clone, Default)]
pub struct LastWords {
    /// How it ended; absent if it has not yet, or not by itself.
    pub end: Option<End>,
    /// A limit that it has met.
    pub met: Option<Met>,
    /// The end of what it wrote to stderr.
    pub stderr: Vec<u8>,
}

/// Has a script started, and its content fed to it. Dropping the future closes the connection to
/// the launcher, which kills what may have been started.
pub async fn start<C>(address: &Address, start: Start<'_>, content: C) -> Result<Output, Failure>
where
    C: http_body::Body<Data = Bytes, Error = Failure> + Unpin + 'static,
{
    let stdin = match start.stdin {
        Some(file) => Stdin::File(file),
        None if content.is_end_stream() => Stdin::Nothing,
        None => Stdin::Content,
    };
    let (ours, theirs) =
        pipes(stdin).map_err(|error| Failure::system("opening a script's streams", &error))?;
    let Launched {
        launcher,
        pid,
        exit,
    } = launch(address, start.launch, start.file, theirs).await?;
    start.pending.note(|outcome| {
        outcome.script = Some(ScriptUse {
            file: start.file.to_owned(),
            pid,
            end: None,
            killed: None,
            cpu_us: 0,
            max_rss_kib: 0,
        });
    });
    let patience = Rc::new(Patience::new(start.timeout, start.max_time));
    let (to_output, from_script) = oneshot::channel();
    let (to_script, from_output) = oneshot::channel();
    let supervision = Supervision {
        launcher,
        file: start.file.to_owned(),
        pid,
        pending: start.pending.clone(),
        patience: Rc::clone(&patience),
        permit: start.permit,
        exit,
        end: Some(to_output),
        fate: from_output,
        is_killed: false,
        out_of_time: None,
    };
    task::spawn_local(supervision.run(content, ours.stdin, Lines::new(ours.stderr)));
    Ok(Output::new(ours.stdout, patience, from_script, to_script))
}

/// A script that was started.
struct Launched {
    launcher: Launcher,
    pid: u32,
    /// Present if it is over already.
    exit: Option<Exit>,
}

/// Has the launcher start the script. Its ends are handed over: ours see an end of file only when no others
/// are open.
async fn launch(
    address: &Address,
    launch: Launch,
    file: &Path,
    theirs: Theirs,
) -> Result<Launched, Failure> {
    let request = Request::Launch(launch).encode();
    let request = request.map_err(|error| diagnosis::too_large(file, error))?;
    let ends = [
        theirs.stdin.as_fd(),
        theirs.stdout.as_fd(),
        theirs.stderr.as_fd(),
    ];
    let asked = tokio::time::timeout(START, Launcher::ask(address, &request, &ends)).await;
    let answered = asked.unwrap_or_else(|elapsed| Err(elapsed.into()));
    match answered.map_err(|error| unreachable_launcher(&error))? {
        (launcher, Reply::Started { pid, exit }) => Ok(Launched {
            launcher,
            pid,
            exit,
        }),
        (_, Reply::Refused(refusal)) => Err(diagnosis::refused(file, &refusal)),
        (_, other) => Err(unreachable_launcher(&unexpected(&other))),
    }
}

/// What a script reads.
enum Stdin {
    /// Content as it comes.
    Content,
    /// Content that is here.
    File(File),
    /// No content.
    Nothing,
}

/// Our ends: they never block.
struct Ours {
    /// Present where content is fed to the script.
    stdin: Option<unix::pipe::Sender>,
    stdout: Receiver,
    stderr: Receiver,
}

/// The script's ends: they block, as programs expect it.
struct Theirs {
    stdin: OwnedFd,
    stdout: PipeWriter,
    stderr: PipeWriter,
}

fn pipes(stdin: Stdin) -> io::Result<(Ours, Theirs)> {
    // Closed on exec; whether an end blocks is a matter of that end alone.
    let (stdin, our_stdin) = match stdin {
        // Opened for each: what a script makes of an opening, a lock or a flag, the next one would have.
        Stdin::Nothing => (File::open("/dev/null")?.into(), None),
        Stdin::File(file) => (file.into(), None),
        Stdin::Content => {
            let (stdin, ours) = io::pipe()?;
            ioctl_fionbio(&ours, true)?;
            let ours = unix::pipe::Sender::from_owned_fd_unchecked(ours.into())?;
            (stdin.into(), Some(ours))
        }
    };
    let (our_stdout, stdout) = Receiver::pipe()?;
    let (our_stderr, stderr) = Receiver::pipe()?;
    let ours = Ours {
        stdin: our_stdin,
        stdout: our_stdout,
        stderr: our_stderr,
    };
    let theirs = Theirs {
        stdin,
        stdout,
        stderr,
    };
    Ok((ours, theirs))
}
