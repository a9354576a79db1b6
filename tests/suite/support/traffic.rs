//! Clients that ask again and again, each in its own way, and take no answer but the right one.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::client::{Connection, HANG, Response};

/// So many requests a client sends at once that does not wait for answers.
const PIPELINE: usize = 5;

/// What a client does with an answer: without it the clients take the processors from the server and its
/// scripts.
const THOUGHT: Duration = Duration::from_millis(1);

/// Clients at work.
pub struct Traffic {
    clients: Vec<(JoinHandle<()>, Arc<AtomicUsize>)>,
    is_over: Arc<AtomicBool>,
}

/// What a client asks for.
#[derive(Clone)]
struct Task {
    address: SocketAddr,
    target: &'static str,
    text: &'static str,
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Traffic {
    /// Some clients of each kind for each target, of which the text of the answer is known.
    pub fn to(address: SocketAddr, targets: &[(&'static str, &'static str)]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for &(target, text) in targets {
            for behave in [Task::once, Task::again_and_again, Task::together] {
                let answered = Arc::new(AtomicUsize::new(0));
                let task = Task {
                    address,
                    target,
                    text,
                    is_over: Arc::clone(&is_over),
                    answered: Arc::clone(&answered),
                };
                clients.push((thread::spawn(move || behave(&task)), answered));
            }
        }
        Self { clients, is_over }
    }

    /// Waits until every client has had another answer, or has failed.
    pub fn flow(&self) {
        let begun = Instant::now();
        for (client, answered) in &self.clients {
            let before = answered.load(Ordering::Relaxed);
            while answered.load(Ordering::Relaxed) == before && !client.is_finished() {
                assert!(begun.elapsed() < HANG, "a client waits for its answer");
                thread::sleep(THOUGHT);
            }
        }
    }

    /// Ends the clients; how many answers they have had. Panics for one that has failed.
    pub fn end(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        let answered = self.clients.into_iter().map(|(client, answered)| {
            client.join().expect("no request fails");
            answered.load(Ordering::Relaxed)
        });
        answered.sum()
    }
}

impl Task {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn request(&self, fields: &str) -> String {
        format!("GET {} HTTP/1.1\r\nHost: x\r\n{fields}\r\n", self.target)
    }

    /// Takes an answer, and says whether the connection goes on behind it.
    fn answer(&self, connection: &mut Connection) -> bool {
        let response: Response = connection.response();
        assert_eq!(response.text(), self.text, "{response:?}");
        self.answered.fetch_add(1, Ordering::Relaxed);
        thread::sleep(THOUGHT);
        response.field("connection") != Some("close")
    }

    /// A connection for each request.
    fn once(&self) {
        while self.goes_on() {
            let mut connection = Connection::open(self.address);
            connection.send(self.request("Connection: close\r\n"));
            assert!(!self.answer(&mut connection));
            assert!(!connection.is_reset());
        }
    }

    /// One connection for as long as the server says nothing else.
    fn again_and_again(&self) {
        while self.goes_on() {
            let mut connection = Connection::open(self.address);
            while self.goes_on() {
                connection.send(self.request(""));
                if !self.answer(&mut connection) {
                    assert!(!connection.is_reset());
                    break;
                }
            }
        }
    }

    /// Some requests at a time; those behind a `close` are asked again.
    fn together(&self) {
        while self.goes_on() {
            let mut connection = Connection::open(self.address);
            let requests = self.request("").repeat(PIPELINE);
            while self.goes_on() {
                connection.send(&requests);
                if !(0..PIPELINE).all(|_| self.answer(&mut connection)) {
                    break;
                }
            }
        }
    }
}
