//! What a worker remembers, and for how long.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;

use super::*;
use crate::{
    config,
    files::cache::{Cache as Files, Size},
    service::RepeatableContent as Content,
};

const REQUEST: &[u8] = b"GET /page HTTP/1.1\r\nHost: example.org\r\n\r\n";

/// A worker's memory, with what it is asked about.
struct Memory {
    repeats: Repeats,
    current: Current,
    files: Arc<Files>,
    listener: Arc<Listen>,
}

fn snapshot() -> Arc<Snapshot> {
    let source = config::Source::Directory {
        root: "/".into(),
        listen: (*listener(80)).clone(),
        cgi: false,
        env: Vec::new(),
    };
    let loaded = config::load(&source, &|_| None);
    Arc::new(loaded.snapshot.unwrap())
}

fn listener(port: u16) -> Arc<Listen> {
    Arc::new(Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], port))))
}

fn head(date: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\ndate: {date}\r\n\r\n").into_bytes()
}

fn now() -> String {
    let date = validator::date(SystemTime::now());
    date.to_str().unwrap().to_owned()
}

impl Memory {
    fn new() -> Self {
        Self {
            repeats: Repeats::default(),
            current: Current::new(snapshot()),
            files: Arc::new(Files::new(Size::Bytes(1 << 20))),
            listener: listener(80),
        }
    }

    fn remember(&self, request: &[u8], head: &[u8], outlasts_its_date: bool) {
        let of = Repeatable {
            generation: self.files.generation().unwrap(),
            site: "a".into(),
            words: None,
            content: Content::Bytes(Bytes::from_static(b"page")),
            ends: false,
            outlasts_its_date,
        };
        let sent = Sent {
            head,
            listener: &self.listener,
            snapshot: &self.current.snapshot(),
        };
        self.repeats.remember(request, of, &sent);
    }

    /// Remembers an answer of just now. The second may turn meanwhile.
    fn remember_now(&self, outlasts_its_date: bool) {
        let begun = SystemTime::now();
        while self.found(REQUEST, &self.listener).is_none() {
            self.remember(REQUEST, &head(&now()), outlasts_its_date);
            assert!(begun.elapsed().unwrap() < Duration::from_secs(10));
        }
    }

    fn found(&self, request: &[u8], listener: &Listen) -> Option<Vec<u8>> {
        let now = Now {
            current: &self.current,
            files: &self.files,
        };
        let head = |known: Known<'_>| Some(known.message.clone());
        self.repeats.find(request, listener, now, head)
    }

    fn is_found(&self) -> bool {
        self.found(REQUEST, &self.listener).is_some()
    }
}

#[test]
fn the_same_bytes_get_the_head_with_the_date_of_now() {
    let memory = Memory::new();
    assert!(!memory.is_found());
    memory.remember_now(true);
    // As of another second.
    {
        let remembered = &mut *memory.repeats.0.borrow_mut();
        let mut answer = remembered.answers.get_mut(REQUEST).unwrap();
        let date = answer.date.clone();
        answer.head[date].copy_from_slice(b"Sun, 06 Nov 1994 08:49:37 GMT");
        answer.second = 784_111_777;
    }
    let found = memory.found(REQUEST, &memory.listener).unwrap();
    let found = String::from_utf8(found).unwrap();
    assert!(!found.contains("1994"), "{found}");
    assert_eq!(found.len(), head(&now()).len());
    assert!(memory.found(&REQUEST[1..], &memory.listener).is_none());
}

#[test]
fn what_holds_for_a_second_is_not_found_in_the_next() {
    let memory = Memory::new();
    memory.remember_now(false);
    {
        let remembered = &mut *memory.repeats.0.borrow_mut();
        remembered.answers.get_mut(REQUEST).unwrap().second -= 1;
    }
    assert!(!memory.is_found());
}

#[test]
fn what_came_in_elsewhere_is_not_found() {
    let memory = Memory::new();
    memory.remember_now(true);
    assert!(memory.found(REQUEST, &listener(81)).is_none());
    assert!(memory.found(REQUEST, &listener(80)).is_some());
}

#[test]
fn nothing_is_found_of_another_configuration_or_another_generation() {
    let memory = Memory::new();
    memory.remember_now(true);
    memory.current.swap(snapshot());
    assert!(!memory.is_found());
    memory.remember_now(true);
    memory.files.resize(Size::Bytes(2 << 20));
    assert!(!memory.is_found());
    memory.remember_now(true);
    memory.repeats.forget();
    assert!(!memory.is_found());
}

#[test]
fn what_is_not_one_head_or_has_another_date_is_not_remembered() {
    let memory = Memory::new();
    let twice = [REQUEST, REQUEST].concat();
    let with_content = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n";
    let long = [b"GET / HTTP/1.1\r\nX: ", &[b'x'; LONGEST][..], b"\r\n\r\n"].concat();
    for request in [
        &twice,
        &REQUEST[..20],
        with_content,
        &long,
        b"\r\n\r\n",
        b"",
    ] {
        memory.remember(request, &head(&now()), true);
        assert!(memory.found(request, &memory.listener).is_none());
    }
    for head in [
        head("Sun, 06 Nov 1994 08:49:37 GMT"),
        head("now"),
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        [&head(&now())[..], &head(&now())].concat(),
    ] {
        memory.remember(REQUEST, &head, true);
        assert!(!memory.is_found());
    }
}

#[test]
fn there_is_a_bound_for_all() {
    let memory = Memory::new();
    loop {
        let generation = memory.files.generation();
        for number in 0..30_000 {
            let request = format!("GET /{number:01000} HTTP/1.1\r\nHost: a\r\n\r\n");
            memory.remember(request.as_bytes(), &head(&now()), true);
        }
        // Everything is forgotten when something is mounted anywhere meanwhile.
        if memory.files.generation() == generation {
            break;
        }
    }
    let remembered = memory.repeats.0.borrow();
    assert!(remembered.answers.weight() <= MEMORY);
    assert!(remembered.answers.len() > 1000);
}
