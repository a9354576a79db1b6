//! Requests for scripts, with a thread that plays the launcher and the script: what it does with
//! the script's ends of the pipes is what a script would do.

use std::{
    collections::VecDeque,
    fs::File,
    io::{IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll},
    thread,
};

use http::Request;
use http_body::{Body as _, Frame};
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags,
    SocketFlags, SocketType,
};

use super::*;
use crate::{
    body::Chunk,
    cgi::wire::{End, Exit, Refusal, Reply},
    fs::{Kind, Metadata, Place, Root},
    records::{self, AccessRecord, Queued, Record, ScriptUse},
    semantics::failure::Cause,
    transport::{Address, Connection, Listen, Local, Remote},
};

mod connections;

/// The process id that the launcher of these tests gives.
const PID: u32 = 4242;

/// The launcher's end of the connection, and the script's ends of its pipes.
struct Script {
    control: OwnedFd,
    launch: wire::Launch,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Script {
    fn write(&mut self, text: &str) {
        let stdout = self.stdout.as_mut().unwrap();
        stdout.write_all(text.as_bytes()).unwrap();
    }

    fn read_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stdin.take().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn complain(&mut self, text: &str) {
        let stderr = self.stderr.as_mut().unwrap();
        stderr.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the order to end; false if the connection is closed instead.
    fn is_killed(&mut self) -> bool {
        let (message, _) = receive(&self.control);
        !message.is_empty() && wire::Request::decode(&message).unwrap() == wire::Request::Kill
    }

    fn is_ordered_to_end_now(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(
            &self.control,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap() > 0
    }
}

fn receive(socket: &OwnedFd) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut bytes = vec![0; 256 * 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = net::recvmsg(socket, &mut slices, &mut control, flags).unwrap();
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    bytes.truncate(received.bytes);
    (bytes, fds)
}

fn reply(socket: &OwnedFd, reply: &Reply) {
    // The server may have given up.
    let _ = net::send(socket, &reply.encode().unwrap(), SendFlags::NOSIGNAL);
}

/// A listening socket that blocks, and its address.
fn listen() -> (OwnedFd, seqpacket::Address) {
    let kind = SocketType::SEQPACKET;
    let socket = net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    net::bind(&socket, &seqpacket::Address::new_unnamed()).unwrap();
    net::listen(&socket, 4).unwrap();
    let address = seqpacket::Address::try_from(net::getsockname(&socket).unwrap()).unwrap();
    (socket, address)
}

/// Plays one script; its exit status is what `script` answers, no answer is a launcher that dies.
fn play(listener: &OwnedFd, script: impl FnOnce(&mut Script) -> Option<i32>) {
    play_over(net::accept(listener).unwrap(), script);
}

/// Plays one script over a connection, and hands that back.
fn play_over(control: OwnedFd, script: impl FnOnce(&mut Script) -> Option<i32>) -> OwnedFd {
    let mut running = asked_for(control);
    reply(&running.control, &started(None));
    let status = script(&mut running);
    drop((running.stdin, running.stdout, running.stderr));
    if let Some(status) = status {
        reply(&running.control, &Reply::Exited(exit(status)));
    }
    running.control
}

/// Plays one script that is over before anything is told of it.
fn play_short(control: OwnedFd, script: impl FnOnce(&mut Script) -> Option<i32>) -> OwnedFd {
    let mut running = asked_for(control);
    let end = script(&mut running).map(exit);
    drop((running.stdin, running.stdout, running.stderr));
    reply(&running.control, &started(end));
    running.control
}

fn asked_for(control: OwnedFd) -> Script {
    let (message, fds) = receive(&control);
    let Ok(wire::Request::Launch(launch)) = wire::Request::decode(&message) else {
        panic!("the first message is Launch");
    };
    let mut fds = fds.into_iter().map(File::from);
    Script {
        control,
        launch,
        stdin: fds.next(),
        stdout: fds.next(),
        stderr: fds.next(),
    }
}

fn started(exit: Option<Exit>) -> Reply {
    Reply::Started { pid: PID, exit }
}

fn exit(status: i32) -> Exit {
    Exit {
        end: End::Status(status),
        cpu_us: 17,
        max_rss_kib: 1000,
        met: None,
    }
}

/// A request of the tests.
struct Asked {
    method: Method,
    file: &'static str,
    timeout: Duration,
    content: VecDeque<Result<Bytes, Failure>>,
    queue: Arc<Queue>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            method: Method::GET,
            file: "/srv/cgi-bin/a.py",
            timeout: Duration::from_secs(60),
            content: VecDeque::new(),
            queue: Arc::new(Queue::new(QueueLimits {
                running: 1,
                queued: 0,
            })),
        }
    }
}

impl http_body::Body for Asked {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Poll::Ready(self.content.pop_front().map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_empty()
    }
}

type Outcome = Result<Answer, Failure>;

/// What was written down of a request.
struct Written {
    access: AccessRecord,
    lines: Vec<String>,
}

impl Written {
    fn script(&self) -> &ScriptUse {
        self.access.outcome.script.as_ref().unwrap()
    }
}

/// Asks, lets `client` have the answer, waits until all is over, and hands out the records.
fn ask<T>(
    asked: Asked,
    script: impl FnOnce(&mut Script) -> Option<i32> + Send,
    client: impl AsyncFnOnce(Outcome) -> T,
) -> (T, Written) {
    let (listener, address) = listen();
    thread::scope(|scope| {
        scope.spawn(|| play(&listener, script));
        ask_at(address, asked, client)
    })
}

fn ask_at<T>(
    address: seqpacket::Address,
    asked: Asked,
    client: impl AsyncFnOnce(Outcome) -> T,
) -> (T, Written) {
    Worker::new(address).ask(asked, client)
}

/// Asks for one script after the other.
struct Worker {
    runtime: tokio::runtime::Runtime,
    launcher: seqpacket::Address,
}

impl Worker {
    fn new(launcher: seqpacket::Address) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self { runtime, launcher }
    }

