//! The messages between the network process and the launcher: one `SOCK_SEQPACKET` datagram each.
//!
//! A connection is one running script at a time. The network process sends [`Request::Launch`] with the
//! script's ends of stdin, stdout and stderr as `SCM_RIGHTS`; the launcher answers
//! [`Reply::Started`] or [`Reply::Refused`], and after a `Started` without an end, when everything is over,
//! [`Reply::Exited`]. [`Request::Kill`] and closing the connection end the script and all it
//! started. On a connection of its own, [`Request::Reload`] asks the launcher to read its
//! configuration again; it answers [`Reply::Reloaded`] or [`Reply::Refused`].
//!
//! A message is a version byte and the value as `postcard` writes it. Both ends are the same
//! program, so the version never changes in a running system; the byte tells an upgrade that
//! restarted only one of the two from garbage.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::cgi::Size;

/// The longest message in bytes: an environment with the largest head that a server takes, and
/// less than the send buffer that an unprivileged process may have.
pub const MAX_MESSAGE: usize = 192 * 1024;

/// Variables that every script has with these values, if the mapping's `env` has no others: where
/// it finds programs that it names without a path, and UTF-8 without a country's customs. `LC_ALL`
/// is not among them; it would overrule a `LANG` that the configuration gives.
pub const FIXED_VARIABLES: [(&str, &str); 2] = [
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("LANG", "C.UTF-8"),
];

/// The first byte of every message.
const VERSION: u8 = 2;

/// From the network process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Start a script.
    Launch(Launch),
    /// End it: SIGTERM, and SIGKILL after the grace time.
    Kill,
    /// Read the configuration again.
    Reload,
}

/// What to start. The launcher finds the program itself, with its own reading of the
/// configuration; only what that maps is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The site's name.
    pub site: String,
    /// The path key as written.
    pub key: String,
    /// `SCRIPT_NAME`, decoded.
    pub script_name: Vec<u8>,
    /// The whole environment. What the launcher knows itself (the script's name and file, the
    /// mapping's `env`, [`FIXED_VARIABLES`]) it sets itself.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
}

/// From the launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The program was started.
    Started {
        /// Its process id.
        pid: u32,
        /// Present if it has ended already, and everything it started.
        exit: Option<Exit>,
    },
    /// It was not started, or the configuration was not taken.
    Refused(Refusal),
    /// The program has ended, and everything it started.
    Exited(Exit),
    /// The configuration was read and taken.
    Reloaded,
}

/// Why the launcher did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The launcher's configuration maps no such script.
    #[error("the launcher's configuration maps no such script: {0}")]
    NotMapped(String),
    /// Its file must not be run as it is.
    #[error("{0}")]
    Unsafe(String),
    /// The kernel did not run it.
    #[error("{step}: {}", std::io::Error::from_raw_os_error(*errno))]
    System {
        /// Which system call.
        step: String,
        /// Its error number.
        errno: i32,
    },
    /// The program in the `#!` line does not exist.
    #[error("its interpreter {0:?} does not exist")]
    MissingInterpreter(String),
    /// The configuration has errors.
    #[error("{0}")]
    Configuration(String),
    /// The message was not understood.
    #[error("the launcher did not understand: {0}")]
    Malformed(String),
}

/// How a script ended and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status or signal.
    pub end: End,
    /// Processor time of it and its waited-for children, in microseconds.
    pub cpu_us: u64,
    /// Peak resident memory in KiB.
    pub max_rss_kib: u64,
    /// A limit that it has met, where its control group tells.
    pub met: Option<Met>,
}

/// A limit that a script has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Met {
    /// `memory`, in bytes: the kernel has killed it.
    Memory(u64),
    /// `tasks`: it could not start another one.
    Tasks(u32),
}

impl std::fmt::Display for Met {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Tasks(tasks) => write!(out, "tasks limit {tasks}"),
            Self::Memory(bytes) => write!(out, "memory limit {}", Size(bytes)),
        }
    }
}

impl Refusal {
    /// A system call failed.
    pub fn system(step: &str, error: &std::io::Error) -> Self {
        Self::System {
            step: step.into(),
            errno: error.raw_os_error().unwrap_or_default(),
        }
    }
}

/// Exit status or signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
}

impl std::fmt::Display for End {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(out, "exit status {status}"),
            Self::Signal(signal) => write!(out, "signal {signal}"),
        }
    }
}

/// A message that is longer than [`MAX_MESSAGE`] and was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes is longer than the {MAX_MESSAGE} bytes of the largest")]
pub struct TooLong {
    /// Its length in bytes.
    pub length: usize,
}

/// A datagram that is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The other end is of another version of pywebd.
    #[error("the message is of version {0}, not {VERSION}: restart both parts of pywebd")]
    Version(u8),
    /// Not a message of this type, or with something behind it.
    #[error("the message is malformed")]
    Malformed,
}

impl Request {
    /// The datagram. Fails for an environment that is too large.
    pub fn encode(&self) -> Result<Vec<u8>, TooLong> {
        encode(self)
    }

    /// The request in a datagram.
    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        decode(datagram)
    }
}

impl Reply {
    /// The datagram. Fails for a reason that is too long.
    pub fn encode(&self) -> Result<Vec<u8>, TooLong> {
        encode(self)
    }

