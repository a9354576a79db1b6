//! The access log in a file: whole lines, appended by the thread that writes records.
//!
//! Lines are written when no more are waiting, and after a second at the latest. What the file does
//! not take, since its disk is full or its reader slow, waits in memory up to a limit, and is counted
//! beyond it; writing is tried again until there is room. Nothing here waits for a pipe or a terminal:
//! the file is opened without waiting, and only a filesystem can make this thread stand still.
//!
//! Links are followed: `/dev/stdout` is one, and so are logs that lie on another disk. Whoever may
//! write to the directory of the log decides what it is.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
};

use crate::records::{
    Request,
    format::{AccessFormat, combined, json},
    message_id,
};

/// So many bytes are written at once.
const PIECE: usize = 64 << 10;

/// So many bytes wait for a file that takes nothing.
const MOST: usize = 1 << 20;

/// How long a line waits while more come, and how soon a file that has failed is tried again.
const LATEST: Duration = Duration::from_secs(1);

/// How soon a pipe or terminal that was full is tried again.
const SOON: Duration = Duration::from_millis(10);

/// An access log in a file.
#[derive(Debug)]
pub struct AccessFile {
    path: PathBuf,
    format: AccessFormat,
    file: File,
    /// What is not written yet.
    lines: Vec<u8>,
    /// Whether the beginning of the first of these lines is in the file already.
    is_torn: bool,
    /// When the first of them came.
    since: Option<Instant>,
    /// When to write again; present after a failure.
    retry: Option<Instant>,
    /// When to open the file again by its name; present while another may have it.
    reopen: Option<Instant>,
    /// Whether it was said that something is wrong.
    is_troubled: bool,
    /// How many records are lost since that was said.
    lost: u64,
}

impl AccessFile {
    /// Opens the file to append to it, and makes it if it is not there.
    pub fn open(path: &Path, format: AccessFormat) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            format,
            file: open_to_append(path)?,
            lines: Vec::new(),
            is_torn: false,
            since: None,
            retry: None,
            reopen: None,
            is_troubled: false,
            lost: 0,
        })
    }

    /// Adds the line of a request, or of a connection without one.
    pub fn add(&mut self, request: &Request) {
        let line = match self.format {
            AccessFormat::Combined => combined::line(request),
            AccessFormat::Json => json::line(request),
        };
        // A single line is as long as a head may be.
        if !self.lines.is_empty() && self.lines.len() + line.len() > MOST {
            self.lost += 1;
            self.complain("what reads it does not keep up");
            return;
        }
        self.lines.extend_from_slice(line.as_bytes());
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.lines.len() >= PIECE || since.elapsed() >= LATEST {
            self.flush();
        }
    }

    /// How long the writer may wait for records until [`Self::flush`] is due; none is forever.
    pub fn patience(&self) -> Option<Duration> {
        let now = Instant::now();
        let write = self.retry.or((!self.lines.is_empty()).then_some(now));
        let first = write.into_iter().chain(self.reopen).min();
        first.map(|at| at.saturating_duration_since(now))
    }

    /// Writes what there is, unless that has failed a moment ago.
    pub fn flush(&mut self) {
        let is_due = |at: Option<Instant>| at.is_none_or(|at| at <= Instant::now());
        if self.reopen.is_some() && is_due(self.reopen) {
            match open_to_append(&self.path) {
                Ok(file) => self.go_on_in(file),
                Err(error) => {
                    self.reopen = Some(Instant::now() + LATEST);
                    self.complain(&error.to_string());
                }
            }
        }
        if is_due(self.retry) {
            self.retry = None;
            match self.write() {
                Ok(()) => self.recover(),
                Err(error) => self.fail(&error),
            }
        }
    }

    /// Opens the file again by its name. Until that succeeds, lines go to the file as it was.
    pub fn reopen(&mut self) {
        self.retry = None;
        self.flush();
        self.reopen = Some(Instant::now());
        self.flush();
    }

    /// Goes on in `next`, where it is the same log, or ends.
    #[must_use]
    pub fn succeeded_by(mut self, next: Self) -> Self {
        if (&self.path, self.format) != (&next.path, next.format) {
            self.finish();
            return next;
        }
        self.retry = None;
        self.flush();
        self.go_on_in(next.file);
        self.flush();
        self
    }

    /// Writes what there is for the last time.
    pub fn finish(mut self) {
        // A failure is told below.
        let _ = self.write();
        let lines = memchr::memchr_iter(b'\n', &self.lines).count() as u64;
        let lost = lines + self.lost;
        if lost > 0 {
            let path = self.path.display();
            // At the end of the server messages have no way through the queue.
            let _ = writeln!(
                anstream::stderr(),
                "pywebd: {lost} records could not be written to the access log {path}"
            );
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        let outcome = loop {
            let rest = &self.lines[written..];
            if rest.is_empty() {
                break Ok(());
            }
            match self.file.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if written > 0 {
            self.is_torn = self.lines[written - 1] != b'\n';
            self.lines.drain(..written);
        }
        if self.lines.is_empty() {
            self.since = None;
        }
        outcome
    }

    /// Takes another file in the place of the one that was open.
    fn go_on_in(&mut self, file: File) {
        if self.is_torn {
            // The rest of a line is of no use in another file.
            let end = memchr::memchr(b'\n', &self.lines).map_or(0, |end| end + 1);
            self.lines.drain(..end);
            self.lost += 1;
        }
        self.is_torn = false;
        self.reopen = None;
        self.retry = None;
        self.file = file;
    }

    fn fail(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.retry = Some(Instant::now() + SOON);
            return;
        }
        self.retry = Some(Instant::now() + LATEST);
        self.complain(&error.to_string());
    }

    /// Says once that something is wrong.
    fn complain(&mut self, what: &str) {
        if !std::mem::replace(&mut self.is_troubled, true) {
            let path = self.path.display();
            tracing::warn!(
                MESSAGE_ID = message_id::ACCESS_LOG_FAILED,
                "the access log {path} cannot be written: {what}; it is tried again, and what does \
                 not fit into {} KiB meanwhile is lost",
                MOST >> 10
            );
        }
    }

    /// Says that all is well again, if it was not.
    fn recover(&mut self) {
        let is_troubled = self.is_troubled || self.lost > 0;
        if !is_troubled || self.reopen.is_some() {
            return;
        }
        self.is_troubled = false;
        let path = self.path.display();
        match std::mem::take(&mut self.lost) {
            0 => tracing::info!("the access log {path} is written again; no record is lost"),
            lost => {
                tracing::warn!("the access log {path} is written again; {lost} records are lost");
            }
        }
    }
}

