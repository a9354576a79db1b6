//! `pywebd reload` and `pywebd diff`, and the control socket of the server they ask.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    launcher::service,
    support::{HANG, SITE, Server, Site, copy_program, free, until_refused},
};

const LISTING: &str = "site.a: path.\"/\".listing false -> true";

/// A server with a control socket.
struct Controlled {
    server: Server,
    site: Site,
    control: PathBuf,
}

/// What a command has printed, and its exit status.
struct Told {
    exit: i32,
    output: String,
    findings: String,
}

impl Controlled {
    fn start(site: Site, sites: &str) -> Self {
        Self::start_with(site, sites, &[])
    }

    fn start_with(site: Site, sites: &str, more: &[&str]) -> Self {
        let control = site.directory().join("run/control");
        let config = site.config(sites);
        let [config, path] = [&config, &control].map(|path| path.to_str().unwrap());
        let arguments = ["serve", "--config", config, "--control", path];
        Self {
            server: Server::start(&[&arguments, more].concat()),
            site,
            control,
        }
    }

    fn ask(&self, verb: &str) -> Told {
        told(&[verb, "--control", self.control.to_str().unwrap()])
    }

    /// Waits for an answer over the socket to this.
    fn say(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.control).unwrap();
        // It may have heard enough before the end.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }
}

fn told(arguments: &[&str]) -> Told {
    let outcome = Server::run(arguments);
    Told {
        exit: outcome.status.code().unwrap(),
        output: outcome.stdout,
        findings: outcome.stderr,
    }
}

#[test]
fn a_reload_is_in_force_when_the_command_has_ended() {
    let server = Controlled::start(Site::new().file("a/x", "x"), SITE);
    for (listing, status) in [(true, 200), (false, 403), (true, 200)] {
        server.site.config(&format!("{SITE}listing = {listing}\n"));
        let told = server.ask("reload");
        assert_eq!((told.exit, &*told.findings), (0, ""), "{}", told.output);
        assert_eq!(server.server.get("/a/").status(), status);
    }
    // Whoever was faster, the command or the watch.
    server.server.logged(&[LISTING]);
}

#[test]
fn what_a_reload_changes_is_told_before_and_after() {
    let server = Controlled::start(Site::new().file("a/x", "x"), SITE);
    // The watch cannot be faster: until the port is free nothing is put in force.
    let held = TcpListener::bind(free()).unwrap();
    let held_at = held.local_addr().unwrap();
    let address = held_at.to_string();
    let listen = ["127.0.0.1:0", &address];
    let sites = format!("{SITE}listing = true\n");
    server.site.config_at(&sites, &listen);
    server.server.logged(&["not reloaded", &address]);

    let told = server.ask("diff");
    let expected = format!("server: listen [\"127.0.0.1:0\"] -> {listen:?}\n{LISTING}\n");
    assert_eq!(
        (told.exit, &*told.output, &*told.findings),
        (0, &*expected, "")
    );
    let told = server.ask("reload");
    assert_eq!((told.exit, &*told.output), (71, ""), "{}", told.findings);
    assert!(told.findings.contains(&address), "{}", told.findings);
    assert!(
        told.findings.contains("stays as it is"),
        "{}",
        told.findings
    );
    assert_eq!(server.server.get("/a/").status(), 403);

    drop(held);
    // A program that another test starts just now may hold it, too.
    until_refused(held_at);
    let told = server.ask("reload");
    assert_eq!((told.exit, told.output), (0, expected), "{}", told.findings);
    assert_eq!(server.server.get("/a/").status(), 200);
    server.server.logged(&["configuration reloaded: 2 changes"]);
    assert!(server.ask("diff").output.contains("change nothing"));
    server.server.logged(&[LISTING]);
}

#[test]
fn nothing_to_change_is_told() {
    let server = Controlled::start(Site::new(), SITE);
    let told = server.ask("diff");
    assert_eq!(
        (told.exit, &*told.output),
        (0, "a reload would change nothing\n")
    );
    let told = server.ask("reload");
    assert_eq!(told.exit, 0);
    assert!(
        told.output.contains("nothing has changed"),
        "{}",
        told.output
    );
    server
        .server
        .logged(&["configuration reloaded: no value has changed"]);
}

