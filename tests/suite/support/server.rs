//! The real program, started as a person would, ended by its process id.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    Site,
    client::{Connection, HANG, Response},
};

/// A running server.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    log: Log,
    site: Option<Site>,
}

/// What a program that ended by itself left behind.
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// No control socket of the suite takes the place of a real server's.
const NOWHERE: &str = "/proc/none";

/// The program under test: `PYWEBD` names another than the one that was built with the suite.
fn program() -> OsString {
    env::var_os("PYWEBD").unwrap_or_else(|| env!("CARGO_BIN_EXE_pywebd").into())
}

/// A copy of the program in this directory, for it may lie where nobody looks. Another process makes it:
/// a file that this one writes is open in those that other tests start meanwhile, and cannot be executed.
pub fn copy_program(directory: &Path) -> PathBuf {
    let copy = directory.join("pywebd");
    let copied = Command::new("cp").arg(program()).arg(&copy).status();
    assert!(copied.is_ok_and(|status| status.success()), "a copy");
    copy
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments);
    followed(command)
}

/// A shell that becomes the program after this.
pub(super) fn after(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("{script} && exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(program()).args(arguments);
    followed(command)
}

/// A program that is given nothing, and whose output is read.
fn followed(mut command: Command) -> Command {
    command
        .env("RUNTIME_DIRECTORY", NOWHERE)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Server {
    /// Starts the server and waits for the address it prints.
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawned(command(arguments))
    }

    pub(super) fn spawned(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let log = Log::follow(child.stderr.take().expect("its stderr"));
        Self::started(child, log)
    }

    /// The same with so many descriptors at most.
    pub fn start_with_descriptors(count: u32, arguments: &[&str]) -> Self {
        Self::spawned(after(&format!("ulimit -n {count}"), arguments))
    }

    /// The same with a listening socket that was passed as a service manager does.
    pub fn start_with_socket(socket: OwnedFd, arguments: &[&str]) -> Self {
        let script = "exec 3<&0 </dev/null && export LISTEN_PID=$$ LISTEN_FDS=1";
        let mut command = after(script, arguments);
        command.stdin(Stdio::from(socket));
        Self::spawned(command)
    }

    /// The same as a user for whom some files are unreadable: nobody, where the test is run by root.
    /// `variables` are set for it.
    pub fn start_as_nobody(
        directory: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(copy_program(directory));
        command.args(arguments);
        let mut command = followed(command);
        command.envs(variables.iter().copied());
        if rustix::process::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        Self::spawned(command)
    }

    /// The same in a user namespace that may have so many `instances` or `watches` of inotify; none where
    /// this machine does not let anybody make a namespace.
    pub fn start_with_inotify((of, most): (&str, u32), arguments: &[&str]) -> Option<Self> {
        let may = Command::new("unshare").args(["--user", "true"]).status();
        if !may.is_ok_and(|status| status.success()) {
            return None;
        }
        let limit = format!("/proc/sys/user/max_inotify_{of}");
        let script = format!("echo {most} > {limit} && exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "/bin/sh", "-c", &script])
            .arg(program())
            .args(arguments);
        Some(Self::spawned(followed(command)))
    }

    /// The same with a log that is a pipe which nobody reads.
    pub fn start_with_unread_log(arguments: &[&str]) -> Self {
        let child = command(arguments).spawn().expect("the program starts");
        Self::started(child, Log::follow(std::io::empty()))
    }

    fn started(mut child: Child, log: Log) -> Self {
        let printed = lines(child.stdout.take().expect("its stdout"));
        let Ok(line) = printed.recv_timeout(HANG) else {
            panic!("no address was printed; the log: {}", log.text());
        };
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        Self {
            child,
            address,
            log,
            site: None,
        }
    }

    /// Runs the program to its end.
    pub fn run(arguments: &[&str]) -> Outcome {
        let output = command(arguments).output().expect("the program starts");
        Outcome {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn keep(mut self, site: Site) -> Self {
        self.site = Some(site);
        self
    }

    /// The site it serves.
    pub fn site(&self) -> &Site {
        self.site.as_ref().expect("a server with a site")
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// The answer to a GET for a target, on a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        self.request("GET", target, "", "")
    }

    /// The answer to a request; `fields` are lines with their ends.
    pub fn request(&self, method: &str, target: &str, fields: &str, content: &str) -> Response {
        let length = if content.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", content.len())
        };
        let mut connection = self.connect();
        connection.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             {fields}{length}\r\n{content}"
        ));
        connection.response_to(method)
    }

    /// Sends raw bytes and returns all that comes until the server closes.
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let answer = self.connect().send(bytes).read_to_end();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Waits until the log has a line with all of `parts`, and returns it.
    pub fn logged(&self, parts: &[&str]) -> String {
        self.log.wait_for(parts)
    }

    /// Waits until so many lines of the log have this in them.
    pub fn logged_times(&self, times: usize, part: &str) {
        self.log.wait_for_times(&[part], times);
    }

    /// How many lines of the log have this in them by now.
    pub fn count_logged(&self, part: &str) -> usize {
        let log = self.log.text();
        log.lines().filter(|line| line.contains(part)).count()
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// The process id of the server's one child, the launcher.
    pub fn launcher(&self) -> u32 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let threads = threads.expect("the server runs").flatten();
        // A thread may end meanwhile.
        let children: String = threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
            .collect();
        children.trim().parse().expect("exactly one child")
    }

    /// The server's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the server runs");
    }

    /// Sends a signal and waits for the end.
    pub fn end(self, signal: Signal) -> Outcome {
        self.signal(signal);
        self.ended()
    }

    /// Waits for the end.
    pub fn ended(mut self) -> Outcome {
        let status = self.wait();
        Outcome {
            status,
            stdout: String::new(),
            stderr: self.log.whole(),
        }
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(start.elapsed() < HANG, "the server does not end");
            thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of the log, as they come.
struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    /// Nobody writes any more.
    is_over: bool,
}

impl Log {
    fn follow(stderr: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<Lines>, Condvar)>::default();
        let log = Self(Arc::clone(&shared));
        thread::spawn(move || {
            for line in lines(stderr) {
                shared.0.lock().expect("no panic").lines.push(line);
                shared.1.notify_all();
            }
            shared.0.lock().expect("no panic").is_over = true;
            shared.1.notify_all();
        });
        log
    }

    fn wait_for(&self, parts: &[&str]) -> String {
        self.wait_for_times(parts, 1)
    }

    /// Waits until so many lines have all of the parts, and returns the last of them.
    fn wait_for_times(&self, parts: &[&str], times: usize) -> String {
        let found = |log: &Lines| {
            let has = |line: &&String| parts.iter().all(|part| line.contains(part));
            log.lines.iter().filter(has).nth(times - 1).cloned()
        };
        let log = self.wait_while(|log| found(log).is_none());
        found(&log).unwrap_or_else(|| panic!("no line with {parts:?} in {:#?}", log.lines))
    }

    /// Everything, when nobody writes any more: what a server has started ends soon after it.
    fn whole(&self) -> String {
        self.wait_while(|log| !log.is_over).lines.join("\n")
    }

    fn wait_while(&self, is_missing: impl Fn(&Lines) -> bool) -> MutexGuard<'_, Lines> {
        let (log, changed) = &*self.0;
        let log = log.lock().expect("no panic");
        let wait = changed.wait_timeout_while(log, HANG, |log| is_missing(log));
        wait.expect("no panic").0
    }

    fn text(&self) -> String {
        self.0.0.lock().expect("no panic").lines.join("\n")
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
    receiver
}