/// Opens a file that takes lines. Others than the group learn nothing of requests.
fn open_to_append(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        | OFlags::NONBLOCK;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let file = File::from(open(path, flags, mode).map_err(refusal)?);
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_char_device() || kind.is_fifo() {
        return Ok(file);
    }
    Err(io::Error::other(
        "it is no file, and nothing that takes lines",
    ))
}

/// What is in the way of a log, and what to do about it.
fn refusal(error: Errno) -> io::Error {
    let remedy = match error {
        // open(2): a FIFO that nobody has open for reading, or a socket.
        Errno::NXIO => return io::Error::other("nothing reads from it, or it is a socket"),
        Errno::NOENT => "its directory does not exist; make it, and give it to",
        Errno::ACCESS => "permission denied; give its directory, and the file if it is there, to",
        Errno::ROFS => "its file system is read-only for the server; name a directory of",
        error => return error.into(),
    };
    let user = rustix::process::geteuid().as_raw();
    let message = format!(
        "{remedy} the server's user (uid {user}); under systemd `LogsDirectory=pywebd` makes \
         /var/log/pywebd so"
    );
    io::Error::new(io::Error::from(error).kind(), message)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, time::SystemTime};

    use super::*;
    use crate::{
        records::ConnectionRecord,
        transport::{Address, Remote},
    };

    fn record(line: &[u8]) -> Request {
        Request::Connection(ConnectionRecord {
            time: SystemTime::UNIX_EPOCH,
            remote: Remote(Address::Unix),
            line: line.to_vec(),
            status: Some(400),
            reason: String::new(),
        })
    }

    fn request_lines(text: &str) -> Vec<&str> {
        text.lines()
            .filter_map(|line| line.split('"').nth(1))
            .collect()
    }

    #[test]
    fn what_came_before_a_change_is_written_where_it_belongs() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let open = |name: &str| AccessFile::open(&path(name), AccessFormat::Combined).unwrap();
        let mut log = open("a");
        log.add(&record(b"1"));
        let mut log = log.succeeded_by(open("b"));
        log.add(&record(b"2"));
        fs::rename(path("b"), path("c")).unwrap();
        log.reopen();
        log.add(&record(b"3"));
        fs::rename(path("b"), path("d")).unwrap();
        let mut log = log.succeeded_by(open("b"));
        log.add(&record(b"4"));
        log.finish();
        for (name, expected) in [("a", "1"), ("c", "2"), ("d", "3"), ("b", "4")] {
            let text = fs::read_to_string(path(name)).unwrap();
            assert_eq!(request_lines(&text), [expected], "{name}");
        }
    }

    #[test]
    fn a_line_that_was_written_in_part_is_ended_or_lost_but_never_another_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let fifo = Mode::RUSR | Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, fifo).unwrap();
        let reader = open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        let mut reader = File::from(reader);
        let mut access = AccessFile::open(&path, AccessFormat::Combined).unwrap();
        let long = vec![b'x'; 100_000];
        // A pipe takes a part of a write that is longer than PIPE_BUF.
        access.add(&record(&long));
        access.add(&record(b"1"));
        assert!(access.is_torn);
        let mut text = vec![0; 1 << 20];
        let count = reader.read(&mut text).unwrap();
        text.truncate(count);
        access.retry = None;
        access.flush();
        let mut rest = vec![0; 1 << 20];
        let count = reader.read(&mut rest).unwrap();
        text.extend_from_slice(&rest[..count]);
        let text = String::from_utf8(text).unwrap();
        let long = String::from_utf8(long).unwrap();
        assert_eq!(request_lines(&text), [&*long, "1"]);

        access.add(&record(long.as_bytes()));
        access.add(&record(b"2"));
        assert!(access.is_torn);
        fs::rename(&path, directory.path().join("moved")).unwrap();
        access.reopen();
        assert_eq!(request_lines(&fs::read_to_string(&path).unwrap()), ["2"]);
    }
}
