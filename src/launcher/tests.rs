//! The launcher as a process of its own: the test program started again, to run one test that is
//! the launcher.

use std::{
    cell::Cell,
    fs::{self, File},
    io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe},
    os::{
        fd::BorrowedFd,
        unix::fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    thread::CapabilitySet,
};
use tempfile::TempDir;

use super::*;
use crate::{
    cgi::{
        self,
        wire::{End, Exit, Launch, MAX_MESSAGE, Refusal, Reply, Request},
    },
    files,
    fs::{Place, Root},
    site::{
        Action, Hosts, Key, Limits, Log, Networks, Origin, Route, Routes, Site, limits::AccessLog,
    },
    sys::seqpacket::{Address, Listener, Socket},
};

mod connections;
mod containment;

/// Where the launcher's process finds the site, and who started it.
const SITE: &str = "PYWEBD_TEST_SITE";
const PARENT: &str = "PYWEBD_TEST_PARENT";
/// Set where scripts are to have control groups.
const GROUPS: &str = "PYWEBD_TEST_GROUPS";

/// How long a test waits for what comes at once.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
#[ignore = "it is the process that the others start"]
fn launcher_process() {
    let (Some(site), Ok(parent)) = (std::env::var_os(SITE), std::env::var(PARENT)) else {
        return;
    };
    let listener = listener_from_stdin().unwrap();
    let parent = parent.parse().unwrap();
    let groups = match std::env::var_os(GROUPS) {
        Some(_) => Ok(Groups::prepare(Some(parent)).unwrap()),
        None => Err("the test wants none".into()),
    };
    // As for any other user, what a script does to the rights of its groups counts for root now.
    let mut rights = rustix::thread::capabilities(None).unwrap();
    let overrides = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    rights.effective.remove(overrides);
    rustix::thread::set_capabilities(None, rights).unwrap();
    let outcome = run(listener, Some(parent), groups, || {
        snapshot(Path::new(&site))
    });
    std::process::exit(i32::from(outcome.is_err()));
}

/// The configuration: broken if there is a file `broken`, with another key if there is a
/// directory `extra`.
fn snapshot(directory: &Path) -> Result<Snapshot, String> {
    if let Ok(report) = fs::read_to_string(directory.join("broken")) {
        return Err(report);
    }
    let root = Arc::new(Root::new(directory));
    let elsewhere = Arc::new(Root::new(directory.join("programs")));
    let prefix = |text: &str| Key::Prefix(text.as_bytes().into());
    let exact = |text: &str| Key::Exact(text.as_bytes().into());
    let cgi = |text: &str, root: &Arc<Root>, strip| {
        let root = Arc::clone(root);
        let options = cgi::Options {
            env: vec![("GREETING".into(), "hello".into())],
            ..cgi::Options::below(Place { root, strip }, text.len())
        };
        Route::bare(prefix(text), text, Action::Cgi(options))
    };
    let mut routes = vec![
        Route::bare(prefix("/"), "/", Action::Deny),
        cgi("/cgi-bin/", &root, 1),
        Route::bare(exact("/cgi-bin/denied"), "/cgi-bin/denied", Action::Deny),
        cgi("/elsewhere/", &elsewhere, "/elsewhere/".len()),
    ];
    if let Action::Cgi(options) = &mut routes[3].action {
        options.confinement.detach = true;
    }
    if directory.join("extra").exists() {
        routes.push(cgi("/extra/", &root, 1));
    }
    Ok(with_site(Site {
        name: "test".into(),
        origin: origin(),
        canonical: None,
        files: files::Options {
            place: Place {
                root: Arc::clone(&root),
                strip: 1,
            },
            index: Vec::new(),
            listing: false,
            types: files::Types::default(),
            compress: false,
            fallback: None,
        },
        root,
        trusted: Networks::default(),
        routes: Routes::new(routes),
        scripts: Arc::new(cgi::Queue::new(cgi::QueueLimits {
            running: 1,
            queued: 1,
        })),
    }))
}

fn origin() -> Origin {
    Origin {
        file: "test".into(),
        line: 0,
    }
}

