//! How scripts end, and all they started, with attendants and with control groups.

use super::*;

#[test]
fn exit_status_and_signal_and_use_are_reported() {
    each_way(|launcher| {
        launcher.script("cgi-bin/status", "#!/bin/sh\nexit 7\n");
        launcher.script("cgi-bin/signal", "#!/bin/sh\nkill -KILL $$\n");
        for (name, end) in [("status", End::Status(7)), ("signal", End::Signal(9))] {
            let running = launcher.launch(&format!("/cgi-bin/{name}"));
            running.started();
            let exit = running.exited();
            assert_eq!(exit.end, end);
            assert!(exit.max_rss_kib > 0 && exit.cpu_us > 0, "{exit:?}");
        }
    });
}

#[test]
fn a_kill_is_a_polite_one_first() {
    each_way(|launcher| {
        launcher.script(
            "cgi-bin/polite",
            "#!/bin/sh\ntrap 'echo bye; exit 3' TERM\necho ready\nread line\n",
        );
        let mut running = launcher.launch("/cgi-bin/polite");
        running.started();
        assert_eq!(running.line(), "ready");
        send(&running.socket, &Request::Kill, &[]);
        assert_eq!(running.exited().end, End::Status(3));
        assert_eq!(running.line(), "bye");
    });
}

#[test]
fn a_script_that_ignores_the_polite_kill_is_killed_after_the_grace_time() {
    each_way(|launcher| {
        launcher.script(
            "cgi-bin/rude",
            "#!/bin/sh\ntrap '' TERM\necho ready\nwhile :; do sleep 1000; done\n",
        );
        let mut running = launcher.launch("/cgi-bin/rude");
        running.started();
        assert_eq!(running.line(), "ready");
        let begun = Instant::now();
        for _ in 0..3 {
            send(&running.socket, &Request::Kill, &[]);
        }
        assert_eq!(running.exited().end, End::Signal(9));
        assert!(begun.elapsed() >= Duration::from_secs(2));
    });
}

#[test]
fn when_the_peer_leaves_the_script_ends_with_what_it_started() {
    each_way(|launcher| {
        launcher.script(
            "cgi-bin/family",
            "#!/bin/sh\n(trap '' TERM; sleep 1000) &\necho ready\nwait\n",
        );
        let mut running = launcher.launch("/cgi-bin/family");
        running.started();
        assert_eq!(running.line(), "ready");
        drop(running.socket);
        // Every process that has it open has ended.
        assert_eq!(
            running.stdout.read_to_string(&mut String::new()).unwrap(),
            0
        );
        launcher.until(|| launcher.children().is_empty() && launcher.groups().is_empty());
    });
}

#[test]
fn what_a_script_leaves_behind_in_its_group_ends_with_it() {
    each_way(|launcher| {
        launcher.script("cgi-bin/leave", "#!/bin/sh\nsleep 1000 &\necho $!\n");
        let outcome = launcher.launch("/cgi-bin/leave").finish("");
        assert_eq!(outcome.end, End::Status(0));
        launcher.until(|| launcher.children().is_empty() && launcher.groups().is_empty());
    });
}

/// A process that has left its script's process group and session, and is nobody's child.
const DAEMON: &str = "setsid sh -c 'trap \"\" TERM HUP; echo up; sleep 1000' &\n";

#[test]
fn what_leaves_the_session_of_a_script_ends_with_it_too() {
    each_way(|launcher| {
        let text = format!("#!/bin/sh\n({DAEMON})\nread line\n");
        launcher.script("cgi-bin/daemon", &text);
        let mut running = launcher.launch("/cgi-bin/daemon");
        running.started();
        assert_eq!(running.line(), "up");
        drop(running.stdin);
        // Every process that has it open has ended.
        assert_eq!(
            running.stdout.read_to_string(&mut String::new()).unwrap(),
            0
        );
        launcher.until(|| launcher.children().is_empty() && launcher.groups().is_empty());
    });
}

