//! Why the kernel did not run a script, in words for its author: execve(2) says little, and the
//! beginning of the file most of the rest. A file that the kernel does not take is never given to
//! a shell instead.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{cgi::wire::Refusal, sys::spawn::SpawnError};

/// How much of a file the kernel looks at, in bytes.
const BEGINNING: usize = 256;

/// The beginning of a program's file, to explain why it was not run. Absent when it cannot be read.
pub fn beginning(program: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(program, flags, Mode::empty()).ok()?;
    let mut bytes = vec![0; BEGINNING];
    let length = rustix::io::read(file, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// The refusal for a script that was not started. `beginning` reads the beginning of its file; it is
/// called only when that can tell more.
pub fn refusal(error: SpawnError, beginning: impl FnOnce() -> Option<Vec<u8>>) -> Refusal {
    let reason = match error.errno {
        _ if error.step != "execve" => None,
        Errno::NOENT => beginning().and_then(|bytes| missing_interpreter(&bytes)),
        Errno::NOEXEC => beginning().map(|bytes| Refusal::Unsafe(no_program(&bytes).into())),
        _ => None,
    };
    reason.unwrap_or_else(|| Refusal::System {
        step: error.step.into(),
        errno: error.errno.raw_os_error(),
    })
}

/// What the kernel will say to a program that begins so, if that can be told.
pub fn objection(beginning: &[u8]) -> Option<String> {
    match beginning {
        [0x7f, b'E', b'L', b'F', ..] => None,
        [b'#', b'!', ..] => missing_interpreter(beginning).map(|refusal| refusal.to_string()),
        _ => Some(no_program(beginning).to_owned()),
    }
}

/// Why a file that exists was not found: its `#!` line names what does not exist.
fn missing_interpreter(beginning: &[u8]) -> Option<Refusal> {
    let line = beginning.strip_prefix(b"#!")?;
    let line = line.split(|&byte| byte == b'\n').next()?;
    // The kernel takes only these two for white space.
    let mut words = line.split(|byte| b" \t".contains(byte));
    let name = words.find(|word| !word.is_empty())?;
    if name.ends_with(b"\r") {
        let reason = "its #! line ends in CR LF: convert the file to Unix line ends";
        return Some(Refusal::Unsafe(reason.into()));
    }
    // An interpreter may be a script itself, whose own is missing.
    (!Path::new(OsStr::from_bytes(name)).exists())
        .then(|| Refusal::MissingInterpreter(String::from_utf8_lossy(name).into_owned()))
}

/// Why a file is not one that the kernel can run.
fn no_program(beginning: &[u8]) -> &'static str {
    match beginning {
        [] => "it is empty",
        [b'#', b'!', ..] => "its #! line names nothing that can be run",
        [0xef, 0xbb, 0xbf, b'#', b'!', ..] => {
            "a byte order mark stands before its #! line: save the file without one"
        }
        [0x7f, b'E', b'L', b'F', ..] => "it is a program for another kind of machine",
        _ => "it has no #! line to say what runs it, and is no program of this machine",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: Errno, beginning: &[u8]) -> Refusal {
        let step = "execve";
        refusal(SpawnError { step, errno }, || Some(beginning.to_vec()))
    }

    #[test]
    fn an_interpreter_that_does_not_exist_is_named() {
        for line in [
            &b"#!/opt/none/perl\n"[..],
            b"#! /opt/none/perl -w\nprint 1;",
            b"#!\t/opt/none/perl\t-w",
            b"#!/opt/none/perl -w\r\n",
        ] {
            let expected = Refusal::MissingInterpreter("/opt/none/perl".into());
            assert_eq!(refused(Errno::NOENT, line), expected);
        }
    }

    #[test]
    fn line_ends_of_another_system_are_named() {
        let reason = refused(Errno::NOENT, b"#!/bin/sh\r\necho\r\n").to_string();
        assert!(reason.contains("CR LF"), "{reason}");
    }

    #[test]
    fn what_is_no_program_is_described() {
        for (beginning, part) in [
            (&b""[..], "empty"),
            (b"print('hello')\n", "no #! line"),
            (b"\xef\xbb\xbf#!/bin/sh\n", "byte order mark"),
            (b"\x7fELF\x02\x02\x01", "another kind of machine"),
            (b"#!\n", "nothing that can be run"),
        ] {
            let reason = refused(Errno::NOEXEC, beginning).to_string();
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn what_the_file_cannot_explain_is_the_kernels_answer() {
        let step = "execve".to_owned();
        for (errno, beginning) in [
            (Errno::NOENT, &b"#!/bin/sh\n"[..]),
            (Errno::NOENT, b"\x7fELF\x02\x01\x01"),
            (Errno::ACCESS, b"#!/opt/none/perl\n"),
        ] {
            let errno_number = errno.raw_os_error();
            let expected = Refusal::System {
                step: step.clone(),
                errno: errno_number,
            };
            assert_eq!(refused(errno, beginning), expected);
        }
    }
}