    fn ask<T>(&self, asked: Asked, client: impl AsyncFnOnce(Outcome) -> T) -> (T, Written) {
        let (sink, source) = records::queue();
        let tasks = tokio::task::LocalSet::new();
        let outcome = tasks.block_on(&self.runtime, async {
            let outcome = answer(self.launcher.clone(), asked, sink).await;
            client(outcome).await
        });
        self.runtime.block_on(tasks);
        (outcome, written(&source))
    }
}

/// What was written down of a request that is over.
fn written(source: &records::Source) -> Written {
    let mut lines = Vec::new();
    let mut access = None;
    while let Ok(queued) = source.next(Some(Duration::ZERO)) {
        match queued {
            Queued::Record(Record::Request(records::Request::Access(record))) => {
                access = Some(*record);
            }
            Queued::Record(Record::Script(line)) => {
                lines.push(String::from_utf8(line.line).unwrap());
            }
            _ => {}
        }
    }
    let access = access.expect("everyone has let go of the record");
    Written { access, lines }
}

async fn answer(launcher: seqpacket::Address, asked: Asked, sink: records::Sink) -> Outcome {
    let request = Request::builder()
        .method(asked.method.clone())
        .uri("/cgi-bin/a.py")
        .header("Host", "example.org");
    let (head, ()) = request.body(()).unwrap().into_parts();
    let connection = Arc::new(Connection {
        id: 1,
        listener: Arc::new(Listen::Unix(PathBuf::new())),
        local: Local(Address::Unix),
        remote: Remote(Address::Unix),
    });
    let pending = Pending::begin(sink, connection, 1, head);
    pending.note(|outcome| outcome.site = Some("example".into()));
    let place = Place {
        root: Arc::new(Root::new("/srv")),
        strip: 1,
    };
    let options = Options {
        timeout: asked.timeout,
        ..Options::below(place, 9)
    };
    let script = locate::Script {
        name: b"/cgi-bin/a.py"[..].into(),
        path_info: b""[..].into(),
        file: asked.file.into(),
        metadata: METADATA,
    };
    let gateway = Gateway { launcher };
    let request = ScriptRequest {
        script: &script,
        options: &options,
        key: "/cgi-bin/",
        site: "example",
        document_root: Path::new("/srv"),
        head: pending.head(),
        target: &Target::parse(pending.head()).unwrap(),
        user: None,
        pending: &pending,
    };
    let queue = Arc::clone(&asked.queue);
    respond(&gateway, request, asked, &queue).await
}