#[test]
fn what_a_script_does_to_its_control_group_does_not_keep_it() {
    let Some(launcher) = Process::with_groups() else {
        return;
    };
    // One process goes into a group below that of the script, one to where all began.
    let text = "#!/bin/sh\nfor mount in /sys/fs/cgroup /sys/fs/cgroup/unified; do\n\
                [ -e $mount/cgroup.controllers ] || continue\n\
                mkdir -p \"$mount$(sed -n 's/^0:://p' /proc/self/cgroup)/a/b\"\n\
                sh -c 'echo $$ > $1/a/b/cgroup.procs; echo in; exec sleep 1000' \
                sh \"$mount$(sed -n 's/^0:://p' /proc/self/cgroup)\" &\n\
                setsid sh -c 'echo $$ > $1/cgroup.procs; echo out; exec sleep 1000' sh $mount &\n\
                done\nread line\n";
    launcher.script("cgi-bin/move", text);
    let mut running = launcher.launch("/cgi-bin/move");
    running.started();
    let mut lines = [running.line(), running.line()];
    lines.sort();
    assert_eq!(lines, ["in", "out"]);
    drop(running.stdin);
    assert_eq!(
        running.stdout.read_to_string(&mut String::new()).unwrap(),
        0
    );
    launcher.until(|| launcher.children().is_empty() && launcher.groups().is_empty());
}

/// Shell functions for a script: `base` is where it is in the tree of control groups, `enter` has a
/// process that nobody's child is move to a group and say so.
const GROUPS_OF_SCRIPT: &str = "#!/bin/sh\n\
    for base in /sys/fs/cgroup /sys/fs/cgroup/unified; do\n\
    [ -e $base/cgroup.controllers ] && break\ndone\n\
    base=$base$(sed -n 's/^0:://p' /proc/self/cgroup)\n\
    enter() { setsid sh -c 'trap \"\" TERM; mkdir -p $1; echo $$ > $1/cgroup.procs; \
    echo in; exec sleep 1000' sh \"$1\" & }\n";

#[test]
fn a_control_group_that_a_script_makes_elsewhere_does_not_keep_it() {
    let Some(launcher) = Process::with_groups() else {
        return;
    };
    // Beside its own, and deeper there, below what passes for that of a launcher.
    let text = format!(
        "{GROUPS_OF_SCRIPT}enter ${{base%/*}}/zz\nenter ${{base%/*}}/yy/pywebd.1/x\nread line\n"
    );
    launcher.script("cgi-bin/move", &text);
    let mut running = launcher.launch("/cgi-bin/move");
    running.started();
    assert_eq!([running.line(), running.line()], ["in"; 2]);
    drop(running.stdin);
    // Every process that has it open has ended.
    assert_eq!(
        running.stdout.read_to_string(&mut String::new()).unwrap(),
        0
    );
    launcher.until(|| launcher.children().is_empty() && launcher.groups().is_empty());
}

#[test]
fn a_script_that_takes_away_the_rights_to_its_control_group_ends_as_any_other() {
    let Some(launcher) = Process::with_groups() else {
        return;
    };
    let text = format!(
        "{GROUPS_OF_SCRIPT}enter $base\nenter ${{base%/*}}/zz\nread line\n\
         chmod 0 $base/cgroup.kill $base ${{base%/*}}/zz/cgroup.kill ${{base%/*}}/zz ${{base%/*}}\n\
         echo closed\n"
    );
    launcher.script("cgi-bin/close", &text);
    let mut running = launcher.launch("/cgi-bin/close");
    running.started();
    assert_eq!([running.line(), running.line()], ["in"; 2]);
    writeln!(running.stdin).unwrap();
    let mut rest = String::new();
    running.stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "closed\n");
    launcher.until(|| launcher.children().is_empty() && launcher.groups().is_empty());
}

#[test]
fn a_control_group_with_the_name_of_the_next_script_is_not_in_its_way() {
    let Some(launcher) = Process::with_groups() else {
        return;
    };
    let text = format!("{GROUPS_OF_SCRIPT}mkdir ${{base%.*}}.2\necho made\nread line\n");
    launcher.script("cgi-bin/make", &text);
    launcher.script("cgi-bin/good", "#!/bin/sh\necho good\n");
    let mut running = launcher.launch("/cgi-bin/make");
    running.started();
    assert_eq!(running.line(), "made");
    assert_eq!(launcher.launch("/cgi-bin/good").finish("").stdout, "good\n");
}

