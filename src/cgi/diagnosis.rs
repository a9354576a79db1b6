//! What is wrong with a script, for the person who wrote it: the fact, the usual cause and what
//! to do about it.
//!
//! The words end up in the record and, for trusted clients, in the page. They are guesses from
//! what can be seen without a look at the script itself: the launcher's reason, the exit status,
//! the first bytes of the output and the last ones of stderr.

use std::path::Path;

use http::StatusCode;
use rustix::io::Errno;

use crate::{
    cgi::{
        process::LastWords,
        response::ResponseError,
        wire::{End, Refusal, TooLong},
    },
    semantics::failure::{Cause, Failure},
};

/// How much is shown of the last line of stderr.
const SHOWN: usize = 200;

/// What to do about Windows line ends, which the kernel takes for a part of the interpreter's name.
const CRLF: &str = "its lines end with CR LF: convert them with sed -i 's/\\r$//' and its name";

/// What to do about a missing `#!` line.
const NO_INTERPRETER: &str = "its first line must name an interpreter, such as #!/bin/sh or \
                              #!/usr/bin/env python3, or it must be a program for this machine";

/// 500: the launcher did not start the script.
pub fn refused(script: &Path, refusal: &Refusal) -> Failure {
    let remedy = match refusal {
        Refusal::MissingInterpreter(name) => missing_program(name),
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
    let cause = Cause::NotStarted {
        script: script.display().to_string(),
        reason: with_remedy(refusal.to_string(), remedy),
    };
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, cause)
}

/// 431: the environment of the script does not fit into a message to the launcher.
pub fn too_large(script: &Path, error: TooLong) -> Failure {
    let cause = Cause::NotStarted {
        script: script.display().to_string(),
        reason: format!("its environment is too large: {error}"),
    };
    Failure::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, cause)
}

/// 502: what the script wrote is no answer.
pub fn bad_response(
    script: &Path,
    error: &ResponseError,
    output: &[u8],
    last_words: &LastWords,
) -> Failure {
    let mut reason = error.to_string();
    if let Some(end) = last_words.end {
        reason = format!("{reason} ({end})");
    }
    let remedy = remedy_for_end(last_words).or_else(|| remedy_for_output(error, output));
    reason = with_remedy(reason, remedy);
    if let Some(line) = last_line(&last_words.stderr) {
        reason = format!("{reason}; the last line on its stderr: {line}");
    }
    let cause = Cause::BadScriptResponse {
        script: script.display().to_string(),
        reason,
    };
    Failure::new(StatusCode::BAD_GATEWAY, cause)
}

fn with_remedy(reason: String, remedy: Option<&str>) -> String {
    match remedy {
        Some(remedy) => format!("{reason}: {remedy}"),
        None => reason,
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
    if says("No module named 'cgi'") || says("No module named 'cgitb'") {
        return Some(
            "Python 3.13 removed the modules cgi and cgitb: use urllib.parse, or install \
             legacy-cgi from PyPI",
        );
    }
    if says("Missing parentheses in call to 'print'") {
        return Some("it is written for Python 2, and Python 3 runs it");
    }
    if last_words.end == Some(End::Status(127)) {
        let named = stderr.lines().find_map(program_env_misses);
        return named.and_then(missing_program).or(Some(
            "a program that it names was not found in PATH: name it by its full path, or set PATH \
             with env in the configuration",
        ));
    }
    if says("Permission denied") || says("PermissionError") {
        return Some("the user that scripts run as may not use a file that it needs");
    }
    match last_words.end {
        Some(End::Signal(_)) => Some("it crashed, or met a limit of memory or processor time"),
        _ => None,
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
        ResponseError::BadLine { number: 1, .. } if output.starts_with(b"<") => {
            Some("before the page it must write Content-Type: text/html and an empty line")
        }
        ResponseError::BadLine { number: 1, .. } => Some(
            "it must begin with a header such as Content-Type: text/plain, and an empty line \
             after it",
        ),
        ResponseError::BadLine { .. } | ResponseError::NoBlankLine => {
            Some("an empty line must come between the header and the rest")
        }
        ResponseError::NoContentType => Some("write Content-Type: text/html first"),
        ResponseError::Nothing | ResponseError::TooLong => None,
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
            rule: "there is no colon",
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
