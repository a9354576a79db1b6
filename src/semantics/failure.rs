//! Why a request was not answered as asked: one value for the client and for the operator.
//!
//! Every stage of a request returns `Result<_, Failure>`. The status is what the client sees; the
//! cause is what the record and the log say. Handlers never log an outcome themselves.

use http::{HeaderValue, Method, StatusCode};

/// The end of a request that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Failure {
    /// The status code the client sees.
    pub status: StatusCode,
    /// The reason the operator sees.
    pub cause: Cause,
    /// What the author of a script that failed is told.
    pub diagnosis: Option<Box<Diagnosis>>,
}

/// What is known of a script that failed, for the person who wrote it. The script's own words are
/// bytes as it wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The script's file.
    pub script: String,
    /// The fact.
    pub what: String,
    /// How it ended: with a status, by a signal, or killed by the server.
    pub end: String,
    /// The usual cause and what to do about it.
    pub remedy: Option<String>,
    /// How its output began.
    pub output: Vec<u8>,
    /// How its stderr ended.
    pub stderr: Vec<u8>,
}

/// What went wrong, in the operator's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The request target or the `Host` field breaks the grammar (RFC 9112 §3.2).
    #[error("{0}")]
    BadTarget(&'static str),
    /// The content of the request is not framed as its head says, or breaks off (RFC 9112 §6, §7).
    #[error("{0}")]
    BadContent(&'static str),
    /// No site takes this host on this listener (RFC 9110 §15.5.20).
    #[error("no site is configured for host {0:?} on this listener")]
    UnknownHost(String),
    /// The configuration denies this path.
    #[error("denied by the configuration (path key {0:?})")]
    Denied(String),
    /// The client's address is not in the `allow` list.
    #[error("the client's address is not in `allow` (path key {0:?})")]
    NotAllowed(String),
    /// Nothing is there.
    #[error("{0} does not exist")]
    NotFound(String),
    /// A name that is never served: hidden files and backups.
    #[error("{0} has a name that is never served")]
    HiddenName(String),
    /// The path leaves the root, by a symbolic link.
    #[error("{0} leads out of the root by a symbolic link")]
    OutsideRoot(String),
    /// The operating system does not let the server read it.
    #[error("{0} is not readable for the server")]
    Unreadable(String),
    /// Neither a regular file nor a directory.
    #[error("{0} is neither a regular file nor a directory")]
    NotRegular(String),
    /// A directory without an index, and no listing.
    #[error("{0} has no index file, and `listing` is off")]
    NoIndex(String),
    /// The method is not among those the resource takes (RFC 9110 §15.5.6).
    #[error("method {method} is not allowed here")]
    MethodNotAllowed {
        /// The method of the request.
        method: Method,
        /// What `Allow` says.
        allow: HeaderValue,
    },
    /// A method that only a script could know (RFC 9110 §15.6.2).
    #[error("method {0} is not known here")]
    UnknownMethod(Method),
    /// A precondition does not hold (RFC 9110 §13).
    #[error("a precondition of the request does not hold")]
    PreconditionFailed,
    /// No range of the request is within the content, which has this length (RFC 9110 §15.5.17).
    #[error("no range of the request is within the {0} bytes that there are")]
    UnsatisfiableRange(u64),
    /// The client takes none of the representations (RFC 9110 §15.5.7).
    #[error("the client takes no content coding that there is, nor content without one")]
    NotAcceptable,
    /// A file that was written to whenever it was read.
    #[error("the file is written to all the time")]
    Changing,
    /// A password is needed (RFC 9110 §11).
    #[error("a password is needed")]
    Unauthenticated {
        /// What `WWW-Authenticate` says.
        challenge: HeaderValue,
    },
    /// More passwords are being checked than there is room for.
    #[error("too many passwords are being checked")]
    TooManyPasswords,
    /// An `Expect` other than `100-continue` (RFC 9110 §10.1.1).
    #[error("the expectation of the request cannot be met")]
    Expectation,
    /// The content is longer than `request-body-size`.
    #[error("the request's content is longer than `request-body-size`, {0} bytes")]
    ContentTooLarge(u64),
    /// The content paused for longer than `request-body-timeout`.
    #[error("the request's content paused for longer than `request-body-timeout`")]
    ContentTimeout,
    /// A directory below a `cgi` key, or the key itself: scripts are not listed.
    #[error("{0} is a directory of scripts, which is never listed")]
    ScriptDirectory(String),
    /// A file below a `cgi` key without its execute bit.
    #[error("script {0} is not executable: run chmod +x")]
    NotExecutable(String),
    /// The launcher does not answer, or is gone.
    #[error("the launcher that starts scripts cannot be reached: {0}")]
    Launcher(String),
    /// The launcher refused to start the script.
    #[error("script {script} was not started: {reason}")]
    NotStarted {
        /// The script's file.
        script: String,
        /// The launcher's reason.
        reason: String,
    },
    /// What the script wrote is no CGI response (RFC 3875 §6).
    #[error("script {script}: {reason}")]
    BadScriptResponse {
        /// The script's file.
        script: String,
        /// What is wrong with its output.
        reason: String,
    },
    /// The script said nothing for `timeout`, or ran for `max-time`.
    #[error("script {script} was killed: {reason}")]
    ScriptTimeout {
        /// The script's file.
        script: String,
        /// Which limit it met.
        reason: String,
    },
    /// More scripts wait than `max-queued`.
    #[error("{running} scripts of the site run and {queued} wait")]
    TooManyScripts {
        /// Scripts that run.
        running: usize,
        /// Requests that wait.
        queued: usize,
    },
    /// The client took nothing of its answer for longer than `response-timeout`.
    #[error("the client took nothing of the answer within `response-timeout`")]
    ResponseTimeout,
    /// The answer could not be completed.
    #[error("{0}")]
    Incomplete(String),
    /// The client closed the connection before its answer was ready.
    #[error("the client left")]
    ClientLeft,
    /// A local redirect of a script led to too many others (RFC 3875 §6.2.2).
    #[error("more than {0} local redirects of scripts in one request")]
    RedirectLoop(usize),
    /// The operating system failed us.
    #[error("{action}: {error}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The kernel's answer.
        error: String,
    },
}

impl Failure {
    /// A failure with this status and cause.
    pub fn new(status: StatusCode, cause: Cause) -> Self {
        Self {
            status,
            cause,
            diagnosis: None,
        }
    }

    /// The same with a diagnosis.
    #[must_use]
    pub fn diagnosed(self, diagnosis: Diagnosis) -> Self {
        let diagnosis = Some(Box::new(diagnosis));
        Self { diagnosis, ..self }
    }

    /// 400: the request is malformed.
    pub fn bad_target(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Cause::BadTarget(reason))
    }

    /// 500: the operating system refused something it usually grants. 503 where it has run out of
    /// descriptors or memory, which passes.
    pub fn system(action: &'static str, error: &std::io::Error) -> Self {
        let status = if is_exhausted(error) {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        let error = error.to_string();
        Self::new(status, Cause::System { action, error })
    }
}

/// Whether the system has run out of descriptors or memory.
pub fn is_exhausted(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}
