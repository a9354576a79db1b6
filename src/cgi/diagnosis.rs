//! What is wrong with a script, for the person who wrote it: the fact, the usual cause and what
//! to do about it.
//!
//! The words end up in the record, in one line, and for trusted clients in the page, with what the
//! script itself has written. They are guesses from what can be seen without a look at the script
//! itself: the launcher's reason, the exit status, the first bytes of the output and the last ones of
//! stderr.

use std::path::Path;

use http::StatusCode;
use rustix::{io::Errno, process::Signal};

use crate::{
    cgi::{
        process::LastWords,
        response::{NO_COLON, ResponseError},
        wire::{End, Met, Refusal, TooLong},
    },
    semantics::failure::{Cause, Diagnosis, Failure},
};

/// How much is shown of the last line of stderr.
const SHOWN: usize = 200;

/// How much is shown of the output.
const OUTPUT: usize = 1024;

/// Signals by which a script may end.
const SIGNALS: [(Signal, &str); 14] = [
    (Signal::HUP, "SIGHUP"),
    (Signal::INT, "SIGINT"),
    (Signal::QUIT, "SIGQUIT"),
    (Signal::ILL, "SIGILL"),
    (Signal::ABORT, "SIGABRT"),
    (Signal::BUS, "SIGBUS"),
    (Signal::FPE, "SIGFPE"),
    (Signal::KILL, "SIGKILL"),
    (Signal::SEGV, "SIGSEGV"),
    (Signal::PIPE, "SIGPIPE"),
    (Signal::TERM, "SIGTERM"),
    (Signal::XCPU, "SIGXCPU"),
    (Signal::XFSZ, "SIGXFSZ"),
    (Signal::SYS, "SIGSYS"),
];

/// What to do about Windows line ends, which the kernel takes for a part of the interpreter's name.
const CRLF: &str = "its lines end with CR LF: run sed -i 's/\\r$//' on it";

/// What to do about a missing `#!` line.
const NO_INTERPRETER: &str = "its first line must name an interpreter, such as #!/bin/sh or \
                              #!/usr/bin/env python3, or it must be a program for this machine";

/// How a script ended that never began.
const NOT_STARTED: &str = "it was not started";

/// 500: the launcher did not start the script.
pub fn refused(script: &Path, refusal: &Refusal) -> Failure {
    let remedy = match refusal {
        Refusal::MissingInterpreter(name) => Some(
            missing_program(name)
                .unwrap_or("install it, or name one in the first line that is there"),
        ),
        // The launcher has looked at the line itself.
        Refusal::Unsafe(reason) if reason.contains("CR LF") => Some("run sed -i 's/\\r$//' on it"),
        Refusal::System { errno, .. } => match Errno::from_raw_os_error(*errno) {
            Errno::NOEXEC => Some(NO_INTERPRETER),
            Errno::ACCESS => Some(
                "the user that scripts run as needs the execute right for it, for its \
                 interpreter and for every directory above them",
            ),
            _ => None,
        },
        _ => None,
    };
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    not_started(script, status, refusal.to_string(), remedy)
}

/// 431: the environment of the script does not fit into a message to the launcher.
pub fn too_large(script: &Path, error: TooLong) -> Failure {
    let what = format!("its environment is too large: {error}");
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    not_started(script, status, what, None)
}

fn not_started(
    script: &Path,
    status: StatusCode,
    what: String,
    remedy: Option<&'static str>,
) -> Failure {
    let diagnosis = Diagnosis {
        script: script.display().to_string(),
        what,
        end: NOT_STARTED.to_owned(),
        remedy: remedy.map(str::to_owned),
        output: Vec::new(),
        stderr: Vec::new(),
    };
    let cause = Cause::NotStarted {
        script: diagnosis.script.clone(),
        reason: reason(&diagnosis, None),
    };
    Failure::new(status, cause).diagnosed(diagnosis)
}