const METADATA: Metadata = Metadata {
    kind: Kind::File,
    device: 1,
    inode: 1,
    size: 1,
    modified: (0, 0),
    changed: (0, 0),
    links: 1,
    permissions: 0o755,
    uid: 0,
};

fn response(outcome: Outcome) -> Response<Body> {
    match outcome {
        Ok(Answer::Response(response)) => response,
        Ok(Answer::LocalRedirect(reference)) => panic!("a redirect to {reference}"),
        Err(failure) => panic!("{failure}"),
    }
}

fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Err(failure) => failure,
        Ok(_) => panic!("there is an answer"),
    }
}

/// The next bytes of the content.
async fn next(body: &mut Body) -> Option<std::io::Result<Bytes>> {
    let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    Some(frame.map(|frame| match frame.into_data() {
        Ok(Chunk::Bytes(bytes)) => bytes,
        _ => panic!("a script's content is bytes in memory"),
    }))
}

/// The whole content.
async fn collect(mut body: Body) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next(&mut body).await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(String::from_utf8(bytes).unwrap())
}

async fn text(outcome: Outcome) -> std::io::Result<String> {
    collect(response(outcome).into_body()).await
}

#[test]
fn a_document_is_answered_and_written_down() {
    let (response, written) = ask(
        Asked::default(),
        |script| {
            script.write("Content-Type: text/plain\nStatus: 404 Not here\n\nhello");
            assert_eq!(script.launch.script_name, b"/cgi-bin/a.py");
            assert_eq!(
                (&*script.launch.site, &*script.launch.key),
                ("example", "/cgi-bin/")
            );
            Some(3)
        },
        async |outcome| {
            let response = response(outcome);
            let (head, body) = response.into_parts();
            assert_eq!(collect(body).await.unwrap(), "hello");
            head
        },
    );
    assert_eq!(response.status, StatusCode::NOT_FOUND);
    assert_eq!(response.headers[header::CONTENT_TYPE], "text/plain");
    let script = written.script();
    assert_eq!(
        (script.pid, script.cpu_us, script.max_rss_kib),
        (PID, 17, 1000)
    );
    assert_eq!(script.end.as_deref(), Some("exit status 3"));
    assert_eq!(script.killed, None);
}

#[test]
fn output_goes_out_as_it_comes() {
    let (go_on, wait) = mpsc::channel();
    ask(
        Asked::default(),
        move |script| {
            script.write("Content-Type: text/event-stream\n\n");
            wait.recv().unwrap();
            script.write("one");
            wait.recv().unwrap();
            script.write("two");
            Some(0)
        },
        async |outcome| {
            let mut body = response(outcome).into_body();
            for expected in ["one", "two"] {
                go_on.send(()).unwrap();
                assert_eq!(next(&mut body).await.unwrap().unwrap(), expected);
            }
            assert!(next(&mut body).await.is_none());
        },
    );
}

#[test]
fn content_is_fed_and_stdin_is_closed_after_it() {
    let chunk = Bytes::from(vec![b'x'; 100_000]);
    let asked = Asked {
        content: VecDeque::from([Ok(chunk.clone()), Ok(chunk)]),
        ..Asked::default()
    };
    let (text, _) = ask(
        asked,
        |script| {
            let length = script.read_all().len();
            script.write(&format!("Content-Type: text/plain\n\n{length}"));
            Some(0)
        },
        text,
    );
    assert_eq!(text.unwrap(), "200000");
}

#[test]
fn a_script_need_not_read_its_input() {
    let asked = Asked {
        content: VecDeque::from([Ok(Bytes::from(vec![b'x'; 1 << 20]))]),
        ..Asked::default()
    };
    let (text, written) = ask(
        asked,
        |script| {
            script.stdin = None;
            script.write("Content-Type: text/plain\n\nno thanks");
            Some(0)
        },
        text,
    );
    assert_eq!(text.unwrap(), "no thanks");
    assert_eq!(written.script().killed, None);
}

