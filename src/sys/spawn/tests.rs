//! Programs started by the test program itself.

use std::{
    ffi::CStr,
    fs::File,
    io::{Read, Write, pipe},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use super::*;
use crate::sys::wait::How;

/// What the shell needs to find programs.
const PATH: &CStr = c"PATH=/usr/bin:/bin";

/// Runs commands with the shell, which reads them from its standard input. Returns what they
/// write and how the shell ends.
fn shell(commands: &str, environment: &[CString], directory: &Path) -> (String, How) {
    let (stdin, mut writer) = pipe().unwrap();
    writer.write_all(commands.as_bytes()).unwrap();
    drop(writer);
    let (mut reader, output) = pipe().unwrap();
    let directory = open(directory);
    let program = Program {
        arguments: &[c"/bin/sh".to_owned()],
        environment,
        directory: directory.as_fd(),
        streams: [stdin.as_fd(), output.as_fd(), output.as_fd()],
        limits: &[(Resource::Nofile, 100)],
        group: None,
        identity: None,
        keeps_rights: false,
    };
    let child = Spawner::new().unwrap().spawn(program).unwrap();
    drop((stdin, output));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (text.trim_end().into(), wait::reap(child).unwrap().how)
}

fn output(commands: &str) -> String {
    shell(commands, &[PATH.to_owned()], Path::new("/")).0
}

fn end(commands: &str) -> How {
    shell(commands, &[PATH.to_owned()], Path::new("/")).1
}

/// Makes an executable file. Not by this process: a child of another test would have it open for
/// writing, and it could not be executed.
fn executable(path: &Path, content: &str) {
    let written = std::process::Command::new("/bin/sh")
        .args(["-c", "printf %s \"$1\" > \"$0\" && chmod +x \"$0\""])
        .args([path.as_os_str(), content.as_ref()])
        .status();
    assert!(written.unwrap().success());
}

fn open(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

#[test]
fn the_environment_is_what_was_given_and_nothing_else() {
    let environment = [
        PATH.to_owned(),
        c"A=b=c".to_owned(),
        c"EMPTY=".to_owned(),
        c"BYTES=\xff\n".to_owned(),
    ];
    let commands = "tr '\\0' '|' < /proc/$$/environ | od -An -c -w100";
    let (text, _) = shell(commands, &environment, Path::new("/"));
    let expected = "P A T H = / u s r / b i n : / b i n | A = b = c | E M P T Y = | \
                    B Y T E S = 377 \\n |";
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words.join(" "), expected);
}

#[test]
fn the_only_argument_is_the_path() {
    let text = output("tr '\\0' '|' < /proc/$$/cmdline");
    assert_eq!(text, "/bin/sh|");
}

#[test]
fn the_working_directory_is_the_one_given() {
    let directory = tempfile::tempdir().unwrap();
    let (text, _) = shell("pwd -P", &[PATH.to_owned()], directory.path());
    let expected = directory.path().canonicalize().unwrap();
    assert_eq!(Path::new(&text), expected);
}

#[test]
fn it_leads_a_session_and_a_group_of_its_own() {
    let text = output(
        "read pid name state parent group session rest < /proc/$$/stat; \
                       echo $((pid - group)) $((pid - session)) $((pid - $$))",
    );
    assert_eq!(text, "0 0 0");
}

#[test]
fn nothing_is_open_but_the_three_streams() {
    // Not closed on exec, as a library might leave it.
    let inherited = rustix::io::dup(std::io::stdin()).unwrap();
    assert!(rustix::io::fcntl_getfd(&inherited).unwrap().is_empty());
    assert_eq!(output("ls -x /proc/$$/fd"), "0  1  2");
}

#[test]
fn signals_are_neither_blocked_nor_ignored() {
    crate::sys::signals::ignore(libc::SIGUSR2).unwrap();
    // SAFETY: a set on the stack, and the mask of this thread only.
    unsafe {
        let mut mask = empty_set();
        libc::sigaddset(&raw mut mask, libc::SIGTERM);
        set_mask(&mask, None);
    }
    let text = output("grep -E '^Sig(Blk|Ign)' /proc/self/status");
    let values: Vec<_> = text.split_whitespace().skip(1).step_by(2).collect();
    assert_eq!(values, ["0000000000000000"; 2]);
    // And the mask of the thread is as it was.
    let mut now = empty_set();
    // SAFETY: both pointers are valid or null.
    let is_blocked = unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut now);
        (
            libc::sigismember(&raw const now, libc::SIGTERM),
            libc::sigismember(&raw const now, libc::SIGUSR1),
        )
    };
    assert_eq!(is_blocked, (1, 0));
}