/// 502: what the script wrote is no answer.
pub fn bad_response(
    script: &Path,
    error: &ResponseError,
    output: &[u8],
    last_words: &LastWords,
) -> Failure {
    let remedy = remedy_for_end(last_words)
        .or_else(|| remedy_for_output(error, output))
        .or_else(|| remedy_for_silence(last_words));
    let diagnosis = Diagnosis {
        script: script.display().to_string(),
        what: error.to_string(),
        end: match last_words.end {
            Some(end) => named(end),
            None => "it had not ended yet".to_owned(),
        },
        remedy: remedy.map(str::to_owned),
        output: beginning(output),
        stderr: last_words.stderr.clone(),
    };
    let cause = Cause::BadScriptResponse {
        script: diagnosis.script.clone(),
        reason: reason(&diagnosis, last_words.end),
    };
    Failure::new(StatusCode::BAD_GATEWAY, cause).diagnosed(diagnosis)
}

/// A failure that came before the script's answer, with what the script had written until then if
/// it was killed on a limit.
pub fn interrupted(failure: Failure, output: &[u8], stderr: Vec<u8>) -> Failure {
    let Failure { status, cause, .. } = &failure;
    let Cause::ScriptTimeout {
        script,
        reason: limit,
    } = cause
    else {
        return failure;
    };
    let remedy = if limit.contains("max-time") {
        "if it may take so long, raise max-time of its path key"
    } else if output.is_empty() {
        "if it may take so long, raise timeout of its path key, or write the header and flush it \
         before the work begins"
    } else {
        "an empty line must come between the header and the rest, and be flushed"
    };
    let diagnosis = Diagnosis {
        script: script.clone(),
        what: limit.clone(),
        end: "the server killed it".to_owned(),
        remedy: Some(remedy.to_owned()),
        output: beginning(output),
        stderr,
    };
    let cause = Cause::ScriptTimeout {
        script: script.clone(),
        reason: reason(&diagnosis, None),
    };
    Failure::new(*status, cause).diagnosed(diagnosis)
}

/// The diagnosis in one line, for the record.
fn reason(diagnosis: &Diagnosis, end: Option<End>) -> String {
    let mut reason = diagnosis.what.clone();
    if let Some(end) = end {
        reason = format!("{reason} ({end})");
    }
    if let Some(remedy) = &diagnosis.remedy {
        reason = format!("{reason}: {remedy}");
    }
    if let Some(line) = last_line(&diagnosis.stderr) {
        reason = format!("{reason}; the last line on its stderr: {line}");
    }
    reason
}

fn beginning(output: &[u8]) -> Vec<u8> {
    output[..output.len().min(OUTPUT)].to_vec()
}

/// An exit status, or a signal with its name.
fn named(end: End) -> String {
    let name = match end {
        End::Status(_) => None,
        End::Signal(signal) => SIGNALS.iter().find(|(raw, _)| raw.as_raw() == signal),
    };
    match name {
        Some((_, name)) => format!("{end} ({name})"),
        None => end.to_string(),
    }
}

/// What a program that is not there most often means.
fn missing_program(name: &str) -> Option<&'static str> {
    // As it is, or as env(1) quotes it.
    if name.ends_with('\r') || name.ends_with("\\r") {
        return Some(CRLF);
    }
    match name.rsplit('/').next()? {
        "python" | "python2" => Some("Python 3 is named python3: write #!/usr/bin/env python3"),
        _ => None,
    }
}

