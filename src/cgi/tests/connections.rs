//! Connections to the launcher that serve one script after the other.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
};

use super::*;

const HEADER: &str = "Content-Type: text/plain\n\n";

/// How long a test waits for what comes at once.
const PATIENCE: Timespec = Timespec {
    tv_sec: 20,
    tv_nsec: 0,
};

/// A script that says this.
fn says(text: &str) -> impl FnOnce(&mut Script) -> Option<i32> {
    move |script| {
        script.write(HEADER);
        script.write(text);
        Some(0)
    }
}

/// Waits for a message without receiving it.
fn until_readable(socket: &OwnedFd) {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&PATIENCE)).unwrap(), 1);
}

/// Waits until nobody has the other end of a pipe.
fn until_closed(writer: &File) {
    let mut fds = [PollFd::new(writer, PollFlags::empty())];
    assert_eq!(poll(&mut fds, Some(&PATIENCE)).unwrap(), 1);
}

/// Asks `launcher` for two scripts, one after the other.
fn ask_twice<T>(
    launcher: impl FnOnce(&OwnedFd) + Send,
    client: impl AsyncFnOnce(Outcome) -> T,
) -> (T, Written) {
    let (listener, address) = listen();
    thread::scope(|scope| {
        scope.spawn(|| launcher(&listener));
        let worker = Worker::new(address);
        let (first, _) = worker.ask(Asked::default(), text);
        assert_eq!(first.unwrap(), "first");
        worker.ask(Asked::default(), client)
    })
}

#[test]
fn a_connection_whose_script_is_over_serves_the_next_one() {
    let launcher = |listener: &OwnedFd| {
        let control = play_over(net::accept(listener).unwrap(), says("first"));
        play_over(control, says("second"));
    };
    let (second, written) = ask_twice(launcher, text);
    assert_eq!(second.unwrap(), "second");
    assert_eq!(written.script().end.as_deref(), Some("exit status 0"));
}

#[test]
fn a_launcher_that_has_closed_a_connection_costs_no_request() {
    let launcher = |listener: &OwnedFd| {
        play(listener, says("first"));
        play(listener, says("second"));
    };
    assert_eq!(ask_twice(launcher, text).0.unwrap(), "second");
}

#[test]
fn a_request_that_was_sent_and_not_received_is_sent_to_the_next_launcher() {
    let launcher = |listener: &OwnedFd| {
        let kept = play_over(net::accept(listener).unwrap(), says("first"));
        until_readable(&kept);
        drop(kept);
        // This one ends with a connection that it has just accepted.
        let accepted = net::accept(listener).unwrap();
        until_readable(&accepted);
        drop(accepted);
        play(listener, says("second"));
    };
    assert_eq!(ask_twice(launcher, text).0.unwrap(), "second");
}

#[test]
fn a_request_that_was_received_is_never_sent_again() {
    let launcher = |listener: &OwnedFd| {
        let kept = play_over(net::accept(listener).unwrap(), says("first"));
        receive(&kept);
        drop(kept);
    };
    let (failed, _) = ask_twice(launcher, async |outcome| failure(outcome));
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
    // Not that another connection was waited for.
    assert!(failed.to_string().contains("end of file"), "{failed}");
}

#[test]
fn the_end_of_a_short_script_comes_with_its_start() {
    let launcher = |listener: &OwnedFd| {
        let control = play_short(net::accept(listener).unwrap(), says("first"));
        play_short(control, |script| {
            script.complain("a line\n");
            says("second")(script)
        });
    };
    let (outcome, written) = ask_twice(launcher, text);
    assert_eq!(outcome.unwrap(), "second");
    assert_eq!(written.lines, ["a line"]);
    assert_eq!(written.script().pid, PID);
    assert_eq!(written.script().end.as_deref(), Some("exit status 0"));
    assert_eq!(written.script().cpu_us, 17);
    assert_eq!(written.script().killed, None);
}

#[test]
fn a_short_script_that_says_nothing_is_502_with_its_end() {
    let launcher = |listener: &OwnedFd| {
        play(listener, says("first"));
        play_short(net::accept(listener).unwrap(), |_| Some(3));
    };
    let (failed, _) = ask_twice(launcher, async |outcome| failure(outcome));
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    assert!(failed.to_string().contains("exit status 3"), "{failed}");
}

#[test]
fn a_late_message_about_one_script_is_no_answer_about_the_next() {
    let launcher = |listener: &OwnedFd| {
        let control = play_over(net::accept(listener).unwrap(), says("first"));
        until_readable(&control);
        reply(&control, &Reply::Exited(exit(7)));
        // The connection is closed, and with it ends what may have been started.
        while !receive(&control).0.is_empty() {}
    };
    let (failed, _) = ask_twice(launcher, async |outcome| failure(outcome));
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(failed.to_string().contains("out of turn"), "{failed}");
}

#[test]
fn nothing_that_one_script_has_left_reaches_the_next_one() {
    let launcher = |listener: &OwnedFd| {
        let mut left = None;
        let control = play_over(net::accept(listener).unwrap(), |script| {
            let stdin = script.stdin.as_ref().unwrap();
            fcntl_setfl(stdin, OFlags::NONBLOCK | OFlags::APPEND).unwrap();
            let streams = [&script.stdin, &script.stdout, &script.stderr];
            left = Some(streams.map(|one| one.as_ref().unwrap().try_clone().unwrap()));
            says("first")(script)
        });
        play_over(control, |script| {
            let flags = fcntl_getfl(script.stdin.as_ref().unwrap()).unwrap();
            assert!(!flags.intersects(OFlags::NONBLOCK | OFlags::APPEND));
            let [_, stdout, stderr] = left.as_mut().unwrap();
            for stream in [stdout, stderr] {
                // Nobody has the other end any longer, also no program that another test starts.
                until_closed(stream);
                assert!(stream.write_all(b"late\n").is_err());
            }
            script.complain("in time\n");
            says("second")(script)
        });
    };
    let (second, written) = ask_twice(launcher, text);
    assert_eq!(second.unwrap(), "second");
    assert_eq!(written.lines, ["in time"]);
}

#[test]
fn an_end_that_crosses_with_the_order_to_end_is_told() {
    let asked = Asked {
        timeout: Duration::from_millis(10),
        ..Asked::default()
    };
    let (_, written) = ask(
        asked,
        |script| {
            until_readable(&script.control);
            Some(3)
        },
        async |outcome| failure(outcome),
    );
    let script = written.script();
    assert_eq!(script.end.as_deref(), Some("exit status 3"));
    assert!(script.killed.as_deref().unwrap().contains("timeout"));
}