#[test]
fn content_that_breaks_off_kills_the_script_and_is_the_outcome() {
    let broken = Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Cause::ContentTooLarge(5));
    let asked = Asked {
        content: VecDeque::from([Ok(Bytes::from("x")), Err(broken.clone())]),
        ..Asked::default()
    };
    let (outcome, written) = ask(
        asked,
        |script| script.is_killed().then_some(1),
        async |outcome| failure(outcome),
    );
    assert_eq!(outcome, broken);
    assert_eq!(written.script().killed, Some(broken.to_string()));
}

#[test]
fn content_that_nobody_reads_is_still_seen_to_break_off() {
    let broken = Failure::new(StatusCode::BAD_REQUEST, Cause::BadTarget("gone"));
    let asked = Asked {
        content: VecDeque::from([Ok(Bytes::from(vec![b'x'; 1 << 20])), Err(broken.clone())]),
        ..Asked::default()
    };
    let (outcome, _) = ask(
        asked,
        |script| {
            script.stdin = None;
            script.is_killed().then_some(1)
        },
        async |outcome| failure(outcome),
    );
    assert_eq!(outcome, broken);
}

#[test]
fn stderr_is_written_down_line_by_line() {
    let long = "x".repeat(5000);
    let complaint = format!("one\r\n\ntwo\n{long}\nlast");
    let (_, written) = ask(
        Asked::default(),
        |script| {
            script.complain(&complaint);
            script.write("Content-Type: text/plain\n\n");
            Some(0)
        },
        text,
    );
    let expected = ["one", "", "two", &long[..4096], &long[4096..], "last"];
    assert_eq!(written.lines, expected);
}

#[test]
fn an_exit_without_output_is_502_with_the_last_words() {
    let (outcome, _) = ask(
        Asked::default(),
        |script| {
            script.complain("Traceback:\nModuleNotFoundError: No module named 'cgi'\n");
            Some(1)
        },
        async |outcome| failure(outcome),
    );
    assert_eq!(outcome.status, StatusCode::BAD_GATEWAY);
    let text = outcome.to_string();
    assert!(
        text.contains("ended without output (exit status 1)"),
        "{text}"
    );
    assert!(text.contains("Python 3.13 removed"), "{text}");
    assert!(
        text.ends_with("ModuleNotFoundError: No module named 'cgi'"),
        "{text}"
    );
}

#[test]
fn nonsense_is_502_and_the_script_may_finish() {
    let (outcome, written) = ask(
        Asked::default(),
        |script| {
            script.write("<html>\n");
            script.write(&"<p>and so on\n".repeat(50_000));
            Some(0)
        },
        async |outcome| failure(outcome),
    );
    assert_eq!(outcome.status, StatusCode::BAD_GATEWAY);
    assert!(outcome.to_string().contains("line 1"), "{outcome}");
    assert_eq!(written.script().killed, None);
}