    /// The reply in a datagram.
    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        decode(datagram)
    }
}

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, TooLong> {
    let datagram = postcard::to_extend(message, vec![VERSION])
        .expect("a vector takes every byte, and every length in a message is known beforehand");
    match datagram.len() {
        length if length > MAX_MESSAGE => Err(TooLong { length }),
        _ => Ok(datagram),
    }
}

fn decode<T: DeserializeOwned>(datagram: &[u8]) -> Result<T, DecodeError> {
    match datagram {
        [VERSION, message @ ..] => match postcard::take_from_bytes(message) {
            Ok((message, [])) => Ok(message),
            _ => Err(DecodeError::Malformed),
        },
        [version, ..] => Err(DecodeError::Version(*version)),
        [] => Err(DecodeError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::sys::seqpacket::{Listener, Socket};

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..40)
    }

    fn requests() -> impl Strategy<Value = Request> {
        let launch = (
            any::<String>(),
            any::<String>(),
            bytes(),
            vec((bytes(), bytes()), 0..20),
        );
        prop_oneof![
            Just(Request::Kill),
            Just(Request::Reload),
            launch.prop_map(|(site, key, script_name, environment)| {
                Request::Launch(Launch {
                    site,
                    key,
                    script_name,
                    environment,
                })
            }),
        ]
    }

    fn replies() -> impl Strategy<Value = Reply> {
        let end = prop_oneof![
            any::<i32>().prop_map(End::Status),
            any::<i32>().prop_map(End::Signal),
        ];
        let met = prop_oneof![
            Just(None),
            any::<u64>().prop_map(|bytes| Some(Met::Memory(bytes))),
            any::<u32>().prop_map(|tasks| Some(Met::Tasks(tasks))),
        ];
        let refusal = prop_oneof![
            any::<String>().prop_map(Refusal::NotMapped),
            any::<String>().prop_map(Refusal::Unsafe),
            (any::<String>(), any::<i32>())
                .prop_map(|(step, errno)| Refusal::System { step, errno }),
            any::<String>().prop_map(Refusal::MissingInterpreter),
            any::<String>().prop_map(Refusal::Configuration),
            any::<String>().prop_map(Refusal::Malformed),
        ];
        let exit =
            (end, any::<u64>(), any::<u64>(), met).prop_map(|(end, cpu_us, max_rss_kib, met)| {
                Exit {
                    end,
                    cpu_us,
                    max_rss_kib,
                    met,
                }
            });
        prop_oneof![
            (any::<u32>(), proptest::option::of(exit.clone()))
                .prop_map(|(pid, exit)| Reply::Started { pid, exit }),
            refusal.prop_map(Reply::Refused),
            exit.prop_map(Reply::Exited),
            Just(Reply::Reloaded),
        ]
    }

    proptest! {
        #[test]
        fn a_request_arrives_as_it_was_sent(request in requests()) {
            prop_assert_eq!(Request::decode(&request.encode().unwrap()), Ok(request));
        }

        #[test]
        fn a_reply_arrives_as_it_was_sent(reply in replies()) {
            prop_assert_eq!(Reply::decode(&reply.encode().unwrap()), Ok(reply));
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(mut datagram in vec(any::<u8>(), 0..200)) {
            let _ = (Request::decode(&datagram), Reply::decode(&datagram));
            datagram.insert(0, VERSION);
            let _ = (Request::decode(&datagram), Reply::decode(&datagram));
        }

        #[test]
        fn a_message_cut_short_or_with_something_behind_it_is_malformed(
            request in requests(), cut in any::<prop::sample::Index>(), behind in any::<u8>()
        ) {
            let mut datagram = request.encode().unwrap();
            let shorter = &datagram[..=cut.index(datagram.len() - 1)];
            prop_assert_eq!(Request::decode(shorter), Err(DecodeError::Malformed));
            datagram.push(behind);
            prop_assert_eq!(Request::decode(&datagram), Err(DecodeError::Malformed));
        }
    }

    #[test]
    fn a_message_of_another_version_is_told_from_garbage() {
        assert_eq!(Request::decode(&[1, 1]), Err(DecodeError::Version(1)));
        assert_eq!(Request::decode(&[]), Err(DecodeError::Malformed));
    }

    #[test]
    fn an_environment_that_is_too_large_is_not_sent() {
        let launch = |length| {
            Request::Launch(Launch {
                site: "s".into(),
                key: "/".into(),
                script_name: b"/x".to_vec(),
                environment: vec![(b"QUERY_STRING".to_vec(), vec![b'q'; length])],
            })
        };
        assert!(launch(MAX_MESSAGE - 100).encode().is_ok());
        let error = launch(MAX_MESSAGE).encode().unwrap_err();
        assert!(error.length > MAX_MESSAGE);
    }

    #[test]
    fn the_longest_message_fits_in_a_datagram() {
        let listener = Listener::bind_abstract().unwrap();
        let near = Socket::connect(&listener.address().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        near.send(&vec![7; MAX_MESSAGE], &[]).unwrap();
        let mut buffer = vec![0; MAX_MESSAGE];
        assert_eq!(far.recv(&mut buffer).unwrap().0, MAX_MESSAGE);
    }

    /// The two lengths that a hostile datagram can lie about: of a string and of a list.
    #[test]
    fn a_length_beyond_the_message_allocates_nothing() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
        let string = [&[VERSION, 0][..], &huge].concat();
        let list = [&[VERSION, 0, 0, 0, 0][..], &huge].concat();
        for datagram in [string, list] {
            assert_eq!(Request::decode(&datagram), Err(DecodeError::Malformed));
        }
    }
}