fn with_site(site: Site) -> Snapshot {
    Snapshot {
        listen: Vec::new(),
        workers: None,
        log: Log {
            access: AccessLog::Off,
            level: tracing::Level::INFO,
        },
        cache: crate::files::cache::Size::Auto,
        limits: Limits {
            request_head_timeout: Duration::MAX,
            request_body_timeout: Duration::MAX,
            response_timeout: Duration::MAX,
            idle_timeout: Duration::MAX,
            request_head_size: 1,
            request_headers: 1,
            request_body_size: 1,
            connections: 1,
        },
        sites: vec![site],
        hosts: Hosts::default(),
    }
}

/// Runs a test with attendants and, where there are any, with control groups.
fn each_way(test: impl Fn(Process)) {
    test(Process::start());
    Process::with_groups().into_iter().for_each(test);
}

/// A launcher with a site of its own.
struct Process {
    launcher: std::process::Child,
    address: Address,
    directory: TempDir,
}

impl Process {
    fn start() -> Self {
        Self::start_for(std::process::id(), false)
    }

    fn with_groups() -> Option<Self> {
        static HAS_GROUPS: LazyLock<bool> = LazyLock::new(|| Groups::prepare(None).is_ok());
        HAS_GROUPS.then(|| Self::start_for(std::process::id(), true))
    }

    fn start_for(parent: u32, groups: bool) -> Self {
        Self::start_with(parent, groups, "all")
    }

    fn start_with(parent: u32, groups: bool, descriptors: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["cgi-bin", "programs"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let listener = Listener::bind_abstract().unwrap();
        let address = listener.address().unwrap();
        let launcher = Command::new("/bin/sh")
            .args([
                "-c",
                "[ $1 = all ] || ulimit -n $1; shift; exec \"$@\"",
                "sh",
                descriptors,
            ])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "launcher::tests::launcher_process", "--ignored"])
            .env(SITE, directory.path())
            .env(PARENT, parent.to_string())
            .envs(groups.then_some((GROUPS, "1")))
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            launcher,
            address,
            directory,
        }
    }

    /// Adds a script. This process does not write it itself: a child of another test would have
    /// it open for writing for a moment, and it could not be run.
    fn script(&self, name: &str, text: &str) {
        let mut writer = Command::new("/bin/sh")
            .args(["-c", "cat > $0 && chmod 755 $0"])
            .arg(self.directory.path().join(name))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = writer.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        assert!(writer.wait().unwrap().success());
    }

    fn connect(&self) -> Socket {
        Socket::connect(&self.address).unwrap()
    }

    /// Asks for a script by its URL path, below `/cgi-bin/`.
    fn launch(&self, name: &str) -> Running {
        self.launch_as(&launch("test", "/cgi-bin/", name))
    }

    fn launch_as(&self, launch: &Launch) -> Running {
        Running::ask(self.connect(), launch)
    }

    fn refusal(&self, launch: &Launch) -> Refusal {
        match receive(&self.launch_as(launch).socket) {
            Reply::Refused(refusal) => refusal,
            other => panic!("{launch:?}: {other:?}"),
        }
    }

    fn reload(&self) -> Reply {
        let socket = self.connect();
        send(&socket, &Request::Reload, &[]);
        receive(&socket)
    }

    /// The children of the launcher, as their process ids.
    fn children(&self) -> String {
        let pid = self.launcher.id();
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let children = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children"));
        threads
            .map(|thread| children(thread.unwrap()).unwrap())
            .collect()
    }

    /// The control groups of scripts.
    fn groups(&self) -> Vec<PathBuf> {
        let entries = self
            .tree()
            .into_iter()
            .filter_map(|own| fs::read_dir(own).ok());
        let paths = entries.flatten().flatten().map(|entry| entry.path());
        paths.filter(|path| path.is_dir()).collect()
    }

    /// Where the launcher's part of the tree of control groups may be.
    fn tree(&self) -> [PathBuf; 2] {
        let group = fs::read_to_string("/proc/self/cgroup").unwrap();
        let group = group.lines().find_map(|line| line.strip_prefix("0::/"));
        let group = group.unwrap_or("");
        let name = format!("pywebd.{}", self.launcher.id());
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .map(|mount| Path::new(mount).join(group).join(&name))
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.launcher.id()))
            .unwrap()
            .count()
    }

    /// Waits until something is so; every question has the launcher go once round its loop.
    fn until(&self, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "it does not come to be");
            self.reload();
        }
    }

    fn stop(&mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.launcher);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        self.launcher.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.launcher.try_wait() {
            self.stop();
        }
        // Root without the right to pass over modes may not do it.
        for path in self.tree() {
            let _ = fs::remove_dir(path);
        }
    }
}

