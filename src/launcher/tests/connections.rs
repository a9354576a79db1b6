//! Connections that serve one script after the other.

use rustix::process::{WaitId, WaitIdOptions, kill_process, waitid};

use super::*;

const SCRIPT: &str = "#!/bin/sh\necho $$\n";

/// Runs a script over a connection, and hands that back.
fn run_over(socket: Socket, name: &str) -> Socket {
    let mut running = Running::ask(socket, &launch("test", "/cgi-bin/", name));
    assert_eq!(running.started().to_string(), running.line());
    assert_eq!(running.exited().end, End::Status(0));
    running.socket
}

#[test]
fn a_connection_serves_one_script_after_the_other() {
    let Some(launcher) = Process::with_groups() else {
        return;
    };
    launcher.script("cgi-bin/id", SCRIPT);
    let mut socket = run_over(launcher.connect(), "/cgi-bin/id");
    let open = launcher.open_files();
    for _ in 0..3 {
        socket = run_over(socket, "/cgi-bin/id");
    }
    assert_eq!(launcher.open_files(), open);
}

#[test]
fn an_attendants_connection_serves_one_script() {
    let launcher = Process::start();
    launcher.script("cgi-bin/id", SCRIPT);
    let socket = run_over(launcher.connect(), "/cgi-bin/id");
    assert_eq!(receive_bytes(&socket), b"");
}

#[test]
fn a_launcher_without_room_lets_go_of_connections_whose_scripts_are_over() {
    if Process::with_groups().is_none() {
        return;
    }
    let launcher = Process::start_with(std::process::id(), true, "68");
    launcher.script("cgi-bin/id", SCRIPT);
    let run = |_| run_over(launcher.connect(), "/cgi-bin/id");
    let kept: Vec<Socket> = (0..10).map(run).collect();
    assert_eq!(receive_bytes(&kept[0]), b"");
}

#[test]
fn a_launcher_that_is_to_stop_refuses_no_request() {
    let Some(mut launcher) = Process::with_groups() else {
        return;
    };
    launcher.script("cgi-bin/id", SCRIPT);
    let socket = run_over(launcher.connect(), "/cgi-bin/id");
    let pid = Pid::from_child(&launcher.launcher);
    // It finds both when it goes on.
    kill_process(pid, Signal::STOP).unwrap();
    waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED).unwrap();
    let asked = Running::ask(socket, &launch("test", "/cgi-bin/", "/cgi-bin/id"));
    kill_process(pid, Signal::TERM).unwrap();
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(launcher.launcher.wait().unwrap().code(), Some(0));
    let mut message = [0; 64];
    match asked.socket.recv(&mut message) {
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        // It has come to the request before the signal.
        Ok((length, _)) => assert!(matches!(
            Reply::decode(&message[..length]),
            Ok(Reply::Started { .. })
        )),
    }
}