#[test]
fn silence_is_504_and_the_script_is_killed() {
    let asked = Asked {
        timeout: Duration::from_millis(20),
        ..Asked::default()
    };
    let (outcome, written) = ask(
        asked,
        |script| script.is_killed().then_some(1),
        async |outcome| failure(outcome),
    );
    assert_eq!(outcome.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(matches!(outcome.cause, Cause::ScriptTimeout { .. }));
    let killed = written.script().killed.as_deref();
    assert_eq!(killed, Some("no output for 20ms (timeout)"));
}

#[test]
fn a_script_that_complains_without_end_meets_its_timeout() {
    let much = vec![b'x'; 64 * 1024];
    let asked = Asked {
        timeout: Duration::from_millis(20),
        ..Asked::default()
    };
    let (listener, address) = listen();
    let launcher = || {
        let mut script = asked_for(net::accept(&listener).unwrap());
        let mut stderr = script.stderr.take().unwrap();
        let is_over = AtomicBool::new(false);
        let complain = |mut stderr: File| {
            while !is_over.load(Ordering::Relaxed) {
                // The end that is read may be closed already.
                let _ = stderr.write_all(&much);
            }
        };
        let complain = &complain;
        thread::scope(|scope| {
            // There is always something to read.
            rustix::pipe::fcntl_setpipe_size(&stderr, 16 * much.len()).unwrap();
            for _ in 0..16 {
                stderr.write_all(&much).unwrap();
            }
            for _ in 0..4 {
                let stderr = stderr.try_clone().unwrap();
                scope.spawn(move || complain(stderr));
            }
            reply(&script.control, &started(None));
            assert!(script.is_killed());
            is_over.store(true, Ordering::Relaxed);
            reply(&script.control, &Reply::Exited(exit(1)));
        });
    };
    thread::scope(|scope| {
        scope.spawn(launcher);
        let (outcome, _) = ask_at(address, asked, async |outcome| failure(outcome));
        assert_eq!(outcome.status, StatusCode::GATEWAY_TIMEOUT);
    });
}

#[test]
fn a_kill_after_the_header_breaks_the_content_off() {
    let asked = Asked {
        timeout: Duration::from_secs(1),
        ..Asked::default()
    };
    let (text, _) = ask(
        asked,
        |script| {
            script.write("Content-Type: text/plain\n\npart");
            script.is_killed().then_some(1)
        },
        text,
    );
    assert!(text.unwrap_err().to_string().contains("no output for 1s"));
}

#[test]
fn a_client_that_leaves_has_the_script_killed() {
    let ((), written) = ask(
        Asked::default(),
        |script| {
            script.write("Content-Type: text/plain\n\npart");
            script.is_killed().then_some(1)
        },
        async |outcome| {
            let mut body = response(outcome).into_body();
            assert_eq!(next(&mut body).await.unwrap().unwrap(), "part");
        },
    );
    assert_eq!(written.script().killed.as_deref(), Some("the client left"));
    assert_eq!(written.script().end.as_deref(), Some("exit status 1"));
}

#[test]
fn a_client_that_leaves_before_the_header_has_the_script_killed() {
    let (listener, address) = listen();
    let (started, mut wait) = tokio::sync::mpsc::unbounded_channel();
    let asked = Asked {
        content: VecDeque::from([Ok(Bytes::from("x"))]),
        ..Asked::default()
    };
    let script = |script: &mut Script| {
        // The end of the content comes only to a script that is attended to.
        script.read_all();
        started.send(()).unwrap();
        assert!(script.is_killed());
        Some(1)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (sink, _source) = records::queue();
    thread::scope(|scope| {
        scope.spawn(|| play(&listener, script));
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, async {
            tokio::select! {
                biased;
                _ = answer(address, asked, sink) => panic!("there is no answer"),
                _ = wait.recv() => {}
            }
        });
        runtime.block_on(tasks);
    });
}

#[test]
fn head_gets_no_content_and_the_script_finishes() {
    let asked = Asked {
        method: Method::HEAD,
        ..Asked::default()
    };
    let (length, written) = ask(
        asked,
        |script| {
            script.write("Content-Type: text/plain\nContent-Length: 1000000\n\n");
            script.write(&"x".repeat(1_000_000));
            assert!(!script.is_ordered_to_end_now());
            Some(0)
        },
        async |outcome| {
            let response = response(outcome);
            assert!(matches!(response.body(), Body::Empty));
            response.headers()[header::CONTENT_LENGTH].clone()
        },
    );
    assert_eq!(length, "1000000");
    assert_eq!(written.script().killed, None);
}

#[test]
fn a_status_without_content_gets_none() {
    for status in ["204 No content", "205 Reset", "304 Not modified"] {
        let (response, written) = ask(
            Asked::default(),
            |script| {
                script.write(&format!("Status: {status}\nContent-Length: 4\n\nfour"));
                script.write(&"x".repeat(1_000_000));
                Some(0)
            },
            async |outcome| response(outcome),
        );
        assert!(matches!(response.body(), Body::Empty), "{status}");
        let has_length = response.headers().contains_key(header::CONTENT_LENGTH);
        assert_eq!(has_length, status.starts_with("304"), "{status}");
        assert_eq!(written.script().killed, None, "{status}");
    }
}

#[test]
fn content_is_cut_at_the_length_that_the_script_gave() {
    let (text, written) = ask(
        Asked::default(),
        |script| {
            script.write("Content-Type: text/plain\nContent-Length: 4\n\nfour");
            script.write(&" and more".repeat(100_000));
            Some(0)
        },
        text,
    );
    assert_eq!(text.unwrap(), "four");
    assert_eq!(written.script().killed, None);
}

#[test]
fn content_that_is_shorter_than_its_length_is_an_error() {
    let (text, _) = ask(
        Asked::default(),
        |script| {
            script.write("Content-Type: text/plain\nContent-Length: 10\n\nfour");
            Some(0)
        },
        text,
    );
    let error = text.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("6 bytes before"), "{error}");
}