#[test]
fn umask_limits_and_privileges_are_as_programs_expect() {
    let text = output("umask; ulimit -S -n; ulimit -S -c; grep NoNewPrivs /proc/self/status");
    assert_eq!(text, "0022\n100\n0\nNoNewPrivs:\t1");
}

#[test]
fn the_hard_limit_of_open_files_is_kept() {
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    let expected = hard.map_or("unlimited".into(), |hard| hard.to_string());
    assert_eq!(output("ulimit -H -n"), expected);
}

#[test]
fn streams_may_have_the_numbers_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("wait");
    executable(&script, "#!/bin/sh\nexec sleep 1000\n");
    let path = CString::new(script.to_str().unwrap()).unwrap();
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let root = open(Path::new("/"));
    let program = Program {
        arguments: &[path],
        environment: &[PATH.to_owned()],
        directory: root.as_fd(),
        streams: [stderr.as_fd(), stdin.as_fd(), stdout.as_fd()],
        limits: &[(Resource::Nofile, 100)],
        group: None,
        identity: None,
        keeps_rights: false,
    };
    let child = Spawner::new().unwrap().spawn(program).unwrap();
    let links = |process: &str| {
        let link = |fd| std::fs::read_link(format!("/proc/{process}/fd/{fd}"));
        [0, 1, 2].map(|fd| link(fd).unwrap())
    };
    let [stdin, stdout, stderr] = links("self");
    let found = links(&child.as_raw_nonzero().to_string());
    rustix::process::kill_process_group(child, rustix::process::Signal::KILL).unwrap();
    wait::reap(child).unwrap();
    assert_eq!(found, [stderr, stdin, stdout]);
}

#[test]
fn exit_status_and_signal_are_told_apart() {
    assert_eq!(end("exit 3"), How::Status(3));
    assert_eq!(end("kill -TERM $$"), How::Signal(libc::SIGTERM));
}

#[test]
fn a_program_that_cannot_run_leaves_no_child() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open(directory.path());
    let file = directory.path().join("data");
    executable(&file, "neither a script nor a program");
    let data = CString::new(file.to_str().unwrap()).unwrap();
    let null = open(Path::new("/dev/null"));
    for (path, directory, step, errno) in [
        (c"/nonexistent", &opened, "execve", Errno::NOENT),
        (c"/", &opened, "execve", Errno::ACCESS),
        (&*data, &opened, "execve", Errno::NOEXEC),
        (c"/bin/true", &null, "fchdir", Errno::NOTDIR),
    ] {
        let program = Program {
            arguments: &[path.to_owned()],
            environment: &[],
            directory: directory.as_fd(),
            streams: [null.as_fd(); 3],
            limits: &[(Resource::Nofile, 100)],
            group: None,
            identity: None,
            keeps_rights: false,
        };
        let error = Spawner::new().unwrap().spawn(program).unwrap_err();
        assert_eq!(error, SpawnError { step, errno });
    }
}

#[test]
fn its_resource_use_is_known() {
    let commands = "i=0; while [ $i -lt 50000 ]; do i=$((i + 1)); done";
    let (stdin, mut writer) = pipe().unwrap();
    writer.write_all(commands.as_bytes()).unwrap();
    drop(writer);
    let (null, root) = (open(Path::new("/dev/null")), open(Path::new("/")));
    let program = Program {
        arguments: &[c"/bin/sh".to_owned()],
        environment: &[],
        directory: root.as_fd(),
        streams: [stdin.as_fd(), null.as_fd(), null.as_fd()],
        limits: &[(Resource::Nofile, 100)],
        group: None,
        identity: None,
        keeps_rights: false,
    };
    let child = Spawner::new().unwrap().spawn(program).unwrap();
    let ended = wait::reap(child).unwrap();
    assert!(ended.cpu > std::time::Duration::ZERO, "{ended:?}");
    assert!(ended.max_rss_kib > 100, "{ended:?}");
}