/// A script that was asked for, with our ends of its streams.
struct Running {
    socket: Socket,
    stdin: PipeWriter,
    stdout: BufReader<PipeReader>,
    stderr: PipeReader,
    /// Present when its end came with its start.
    exit: Cell<Option<Exit>>,
}

/// What a script came to.
struct Outcome {
    stdout: String,
    stderr: String,
    end: End,
}

impl Running {
    /// Asks for a script over a connection.
    fn ask(socket: Socket, launch: &Launch) -> Self {
        let (stdin, our_stdin) = pipe().unwrap();
        let (our_stdout, stdout) = pipe().unwrap();
        let (our_stderr, stderr) = pipe().unwrap();
        let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        send(&socket, &Request::Launch(launch.clone()), &streams);
        Self {
            socket,
            stdin: our_stdin,
            stdout: BufReader::new(our_stdout),
            stderr: our_stderr,
            exit: Cell::new(None),
        }
    }

    fn started(&self) -> u32 {
        match receive(&self.socket) {
            Reply::Started { pid, exit } => {
                self.exit.set(exit);
                pid
            }
            other => panic!("{other:?}"),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().into()
    }

    fn exited(&self) -> Exit {
        self.exit.take().unwrap_or_else(|| exit(&self.socket))
    }

    fn finish(mut self, stdin: &str) -> Outcome {
        self.started();
        self.stdin.write_all(stdin.as_bytes()).unwrap();
        drop(self.stdin);
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        let exit = self.exit.take().unwrap_or_else(|| exit(&self.socket));
        Outcome {
            stdout,
            stderr,
            end: exit.end,
        }
    }
}

fn exit(socket: &Socket) -> Exit {
    match receive(socket) {
        Reply::Exited(exit) => exit,
        other => panic!("{other:?}"),
    }
}

fn launch(site: &str, key: &str, script_name: &str) -> Launch {
    let variable = |name: &str, value: &str| (name.into(), value.into());
    Launch {
        site: site.into(),
        key: key.into(),
        script_name: script_name.into(),
        environment: vec![
            variable("REQUEST_METHOD", "GET"),
            variable("QUERY_STRING", "a=b&c"),
            variable("GREETING", "as the network process says"),
            variable("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ],
    }
}

fn send(socket: &Socket, request: &Request, fds: &[BorrowedFd<'_>]) {
    socket.send(&request.encode().unwrap(), fds).unwrap();
}

fn receive(socket: &Socket) -> Reply {
    Reply::decode(&receive_bytes(socket)).unwrap()
}

/// The next message; empty at the end of the connection.
fn receive_bytes(socket: &Socket) -> Vec<u8> {
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    let ready = rustix::event::poll(&mut fds, Some(&timeout)).unwrap();
    assert_eq!(ready, 1, "the launcher does not answer");
    let mut buffer = vec![0; MAX_MESSAGE];
    let length = socket.recv(&mut buffer).map_or(0, |(length, _)| length);
    buffer.truncate(length);
    buffer
}

#[test]
fn a_script_has_its_streams_its_environment_and_its_directory() {
    let launcher = Process::start();
    launcher.script(
        "cgi-bin/show",
        "#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ\npwd -P\ncat\necho $0 >&2\n",
    );
    let outcome = launcher.launch("/cgi-bin/show").finish("content");
    let directory = launcher.directory.path().join("cgi-bin");
    let shown = format!(
        "REQUEST_METHOD=GET\nQUERY_STRING=a=b&c\nGREETING=hello\n\
         PATH=/usr/local/bin:/usr/bin:/bin\n{}\ncontent",
        directory.canonicalize().unwrap().display()
    );
    assert_eq!(outcome.stdout, shown);
    let name = directory.join("show");
    assert_eq!(outcome.stderr, format!("{}\n", name.display()));
    assert_eq!(outcome.end, End::Status(0));
}

#[test]
fn a_script_leads_a_session_and_has_nothing_of_the_launcher() {
    let launcher = Process::start();
    // The last descriptor is that of the list.
    let commands = "#!/bin/sh\n\
        read -r me _ _ _ group session _ </proc/$$/stat\n\
        [ $me = $$ ] && [ $group = $$ ] && [ $session = $$ ] && echo leads\n\
        echo $(ls /proc/self/fd)\n\
        grep SigBlk /proc/self/status\n";
    launcher.script("cgi-bin/self", commands);
    let outcome = launcher.launch("/cgi-bin/self").finish("");
    assert_eq!(
        outcome.stdout, "leads\n0 1 2 3\nSigBlk:\t0000000000000000\n",
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_script_of_a_directory_elsewhere_runs_there() {
    let launcher = Process::start();
    fs::create_dir(launcher.directory.path().join("programs/sub")).unwrap();
    launcher.script("programs/sub/where", "#!/bin/sh\npwd -P\n");
    let launch = launch("test", "/elsewhere/", "/elsewhere/sub/where");
    let outcome = launcher.launch_as(&launch).finish("");
    let expected = launcher
        .directory
        .path()
        .join("programs/sub")
        .canonicalize();
    assert_eq!(Path::new(outcome.stdout.trim_end()), expected.unwrap());
}

#[test]
fn the_process_id_is_the_scripts_own() {
    let launcher = Process::start();
    launcher.script("cgi-bin/pid", "#!/bin/sh\necho $$\nread line\n");
    let mut running = launcher.launch("/cgi-bin/pid");
    assert_eq!(running.started().to_string(), running.line());
}

#[test]
fn what_the_configuration_does_not_map_is_refused() {
    let launcher = Process::start();
    for name in [
        "cgi-bin/x",
        "cgi-bin/denied",
        "programs/y",
        "cgi-bin/.hidden",
    ] {
        launcher.script(name, "#!/bin/sh\n");
    }
    symlink("/bin/true", launcher.directory.path().join("cgi-bin/out")).unwrap();
    for (site, key, name) in [
        ("none", "/cgi-bin/", "/cgi-bin/x"),
        ("test", "/none/", "/cgi-bin/x"),
        ("test", "/", "/cgi-bin/x"),
        ("test", "/", "/programs/y"),
        ("test", "/cgi-bin/", "/programs/y"),
        ("test", "/cgi-bin/", "/cgi-bin/../programs/y"),
        ("test", "/cgi-bin/", "/cgi-bin/./x"),
        ("test", "/cgi-bin/", "/cgi-bin//x"),
        ("test", "/cgi-bin/", "/cgi-bin/x\0"),
        ("test", "/cgi-bin/", "cgi-bin/x"),
        ("test", "/cgi-bin/", ""),
        ("test", "/cgi-bin/", "/cgi-bin/"),
        ("test", "/cgi-bin/", "/cgi-bin/x/info"),
        ("test", "/cgi-bin/", "/cgi-bin/none"),
        ("test", "/cgi-bin/", "/cgi-bin/denied"),
        ("test", "/cgi-bin/", "/cgi-bin/.hidden"),
        ("test", "/cgi-bin/", "/cgi-bin/out"),
        ("test", "/elsewhere/", "/cgi-bin/x"),
        ("test", "/cgi-bin/", "/elsewhere/y"),
    ] {
        let refusal = launcher.refusal(&launch(site, key, name));
        assert!(
            matches!(refusal, Refusal::NotMapped(_)),
            "{name}: {refusal}"
        );
    }
    let long = "/x".repeat(MAX_MESSAGE / 4);
    let refusal = launcher.refusal(&launch("test", "/cgi-bin/", &long));
    assert!(matches!(refusal, Refusal::Malformed(_)), "{refusal}");
}

#[test]
fn a_file_that_others_could_have_made_is_refused() {
    let launcher = Process::start();
    let scripts = launcher.directory.path().join("cgi-bin");
    for (name, mode) in [
        ("writable", 0o757),
        ("set-user", 0o4755),
        ("set-group", 0o2755),
    ] {
        launcher.script(&format!("cgi-bin/{name}"), "#!/bin/sh\n");
        set_mode(&scripts.join(name), mode);
        let refusal = launcher.refusal(&launch("test", "/cgi-bin/", &format!("/cgi-bin/{name}")));
        assert!(
            matches!(&refusal, Refusal::Unsafe(why) if why.contains("chmod")),
            "{refusal}"
        );
    }
    launcher.script("cgi-bin/good", "#!/bin/sh\n");
    set_mode(&scripts, 0o1777);
    let refusal = launcher.refusal(&launch("test", "/cgi-bin/", "/cgi-bin/good"));
    assert!(
        matches!(&refusal, Refusal::Unsafe(why) if why.contains("directory")),
        "{refusal}"
    );
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn what_the_kernel_does_not_run_is_explained() {
    let launcher = Process::start();
    for (text, expected) in [
        (
            "#!/bin/sh\r\necho\r\n",
            "its #! line ends in CR LF: convert the file to Unix line ends",
        ),
        (
            "#!/none/perl -w\n",
            "its interpreter \"/none/perl\" does not exist",
        ),
        (
            "echo hello\n",
            "it has no #! line to say what runs it, and is no program of this machine",
        ),
    ] {
        launcher.script("cgi-bin/x", text);
        let refusal = launcher.refusal(&launch("test", "/cgi-bin/", "/cgi-bin/x"));
        assert_eq!(refusal.to_string(), expected);
    }
    launcher.until(|| launcher.children().is_empty() && launcher.groups().is_empty());
}

#[test]
fn a_script_that_is_being_written_is_refused() {
    let launcher = Process::start();
    launcher.script("cgi-bin/x", "#!/bin/sh\n");
    let file = launcher.directory.path().join("cgi-bin/x");
    let writer = File::options().append(true).open(file).unwrap();
    let launch = launch("test", "/cgi-bin/", "/cgi-bin/x");
    let expected = Refusal::System {
        step: "execve".into(),
        errno: Errno::TXTBSY.raw_os_error(),
    };
    assert_eq!(launcher.refusal(&launch), expected);
    drop(writer);
}

#[test]
fn a_script_that_is_replaced_runs_on_and_the_next_is_the_new_one() {
    let launcher = Process::start();
    launcher.script("cgi-bin/x", "#!/bin/sh\necho old\nread line\necho $line\n");
    let mut old = launcher.launch("/cgi-bin/x");
    old.started();
    assert_eq!(old.line(), "old");
    launcher.script("cgi-bin/next", "#!/bin/sh\necho new\n");
    let scripts = launcher.directory.path().join("cgi-bin");
    fs::rename(scripts.join("next"), scripts.join("x")).unwrap();
    assert_eq!(launcher.launch("/cgi-bin/x").finish("").stdout, "new\n");
    old.stdin.write_all(b"still old\n").unwrap();
    assert_eq!(old.line(), "still old");
}

#[test]
fn a_reload_maps_new_scripts_and_a_broken_one_changes_nothing() {
    let launcher = Process::start();
    launcher.reload();
    let directory = launcher.directory.path();
    fs::create_dir(directory.join("extra")).unwrap();
    launcher.script("extra/x", "#!/bin/sh\necho extra\n");
    let launch = launch("test", "/extra/", "/extra/x");
    assert!(matches!(launcher.refusal(&launch), Refusal::NotMapped(_)));

    fs::write(
        directory.join("broken"),
        "line 1: \u{e9}".repeat(connection::MAX_REPORT),
    )
    .unwrap();
    let Reply::Refused(Refusal::Configuration(report)) = launcher.reload() else {
        panic!("a broken configuration was taken")
    };
    assert!(report.starts_with("line 1") && report.len() <= connection::MAX_REPORT);
    assert!(matches!(launcher.refusal(&launch), Refusal::NotMapped(_)));

    fs::remove_file(directory.join("broken")).unwrap();
    assert_eq!(launcher.reload(), Reply::Reloaded);
    assert_eq!(launcher.launch_as(&launch).finish("").stdout, "extra\n");
}

#[test]
fn a_stopped_launcher_ends_its_scripts_and_exits_well() {
    let mut launcher = Process::start();
    launcher.script("cgi-bin/wait", "#!/bin/sh\necho ready\nread line\n");
    let mut running = launcher.launch("/cgi-bin/wait");
    running.started();
    assert_eq!(running.line(), "ready");
    assert_eq!(launcher.stop().code(), Some(0));
    assert_eq!(running.exited().end, End::Signal(15));
    assert_eq!(receive_bytes(&running.socket), b"");
    assert!(Socket::connect(&launcher.address).is_err());
}

#[test]
fn a_terminals_interrupt_is_not_for_the_launcher() {
    let launcher = Process::start();
    launcher.reload();
    for signal in [Signal::INT, Signal::HUP] {
        rustix::process::kill_process(Pid::from_child(&launcher.launcher), signal).unwrap();
    }
    assert_eq!(launcher.reload(), Reply::Reloaded);
}

#[test]
fn garbage_is_answered_and_the_connection_closed() {
    let launcher = Process::start();
    let launch = Request::Launch(launch("test", "/cgi-bin/", "/cgi-bin/x"))
        .encode()
        .unwrap();
    let null = File::open("/dev/null").unwrap();
    for (datagram, fds) in [
        (&b"can you hear me?"[..], 0),
        (&launch[..launch.len() - 1], 3),
        (&launch, 0),
        (&launch, 2),
    ] {
        let socket = launcher.connect();
        socket.send(datagram, &vec![null.as_fd(); fds]).unwrap();
        let reply = receive(&socket);
        assert!(
            matches!(reply, Reply::Refused(Refusal::Malformed(_))),
            "{reply:?}"
        );
        assert_eq!(receive_bytes(&socket), b"");
    }
    assert_eq!(launcher.reload(), Reply::Reloaded);
}

#[test]
fn a_second_script_on_a_connection_ends_the_first() {
    let launcher = Process::start();
    launcher.script("cgi-bin/wait", "#!/bin/sh\nread line\n");
    let mut running = launcher.launch("/cgi-bin/wait");
    running.started();
    let again = launch("test", "/cgi-bin/", "/cgi-bin/wait");
    let null = File::open("/dev/null").unwrap();
    send(&running.socket, &Request::Launch(again), &[null.as_fd(); 3]);
    assert!(matches!(
        receive(&running.socket),
        Reply::Refused(Refusal::Malformed(_))
    ));
    assert_eq!(
        running.stdout.read_to_string(&mut String::new()).unwrap(),
        0
    );
}

#[test]
fn a_peer_that_does_not_read_holds_up_nobody() {
    let launcher = Process::start();
    let deaf = launcher.connect();
    let reload = Request::Reload.encode().unwrap();
    let begun = Instant::now();
    // Until the launcher closes the connection, since its replies are not taken.
    loop {
        match deaf.send(&reload, &[]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert_eq!(launcher.reload(), Reply::Reloaded);
            }
            Err(_) => break,
        }
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(launcher.reload(), Reply::Reloaded);
}

#[test]
fn the_launcher_ends_with_the_thread_that_started_it() {
    let started = std::thread::spawn(|| {
        let launcher = Process::start();
        launcher.reload();
        launcher
    });
    let mut launcher = started.join().unwrap();
    assert_eq!(launcher.launcher.wait().unwrap().code(), Some(0));
}

#[test]
fn a_launcher_whose_parent_has_ended_does_not_start() {
    let mut launcher = Process::start_for(1_000_000_000, false);
    assert_eq!(launcher.launcher.wait().unwrap().code(), Some(1));
}