#[test]
fn a_broken_configuration_is_told_with_its_place_and_the_old_one_stays() {
    let server = Controlled::start(Site::new().file("a", "x"), SITE);
    server
        .site
        .config(&format!("{SITE}listing = maybe\nrooot = 1\n"));
    for verb in ["diff", "reload"] {
        let told = server.ask(verb);
        assert_eq!((told.exit, &*told.output), (78, ""), "{verb}");
        assert!(
            told.findings.contains("pywebd.toml:6:11"),
            "{}",
            told.findings
        );
        assert_eq!(server.server.get("/a").text(), "x");
    }
    server.server.logged(&["not reloaded", "pywebd.toml:6:11"]);
}

#[test]
fn warnings_of_a_reload_are_told() {
    let server = Controlled::start(Site::new(), SITE);
    let missing = "[site.a.path.\"/x/\"]\nscript = \"/none/program\"\n";
    server.site.config(&format!("{SITE}{missing}"));
    let told = server.ask("reload");
    assert_eq!(told.exit, 0);
    assert!(told.findings.contains("/none/program"), "{}", told.findings);
    server.server.logged(&["site.a: path.\"/x/\" added"]);
}

#[test]
fn a_file_of_passwords_with_other_content_is_told() {
    let hash = "$2b$04$pVhEpzP74YVLoHPJ424JquqF2./2yVjTflY8n1ed.xuQ22DHmZeyS";
    let site = Site::new();
    let users = site.directory().join("users");
    fs::write(&users, format!("alice:{hash}\n")).unwrap();
    let auth = format!("{SITE}path.\"/\" = {{ auth = {{ basic = \"users\" }} }}\n");
    let server = Controlled::start(site, &auth);
    fs::write(&users, format!("bob:{hash}\n")).unwrap();
    assert_eq!(server.ask("reload").exit, 0);
    server.server.logged(&["users has other content"]);
}

#[test]
fn values_of_variables_are_told_to_nobody() {
    let rule = |value: &str| {
        format!("{SITE}[site.a.path.\"/x/\"]\ncgi = true\nenv = {{ TOKEN = \"{value}\" }}\n")
    };
    let site = Site::new().script("x/a", "#!/bin/sh\n");
    let server = Controlled::start(site, &rule("first-secret"));
    server.site.config(&rule("second-secret"));
    let told = server.ask("reload");
    server
        .server
        .logged(&["site.a: path.\"/x/\".env.TOKEN changed"]);
    let log = server.server.end(Signal::TERM).stderr;
    assert!(
        !(told.output + &told.findings + &log).contains("secret"),
        "{log}"
    );
}

#[test]
fn a_launcher_that_does_not_take_the_configuration_is_told() {
    let site = Site::new();
    let theirs = site.directory().join("launcher.toml");
    fs::copy(site.config(SITE), &theirs).unwrap();
    let socket = site.directory().join("cgi.sock");
    let [theirs_name, socket_name] = [&theirs, &socket].map(|path| path.to_str().unwrap());
    let mut launcher = service(&socket, theirs_name);
    let server = Controlled::start_with(site, SITE, &["--launcher", socket_name]);

    fs::write(&theirs, "version = 1\nrooot = 1\n").unwrap();
    let told = server.ask("reload");
    assert_eq!(told.exit, 71, "{}", told.findings);
    assert!(
        told.findings.contains("launcher.toml:2:1"),
        "{}",
        told.findings
    );

    kill_process(Pid::from_child(&launcher), Signal::TERM).unwrap();
    launcher.wait().unwrap();
    let told = server.ask("reload");
    assert_eq!(told.exit, 71, "{}", told.findings);
    assert!(told.findings.contains("launcher"), "{}", told.findings);
    assert!(
        told.findings.contains("cannot be reached"),
        "{}",
        told.findings
    );
    server.server.logged(&["not reloaded", "cannot be reached"]);
}

#[test]
fn without_a_server_the_socket_and_the_remedy_are_named() {
    let site = Site::new();
    let path = site.directory().join("control");
    for is_left_over in [false, true] {
        if is_left_over {
            drop(UnixListener::bind(&path).unwrap());
        }
        for verb in ["reload", "diff"] {
            let told = told(&[verb, "--control", path.to_str().unwrap()]);
            assert_eq!(told.exit, 69, "{}", told.findings);
            for part in [path.to_str().unwrap(), "pywebd serve", "--control"] {
                assert!(told.findings.contains(part), "{}", told.findings);
            }
        }
    }
}