#[test]
fn what_may_stay_is_not_ended_with_another_script() {
    each_way(|launcher| {
        let text = format!("#!/bin/sh\n({DAEMON})\nread line\n");
        launcher.script("programs/daemon", &text);
        launcher.script("cgi-bin/other", "#!/bin/sh\n");
        let mut running = launcher.launch_as(&launch("test", "/elsewhere/", "/elsewhere/daemon"));
        running.started();
        assert_eq!(running.line(), "up");
        writeln!(running.stdin).unwrap();
        running.exited();
        let children = launcher.children();
        launcher.launch("/cgi-bin/other").finish("");
        launcher.until(|| launcher.children() == children);
        assert!(!children.is_empty());
    });
}

#[test]
fn what_a_script_leaves_may_stay_where_the_configuration_says_so() {
    each_way(|mut launcher| {
        let text = format!("#!/bin/sh\n({DAEMON})\nread line\n");
        launcher.script("programs/daemon", &text);
        let launch = launch("test", "/elsewhere/", "/elsewhere/daemon");
        let mut running = launcher.launch_as(&launch);
        running.started();
        assert_eq!(running.line(), "up");
        drop(running.stdin);
        assert_eq!(exit(&running.socket).end, End::Status(1));
        launcher.reload();
        assert!(!launcher.children().is_empty());
        // With the launcher it ends: its output does.
        assert_eq!(launcher.stop().code(), Some(0));
        assert_eq!(
            running.stdout.read_to_string(&mut String::new()).unwrap(),
            0
        );
    });
}

#[test]
fn a_script_that_forks_on_and_on_is_ended() {
    each_way(|launcher| {
        // Each makes another one in a session of its own and ends, a hundred lines of them.
        let text = "#!/bin/sh\nif [ \"$1\" ]; then setsid \"$0\" next & exit; fi\n\
                    for n in 1 2 3 4 5; do setsid \"$0\" next & done\necho ready\nsleep 1000\n";
        launcher.script("cgi-bin/fork", text);
        let mut running = launcher.launch("/cgi-bin/fork");
        running.started();
        assert_eq!(running.line(), "ready");
        send(&running.socket, &Request::Kill, &[]);
        assert_eq!(running.exited().end, End::Signal(15));
        assert_eq!(
            running.stdout.read_to_string(&mut String::new()).unwrap(),
            0
        );
        launcher.until(|| launcher.children().is_empty() && launcher.groups().is_empty());
    });
}

#[test]
fn two_hundred_scripts_at_once_leave_nothing_behind() {
    each_way(|launcher| {
        launcher.script("cgi-bin/wait", "#!/bin/sh\nread line\n");
        launcher.script("cgi-bin/first", "#!/bin/sh\n");
        // What is opened for the first script stays open.
        let first = launcher.launch("/cgi-bin/first");
        first.started();
        first.exited();
        let before = launcher.open_files();
        drop(first);
        let (stdin, writer) = pipe().unwrap();
        let null: OwnedFd = File::options()
            .write(true)
            .open("/dev/null")
            .unwrap()
            .into();
        let request = Request::Launch(launch("test", "/cgi-bin/", "/cgi-bin/wait"));
        let sockets: Vec<_> = (0..200)
            .map(|_| {
                let socket = launcher.connect();
                send(
                    &socket,
                    &request,
                    &[stdin.as_fd(), null.as_fd(), null.as_fd()],
                );
                socket
            })
            .collect();
        for socket in &sockets {
            assert!(matches!(receive(socket), Reply::Started { .. }));
        }
        // What attended to the first one may be among them for a moment.
        launcher.until(|| launcher.children().split_whitespace().count() == 200);
        drop(writer);
        for socket in &sockets {
            assert!(matches!(receive(socket), Reply::Exited(_)));
        }
        drop(sockets);
        launcher.until(|| {
            launcher.children().is_empty()
                && launcher.groups().is_empty()
                && launcher.open_files() <= before
        });
    });
}