/// What the way the script ended says.
fn remedy_for_end(last_words: &LastWords) -> Option<&'static str> {
    let stderr = String::from_utf8_lossy(&last_words.stderr);
    let says = |words: &str| stderr.contains(words);
    match last_words.met {
        Some(Met::Memory(_)) => {
            return Some(
                "it took more memory than `memory` of its path key says: take less, or raise it",
            );
        }
        Some(Met::Tasks(_)) => {
            return Some("it started more processes and threads than `tasks` of its path key says");
        }
        None => {}
    }
    if says("No module named 'cgi'") || says("No module named 'cgitb'") {
        return Some(
            "Python 3.13 removed the modules cgi and cgitb: use urllib.parse, or install \
             legacy-cgi from PyPI",
        );
    }
    if says("Missing parentheses in call to 'print'") {
        return Some("it is written for Python 2, and Python 3 runs it");
    }
    let is_not_found = last_words.end == Some(End::Status(127));
    if is_not_found
        && let Some(program) = stderr.lines().find_map(program_env_misses)
        && let Some(remedy) = missing_program(program)
    {
        return Some(remedy);
    }
    // A shell says 127 for a script that it may not read, too.
    if says("Permission denied") || says("PermissionError") {
        return Some(
            "the user that scripts run as may not use a file that it needs, or may not read the \
             script itself: look at the rights of the file and of every directory above it",
        );
    }
    match last_words.end {
        Some(End::Status(127)) => Some(
            "a program that it names was not found in PATH: name it by its full path, or set PATH \
             with env in the configuration",
        ),
        Some(End::Signal(signal)) => Some(remedy_for_signal(signal)),
        _ => None,
    }
}

fn remedy_for_signal(signal: i32) -> &'static str {
    match Signal::from_named_raw(signal) {
        Some(Signal::KILL) => {
            "somebody killed it, most often the kernel for want of memory: journalctl -k tells"
        }
        Some(Signal::XCPU) => "it met its limit of processor time",
        Some(
            Signal::ABORT | Signal::BUS | Signal::FPE | Signal::ILL | Signal::SEGV | Signal::SYS,
        ) => "it crashed: a program or a library that it uses has a bug, or is of another version",
        Some(Signal::TERM) => "somebody sent it this signal, as the launcher does when it is ended",
        _ => "somebody sent it this signal",
    }
}

/// What is left to say of a script without output: where to look on.
fn remedy_for_silence(last_words: &LastWords) -> Option<&'static str> {
    match last_words.end? {
        End::Status(0) => Some(
            "it must write a header such as Content-Type: text/plain and an empty line, also when \
             there is nothing to say",
        ),
        _ if last_line(&last_words.stderr).is_some() => {
            Some("it gave up, and the end of its stderr tells why")
        }
        _ => Some("it gave up without a word: run it in a shell, as the user that scripts run as"),
    }
}

/// The name in env(1)'s complaint: `/usr/bin/env: ‘python’: No such file or directory`.
fn program_env_misses(line: &str) -> Option<&str> {
    let (program, complaint) = line.split_once(": ")?;
    let (name, _) = complaint.split_once(": No such file")?;
    let is_quote = |quote: char| matches!(quote, '‘' | '’' | '\'' | '"');
    (program.rsplit('/').next()? == "env").then(|| name.trim_matches(is_quote))
}

/// What the output itself says.
fn remedy_for_output(error: &ResponseError, output: &[u8]) -> Option<&'static str> {
    match error {
        ResponseError::BadLine { rule, .. } if *rule != NO_COLON => {
            Some("the words in parentheses say what such a line must be")
        }
        ResponseError::BadLine { number: 1, .. } if output.starts_with(b"<") => {
            Some("before the page it must write Content-Type: text/html and an empty line")
        }
        ResponseError::BadLine { number: 1, .. } => Some(
            "it must begin with a header such as Content-Type: text/plain, and an empty line \
             after it",
        ),
        ResponseError::BadLine { .. } | ResponseError::NoBlankLine | ResponseError::TooLong => {
            Some("an empty line must come between the header and the rest")
        }
        ResponseError::NoContentType => Some("write Content-Type: text/html first"),
        ResponseError::Nothing => None,
    }
}