#[test]
fn a_server_that_gives_no_answer_is_told() {
    let site = Site::new();
    let path = site.directory().join("control");
    let listener = UnixListener::bind(&path).unwrap();
    let silent = thread::spawn(move || drop(listener.accept().unwrap()));
    let told = told(&["reload", "--control", path.to_str().unwrap()]);
    assert_eq!(told.exit, 69);
    assert!(told.findings.contains("no answer"), "{}", told.findings);
    silent.join().unwrap();
}

#[test]
fn paths_that_no_socket_can_have_are_mistakes_of_the_command_line() {
    let long = format!("/tmp/{}", "x".repeat(200));
    for (path, part) in [("run/control", "absolute"), (&long, "at most 107 bytes")] {
        for arguments in [
            &["serve", "--config", "/none", "--control", path][..],
            &["reload", "--control", path],
            &["diff", "--control", path],
        ] {
            let told = told(arguments);
            assert_eq!(told.exit, 64, "{arguments:?}");
            assert!(told.findings.contains(part), "{}", told.findings);
        }
    }
}

#[test]
fn the_socket_is_for_its_user_alone_and_goes_with_the_server() {
    let server = Controlled::start(Site::new(), SITE);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert!(
        fs::metadata(&server.control)
            .unwrap()
            .file_type()
            .is_socket()
    );
    assert_eq!(mode(&server.control), 0o600);
    assert_eq!(mode(server.control.parent().unwrap()), 0o700);
    server.server.end(Signal::TERM);
    assert!(!server.control.exists());
}

#[test]
fn the_place_that_the_service_manager_has_made_is_the_usual_one() {
    let server = Controlled::start(Site::new(), SITE);
    let directory = server.control.parent().unwrap().to_str().unwrap();
    for (directory, exit, part) in [
        (directory.to_owned() + ":/run/none", 0, ""),
        ("/proc/none".to_owned(), 69, "/proc/none/control"),
        (format!("/run/{}", "x".repeat(100)), 64, "too long"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_pywebd"))
            .arg("reload")
            .env("RUNTIME_DIRECTORY", directory)
            .output()
            .unwrap();
        let findings = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(exit), "{findings}");
        assert!(findings.contains(part), "{findings}");
    }
}

#[test]
fn a_socket_that_cannot_be_had_is_a_warning_only_where_it_was_asked_for() {
    let server = Site::new().configured(SITE);
    server.logged(&["WARN", "no control socket at /proc/none/control"]);
    for (directory, reason) in [
        ("", "neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR"),
        ("/proc/none", "at /proc/none/pywebd/control"),
    ] {
        let variables = [("RUNTIME_DIRECTORY", ""), ("XDG_RUNTIME_DIR", directory)];
        let server = Site::new().configured_as_nobody_with(SITE, &variables);
        server.logged(&["INFO", "no control socket", reason, "--control"]);
    }
}

