//! What a service manager and a server tell each other: readiness, a line, signs of life, sockets.

use std::{
    ffi::c_void,
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    ptr, thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{HANG, Manager, SITE, Server, Site, copy_program, free, until_refused};

/// A configuration that listens there.
fn listening(site: &Site, addresses: &[SocketAddr]) -> String {
    let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    let config = site.config_at(SITE, &addresses);
    config.to_str().unwrap().to_owned()
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_line_of_the_unit_says_how_the_server_does() {
    let manager = Manager::new();
    let site = Site::new().file("a", "x");
    let address = free();
    let config = listening(&site, &[address]);
    let server = manager.start(vec![], &[], &["serve", "--config", &config]);
    let ready = manager.hear("READY=1");
    let line = format!("1 site on {address}; 0 requests, 0 connections, 0 scripts");
    assert_eq!(ready.value("STATUS"), Some(&*line));
    for _ in 0..2 {
        assert_eq!(server.get("/a").text(), "x");
    }
    manager.hear("; 2 requests, 0 connections");
    fs::write(&config, "version = 1\nnonsense").unwrap();
    manager.hear("RELOADING=1");
    let failed = manager.hear("READY=1");
    assert!(failed.text.contains("STATUS=reload failed "), "{failed:?}");
    assert!(failed.text.contains("; still 1 site on "), "{failed:?}");
    // It stays until the next one that succeeds.
    assert_eq!(server.get("/a").text(), "x");
    let later = manager.hear("3 requests");
    assert!(later.text.contains("STATUS=reload failed "), "{later:?}");
    listening(&site, &[address]);
    let mended = manager.hear("; reloaded ");
    assert!(
        mended.text.trim_end().ends_with(": 0 changes"),
        "{mended:?}"
    );
}

/// Stops one thread of a process for as long as this lives, as a debugger does.
struct Halted(libc::pid_t);

impl Halted {
    /// None where this user may not.
    fn halt(thread: libc::pid_t) -> Option<Self> {
        ptrace(libc::PTRACE_SEIZE, thread).then_some(())?;
        assert!(ptrace(libc::PTRACE_INTERRUPT, thread));
        // SAFETY: the status is not asked for.
        let waited = unsafe { libc::waitpid(thread, ptr::null_mut(), libc::__WALL) };
        assert_eq!(waited, thread);
        Some(Self(thread))
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        ptrace(libc::PTRACE_DETACH, self.0);
    }
}

fn ptrace(request: libc::c_uint, thread: libc::pid_t) -> bool {
    let nothing = ptr::null_mut::<c_void>();
    // SAFETY: these requests neither read nor write memory of this process.
    unsafe { libc::ptrace(request, thread, nothing, nothing) == 0 }
}

/// The thread with this name.
fn thread_of(server: &Server, name: &str) -> libc::pid_t {
    let threads = fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
    let is_it = |path: &Path| fs::read_to_string(path.join("comm")).unwrap().trim() == name;
    let mut paths = threads.map(|thread| thread.unwrap().path());
    let path = paths.find(|path| is_it(path)).unwrap();
    path.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// What was told until now does not count.
fn forget_signs(manager: &Manager) {
    let moment = Duration::from_millis(1);
    while manager.hear_within("WATCHDOG=1", moment).is_some() {}
}

#[test]
fn a_worker_that_is_stuck_ends_the_signs_of_life_and_is_named() {
    let manager = Manager::new();
    let site = Site::new().file("a", "x");
    let config = listening(&site, &[free()]);
    let variables = [("WATCHDOG_USEC", "400000")];
    let server = manager.start(vec![], &variables, &["serve", "--config", &config]);
    for _ in 0..3 {
        manager.hear("WATCHDOG=1");
    }
    let Some(halted) = Halted::halt(thread_of(&server, "worker-1")) else {
        return;
    };
    let begun = Instant::now();
    while manager
        .hear_within("WATCHDOG=1", Duration::from_secs(1))
        .is_some()
    {
        assert!(begun.elapsed() < HANG, "there are still signs of life");
    }
    server.logged(&["worker 1 is stuck"]);
    drop(halted);
    server.logged(&["worker 1 goes on"]);
    manager.hear("WATCHDOG=1");
}

#[test]
fn a_worker_that_goes_on_soon_does_so_before_the_watchdog_ends_the_process() {
    let manager = Manager::new();
    let site = Site::new();
    let config = listening(&site, &[free()]);
    let variables = [("WATCHDOG_USEC", "8000000")];
    let server = manager.start(vec![], &variables, &["serve", "--config", &config]);
    manager.hear("WATCHDOG=1");
    let Some(halted) = Halted::halt(thread_of(&server, "worker-1")) else {
        return;
    };
    server.logged(&["worker 1 is stuck"]);
    forget_signs(&manager);
    drop(halted);
    // The last sign was given 2 s ago. The next one is to come well before 8 s have passed.
    let sign = manager.hear_within("WATCHDOG=1", Duration::from_secs(5));
    assert!(sign.is_some());
}

#[test]
fn a_reload_is_given_more_time_by_the_watchdog() {
    let manager = Manager::new();
    let site = Site::new();
    let config = listening(&site, &[free()]);
    let variables = [("WATCHDOG_USEC", "20000000")];
    let server = manager.start(vec![], &variables, &["serve", "--config", &config]);
    server.signal(Signal::HUP);
    manager.hear("RELOADING=1");
    manager.hear("WATCHDOG_USEC=80000000");
    manager.hear("WATCHDOG_USEC=20000000");
    manager.hear("READY=1");
}

#[test]
fn what_the_server_has_bound_is_there_for_the_next_process() {
    // Newer service managers tell that they keep sockets.
    for told in [&[("FDSTORE", "8")][..], &[]] {
        let manager = Manager::new();
        let site = Site::new().file("a", "x");
        let address = free();
        let config = listening(&site, &[address]);
        let arguments = ["serve", "--config", &config];
        let server = manager.start(vec![], told, &arguments);
        let mut stored = manager.hear("FDSTORE=1");
        let name = stored.value("FDNAME").unwrap().to_owned();
        assert!(
            !name.contains(':') && stored.text.contains("FDPOLL=0"),
            "{stored:?}"
        );
        let socket = stored.sockets.pop().unwrap();
        assert_eq!(server.end(Signal::TERM).status.code(), Some(0));
        manager.hear("STOPPING=1");
        let waiting = thread::spawn(move || ask(address));

        let server = manager.start(vec![(socket, &name)], told, &arguments);
        // It is in the store already.
        assert!(manager.hear("").text.contains("READY=1"));
        assert!(waiting.join().unwrap().unwrap().ends_with("\r\n\r\nx"));
        assert!(ask(address).unwrap().ends_with("\r\n\r\nx"));

        listening(&site, &[free()]);
        server.signal(Signal::HUP);
        let removed = manager.hear("FDSTOREREMOVE=1");
        assert_eq!(removed.value("FDNAME"), Some(&*name));
        manager.hear("FDSTORE=1");
        until_refused(address);
    }
}

#[test]
fn what_the_store_has_and_the_configuration_does_not_name_is_closed() {
    let manager = Manager::new();
    let site = Site::new();
    // A port that is free at every address.
    let old = TcpListener::bind(free()).unwrap();
    let address = old.local_addr().unwrap();
    let name = format!("pywebd-listen_{}", address.to_string().replace(':', "_"));
    // The new address overlaps with it.
    let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
    let config = listening(&site, &[free(), everywhere]);
    let sockets = vec![(old.into(), &*name)];
    let _server = manager.start(
        sockets,
        &[("FDSTORE", "8")],
        &["serve", "--config", &config],
    );
    let removed = manager.hear("FDSTOREREMOVE=1");
    assert_eq!(removed.value("FDNAME"), Some(&*name));
    assert!(ask(address).unwrap().contains("404"));
}

#[test]
fn sockets_of_units_are_found_by_their_address_and_stay_theirs() {
    let manager = Manager::new();
    let site = Site::new().file("a", "x");
    let passed = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, unnamed, second] = passed
        .each_ref()
        .map(|listener| listener.local_addr().unwrap());
    let config = listening(&site, &[second, first]);
    let sockets = passed.map(|listener| (listener.into(), "pywebd.socket"));
    let server = manager.start(
        sockets.into(),
        &[("FDSTORE", "8")],
        &["serve", "--config", &config],
    );
    // Nothing of it is put into the store.
    assert!(manager.hear("").text.contains("READY=1"));
    for address in [first, second] {
        assert!(ask(address).unwrap().ends_with("\r\n\r\nx"));
    }
    server.logged(&[
        &unnamed.to_string(),
        "turned away",
        "systemctl edit pywebd.socket",
    ]);
    let refused = ask(unnamed).unwrap_err();
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(kinds.contains(&refused.kind()), "{refused}");
    // It serves as soon as it is named.
    listening(&site, &[second, first, unnamed]);
    server.signal(Signal::HUP);
    server.logged(&["configuration reloaded: 1 change"]);
    assert!(ask(unnamed).unwrap().ends_with("\r\n\r\nx"));
}

#[test]
fn without_ipv6_every_address_is_every_address_of_ipv4() {
    let manager = Manager::new();
    let site = Site::new().file("a", "x");
    let passed = TcpListener::bind("0.0.0.0:0").unwrap();
    let given = passed.local_addr().unwrap().port();
    let bound = free().port();
    let every = |port| SocketAddr::from(([0_u16; 8], port));
    let config = listening(&site, &[free(), every(bound), every(given)]);
    let sockets = vec![(passed.into(), "pywebd.socket")];
    let server = manager.start_without_ipv6(sockets, &["serve", "--config", &config]);
    for port in [bound, given] {
        let answer = ask(([127, 0, 0, 1], port).into()).unwrap();
        assert!(answer.ends_with("\r\n\r\nx"), "{answer}");
    }
    server.logged(&[
        "no IPv6",
        &format!("0.0.0.0:{bound} takes the place of [::]:{bound}"),
    ]);
    // The one that was passed is that already.
    let log = server.log();
    assert!(!log.contains(&format!("0.0.0.0:{given}")), "{log}");
}

#[test]
fn a_low_port_that_is_refused_names_the_remedies_and_is_77() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first.is_ok_and(|port| port.trim() == "0") {
        return;
    }
    let site = Site::new();
    fs::set_permissions(site.directory(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(copy_program(site.directory()));
    command.args(["serve", "/usr", "--listen", "127.0.0.1:1"]);
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let outcome = command.output().unwrap();
    let told = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.status.code(), Some(77), "{told}");
    for remedy in [
        "systemctl edit pywebd.socket",
        "drop-ins",
        "ip_unprivileged_port_start",
    ] {
        assert!(told.contains(remedy), "{told}");
    }
}

/// A launcher that a service manager has started.
struct Launcher {
    child: Child,
    socket: String,
}

impl Launcher {
    fn start(manager: &Manager, config: &str, variables: &[(&str, &str)]) -> Self {
        let start = "exec 3<&0 0</dev/null\n\
                     LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" launcher --config \"$1\"";
        let socket = manager.path().with_extension("cgi");
        let child = Command::new("/bin/sh")
            .args(["-c", start, env!("CARGO_BIN_EXE_pywebd"), config])
            .stdin(Stdio::from(crate::launcher::socket(&socket)))
            .env("NOTIFY_SOCKET", manager.path())
            .envs(variables.iter().copied())
            .process_group(0)
            .spawn()
            .unwrap();
        manager.hear("READY=1\nSTATUS=no script runs");
        let socket = socket.to_str().unwrap().to_owned();
        Self { child, socket }
    }

    fn arguments<'a>(&'a self, config: &'a str) -> [&'a str; 5] {
        ["serve", "--config", config, "--launcher", &self.socket]
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_launcher_of_its_own_tells_when_it_is_ready_and_how_many_scripts_run() {
    let (of_launcher, of_server) = (Manager::new(), Manager::new());
    let site = Site::new().script("cgi-bin/wait", "#!/bin/sh\nread line\n");
    let config = site.config(&format!("{SITE}path.\"/cgi-bin/\" = {{ cgi = true }}\n"));
    let config = config.to_str().unwrap();
    let mut launcher = Launcher::start(&of_launcher, config, &[]);
    let arguments = launcher.arguments(config);
    let server = of_server.start(vec![], &[], &arguments);
    let mut waiting = server.connect();
    waiting.send("POST /cgi-bin/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n");
    of_launcher.hear("STATUS=1 script runs");
    of_server.hear(", 1 script");
    drop(waiting);
    of_launcher.hear("STATUS=no script runs");
    kill_process(Pid::from_child(&launcher.child), Signal::TERM).unwrap();
    of_launcher.hear("STOPPING=1");
    assert_eq!(launcher.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_launcher_of_its_own_gives_signs_of_life_and_a_reload_more_time() {
    let (of_launcher, of_server) = (Manager::new(), Manager::new());
    let site = Site::new().script("cgi-bin/a", "#!/bin/sh\n");
    let config = site.config(&format!("{SITE}path.\"/cgi-bin/\" = {{ cgi = true }}\n"));
    let config = config.to_str().unwrap();
    let launcher = Launcher::start(&of_launcher, config, &[("WATCHDOG_USEC", "400000")]);
    for _ in 0..3 {
        of_launcher.hear("WATCHDOG=1");
    }
    let server = of_server.start(vec![], &[], &launcher.arguments(config));
    server.signal(Signal::HUP);
    of_launcher.hear("WATCHDOG_USEC=60400000");
    of_launcher.hear("WATCHDOG_USEC=400000");
    of_launcher.hear("WATCHDOG=1");
}

#[test]
fn passwords_are_the_servers_and_the_launcher_does_not_open_them() {
    let manager = Manager::new();
    let site = Site::new().script("cgi-bin/a", "#!/bin/sh\nprintf 'Status: 204\\n\\n'\n");
    let secrets = site.directory().join("credentials");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("members"), "alice:{PLAIN}secret\n").unwrap();
    let config = site.config(&format!(
        "{SITE}auth = {{ basic = \"${{CREDENTIALS_DIRECTORY}}/members\", weak = true }}\n\
         path.\"/cgi-bin/\" = {{ cgi = true }}\n"
    ));
    let config = config.to_str().unwrap();
    // In another namespace of mounts there is nothing at the same path.
    let elsewhere = [("CREDENTIALS_DIRECTORY", "/none")];
    let launcher = Launcher::start(&manager, config, &elsewhere);
    let arguments = launcher.arguments(config);
    let credentials = [("CREDENTIALS_DIRECTORY", secrets.to_str().unwrap())];
    let server = Manager::new().start(vec![], &credentials, &arguments);
    assert_eq!(server.get("/cgi-bin/a").status(), 401);
    // alice:secret
    let fields = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
    assert_eq!(
        server.request("GET", "/cgi-bin/a", fields, "").status(),
        204
    );

    let outcome = Server::run(&["check", "--config", config]);
    assert!(
        outcome.stderr.contains("LoadCredential="),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_network_process_of_its_own_can_hand_on_no_rights() {
    let manager = Manager::new();
    let site = Site::new();
    let config = listening(&site, &[free()]);
    let launcher = Launcher::start(&manager, &config, &[]);
    let arguments = launcher.arguments(&config);
    let server = Server::start(&arguments);
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    for right in [
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        // Of the kernel's modes it is the one with a filter.
        "Seccomp:\t2",
    ] {
        assert!(status.contains(right), "{right} in {status}");
    }
    // Those of the machine that tests run in count, too.
    let filters = |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("Seccomp_f"));
        let count = line.and_then(|line| line.split_whitespace().nth(1));
        count.and_then(|count| count.parse::<u32>().ok()).unwrap()
    };
    assert_eq!(filters(server.id()), filters(launcher.child.id()) + 1);
}