/// The last line with something in it, cut and escaped.
fn last_line(stderr: &[u8]) -> Option<String> {
    let line = stderr
        .rsplit(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty())?;
    let text = String::from_utf8_lossy(line);
    let shown = text.chars().take(SHOWN).map(|c| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    });
    Some(shown.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason_of(failure: Failure) -> String {
        match failure.cause {
            Cause::NotStarted { reason, .. } | Cause::BadScriptResponse { reason, .. } => reason,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_refusal_is_told_with_its_remedy() {
        let system = |errno: Errno| Refusal::System {
            step: "execve".into(),
            errno: errno.raw_os_error(),
        };
        let missing = |name: &str| Refusal::MissingInterpreter(name.into());
        let table = [
            (missing("/usr/bin/python3\r"), "CR LF"),
            (missing("/usr/bin/python"), "#!/usr/bin/env python3"),
            (missing("/usr/bin/tclsh"), "tclsh"),
            (system(Errno::NOEXEC), "#!/bin/sh"),
            (system(Errno::ACCESS), "execute right"),
            (
                Refusal::Unsafe("it is writable by others".into()),
                "writable",
            ),
        ];
        for (refusal, words) in table {
            let failure = refused(Path::new("/srv/a.py"), &refusal);
            assert_eq!(failure.status, StatusCode::INTERNAL_SERVER_ERROR);
            let reason = reason_of(failure);
            assert!(reason.starts_with(&refusal.to_string()), "{reason}");
            assert!(reason.contains(words), "{reason}");
        }
    }

    #[test]
    fn an_end_is_told_with_its_usual_cause() {
        let table = [
            (
                1,
                "ModuleNotFoundError: No module named 'cgi'",
                "Python 3.13 removed",
            ),
            (
                1,
                "SyntaxError: Missing parentheses in call to 'print'. Did",
                "Python 2",
            ),
            (
                127,
                "/usr/bin/env: ‘python3\\r’: No such file or directory",
                "CR LF",
            ),
            (
                127,
                "/usr/bin/env: 'python3\r': No such file or directory",
                "CR LF",
            ),
            (
                127,
                "env: ‘python’: No such file or directory",
                "named python3",
            ),
            (127, "/srv/a.sh: line 3: jq: not found", "not found in PATH"),
            (
                1,
                "PermissionError: [Errno 13] Permission denied: '/x'",
                "the user that",
            ),
            (0, "", "it ended without output (exit status 0)"),
        ];
        for (status, stderr, words) in table {
            let last_words = LastWords {
                end: Some(End::Status(status)),
                met: None,
                stderr: stderr.into(),
            };
            let error = ResponseError::Nothing;
            let failure = bad_response(Path::new("/srv/a.py"), &error, b"", &last_words);
            assert_eq!(failure.status, StatusCode::BAD_GATEWAY);
            let reason = reason_of(failure);
            assert!(reason.contains(words), "{reason}");
        }
    }

    #[test]
    fn an_output_is_told_with_what_it_lacks() {
        let line = |number| ResponseError::BadLine {
            number,
            line: "…".into(),
            rule: NO_COLON,
        };
        let table = [
            (line(1), "<html>\n", "before the page"),
            (line(1), "hello\n", "must begin with a header"),
            (
                line(2),
                "Content-Type: text/html\nhello\n",
                "an empty line must come",
            ),
            (
                ResponseError::NoBlankLine,
                "Content-Type: text/html\n",
                "an empty line must come",
            ),
            (
                ResponseError::NoContentType,
                "X: y\n\n",
                "write Content-Type",
            ),
        ];
        for (error, output, words) in table {
            let path = Path::new("/srv/a.py");
            let failure = bad_response(path, &error, output.as_bytes(), &LastWords::default());
            let reason = reason_of(failure);
            assert!(reason.contains(words), "{reason}");
        }
    }

    #[test]
    fn the_last_line_of_stderr_is_escaped_and_cut() {
        assert_eq!(last_line(b"one\ntwo\r\n\n").as_deref(), Some("two"));
        assert_eq!(last_line(b"\x1b[31mred").as_deref(), Some("\\u{1b}[31mred"));
        assert_eq!(last_line(&[b'a'; 1000]).map(|line| line.len()), Some(SHOWN));
        assert_eq!(last_line(b" \n"), None);
    }
}