#[test]
fn a_socket_that_was_left_over_is_replaced() {
    let site = Site::new();
    let path = site.directory().join("run/control");
    fs::create_dir(path.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    let server = Controlled::start(site, SITE);
    assert_eq!(server.ask("reload").exit, 0);
}

#[test]
fn a_socket_of_another_server_stays_its_own() {
    let first = Controlled::start(Site::new().file("a", "x"), SITE);
    let config = first.site.config(SITE);
    let [config, control] = [&config, &first.control].map(|path| path.to_str().unwrap());
    let second = Server::start(&["serve", "--config", config, "--control", control]);
    second.logged(&["another server listens at", control]);
    assert_eq!(second.get("/a").text(), "x");
    second.end(Signal::TERM);
    assert_eq!(first.ask("reload").exit, 0);
    first.server.logged(&["configuration reloaded"]);
}

#[test]
fn a_socket_of_another_server_is_taken_when_that_has_ended() {
    let first = Controlled::start(Site::new().file("a", "x"), SITE);
    let config = first.site.config(SITE);
    let [config, control] = [&config, &first.control].map(|path| path.to_str().unwrap());
    let second = Server::start(&["serve", "--config", config, "--control", control]);
    second.logged(&["another server listens at", control]);
    first.server.end(Signal::TERM);
    let begun = std::time::Instant::now();
    while told(&["reload", "--control", control]).exit != 0 {
        assert!(begun.elapsed().as_secs() < 20, "it is not taken");
    }
    second.logged(&["configuration reloaded"]);
}

#[test]
fn a_file_is_not_taken_for_an_old_control_socket() {
    let site = Site::new().file("a", "x");
    let path = site.directory().join("run/control");
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, "precious").unwrap();
    let server = Controlled::start(site, SITE);
    server
        .server
        .logged(&["another server listens at", "or it is no socket"]);
    assert_eq!(server.server.get("/a").text(), "x");
    server.server.end(Signal::TERM);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn garbage_silence_and_a_flood_hold_up_nobody() {
    let server = Controlled::start(Site::new().file("a", "x"), SITE);
    for garbage in [
        &b"\n"[..],
        b"reload now\n",
        b"\xff\0\n",
        b"GET / HTTP/1.1\r\n\r\n",
        &[b'x'; 4096],
    ] {
        let answer = server.say(garbage);
        assert!(
            answer.is_empty() || answer.contains("not-understood"),
            "{answer}"
        );
    }
    assert!(server.say(b"diff\nreload\n").contains("change nothing"));
    // As many as the kernel lets wait, and some that have gone.
    let silent: Vec<_> = (0..4)
        .map(|_| UnixStream::connect(&server.control).unwrap())
        .collect();
    for _ in 0..50 {
        let _ = UnixStream::connect(&server.control)
            .unwrap()
            .write_all(b"rel");
    }
    assert_eq!(server.server.get("/a").text(), "x");
    assert_eq!(server.ask("reload").exit, 0);
    drop(silent);
}

#[test]
fn reloads_from_everywhere_at_once_all_end() {
    let server = Controlled::start(Site::new().file("a/x", "x"), SITE);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let told = server.ask("reload");
                    assert_eq!(told.exit, 0, "{}", told.findings);
                }
            });
        }
        for number in 0..30 {
            let listing = number % 2 == 1;
            server.site.config(&format!("{SITE}listing = {listing}\n"));
            server.server.signal(Signal::HUP);
        }
    });
    assert_eq!(server.ask("reload").exit, 0);
    assert_eq!(server.server.get("/a/").status(), 200);
    assert_eq!(server.server.end(Signal::TERM).status.code(), Some(0));
}

#[test]
fn other_users_are_turned_away() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let server = Controlled::start(Site::new(), SITE);
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    open(server.site.directory());
    open(server.control.parent().unwrap());
    let program = copy_program(server.site.directory());
    let ask = |part: &str| {
        let mut command = Command::new(&program);
        command.args(["reload", "--control", server.control.to_str().unwrap()]);
        let output = command.uid(65_534).gid(65_534).output().unwrap();
        let findings = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(77), "{findings}");
        assert!(findings.contains(part), "{findings}");
    };
    ask("is not for you");
    // Even where somebody has opened the socket.
    open(&server.control);
    ask("answers only root");
    assert_eq!(server.ask("reload").exit, 0);
}

#[test]
fn a_server_that_stops_says_so_and_gives_its_place_away() {
    let script =
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nbegun\\n'\nread line\necho done\n";
    let cgi = format!("{SITE}[site.a.path.\"/cgi-bin/\"]\ncgi = true\n");
    let first = Controlled::start(Site::new().script("cgi-bin/wait", script), &cgi);
    let mut request = first.server.connect();
    request.send("POST /cgi-bin/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n");
    request.read_until(b"begun\n");
    let mut early = UnixStream::connect(&first.control).unwrap();
    early.set_read_timeout(Some(HANG)).unwrap();
    first.server.signal(Signal::TERM);
    first.server.logged(&["stopping"]);
    early.write_all(b"reload\n").unwrap();
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("the server is stopping"), "{answer}");
    // It still works for a client while another one has taken its place.
    let config = first.site.config(&cgi);
    let [config, control] = [&config, &first.control].map(|path| path.to_str().unwrap());
    let second = Server::start(&["serve", "--config", config, "--control", control]);
    assert_eq!(told(&["reload", "--control", control]).exit, 0);
    request.send("\n");
    request.read_until(b"done\n");
    assert_eq!(first.server.end(Signal::CONT).status.code(), Some(0));
    assert_eq!(told(&["reload", "--control", control]).exit, 0);
    drop(second);
}