#[test]
fn a_local_redirect_waits_until_the_script_is_over() {
    let (reference, written) = ask(
        Asked::default(),
        |script| {
            script.write("Location: /other?a=b\n\n");
            script.write(&"ignored".repeat(100_000));
            Some(0)
        },
        async |outcome| match outcome {
            Ok(Answer::LocalRedirect(reference)) => reference,
            _ => panic!("it is a local redirect"),
        },
    );
    assert_eq!(reference, "/other?a=b");
    assert_eq!(written.script().end.as_deref(), Some("exit status 0"));
}

#[test]
fn a_process_left_behind_does_not_hold_the_answer_open() {
    let mut left_behind = None;
    let (text, _) = ask(
        Asked::default(),
        |script| {
            script.write("Content-Type: text/plain\n\nall of it");
            left_behind = script.stdout.as_ref().map(|f| f.try_clone().unwrap());
            Some(0)
        },
        text,
    );
    assert_eq!(text.unwrap(), "all of it");
    assert!(left_behind.is_some());
}

#[test]
fn a_script_that_closes_its_output_may_go_on() {
    let (go_on, wait) = mpsc::channel();
    let asked = Asked::default();
    let queue = Arc::clone(&asked.queue);
    let (text, written) = ask(
        asked,
        move |script| {
            script.write("Content-Type: text/plain\n\ndone");
            script.stdout = None;
            wait.recv().unwrap();
            assert!(!script.is_ordered_to_end_now());
            script.complain("cleaning up\n");
            Some(0)
        },
        async |outcome| {
            let text = text(outcome).await;
            let refused = queue
                .enter(Client::new(None))
                .await
                .expect_err("it has not given up its place");
            assert!(matches!(refused.cause, Cause::TooManyScripts { .. }));
            go_on.send(()).unwrap();
            text
        },
    );
    assert_eq!(text.unwrap(), "done");
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(
        std::pin::pin!(queue.enter(Client::new(None)))
            .poll(&mut context)
            .is_ready()
    );
    assert_eq!(written.lines, ["cleaning up"]);
}

#[test]
fn a_launcher_that_dies_breaks_the_answer_off() {
    let (outcome, _) = ask(Asked::default(), |_| None, async |outcome| failure(outcome));
    assert!(outcome.status.is_server_error(), "{outcome}");

    let mut pipe = None;
    let (text, written) = ask(
        Asked::default(),
        |script| {
            script.write("Content-Type: text/plain\n\npart");
            pipe = script.stdout.as_ref().map(|f| f.try_clone().unwrap());
            None
        },
        text,
    );
    assert!(text.unwrap_err().to_string().contains("launcher"));
    let end = written.script().end.as_deref().unwrap();
    assert!(end.contains("the launcher is gone"), "{end}");
}

#[test]
fn a_refusal_is_500_with_the_launchers_reason() {
    let (listener, address) = listen();
    let refuse = || {
        let control = net::accept(&listener).unwrap();
        let (_, fds) = receive(&control);
        assert_eq!(fds.len(), 3);
        let refusal = Refusal::MissingInterpreter("/usr/bin/python3\r".into());
        reply(&control, &Reply::Refused(refusal));
    };
    let (outcome, _) = thread::scope(|scope| {
        scope.spawn(refuse);
        ask_at(address, Asked::default(), async |outcome| failure(outcome))
    });
    assert_eq!(outcome.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(outcome.to_string().contains("CR LF"), "{outcome}");
}

#[test]
fn without_a_launcher_it_is_503() {
    let nowhere = seqpacket::Address::new("/nonexistent/launcher").unwrap();
    let (outcome, _) = ask_at(nowhere, Asked::default(), async |outcome| failure(outcome));
    assert_eq!(outcome.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(matches!(outcome.cause, Cause::Launcher(_)));
}
