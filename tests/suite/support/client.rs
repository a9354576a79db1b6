//! A client that sends what it is told and shows every byte that comes back.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use rustix::net::{self, AddressFamily, SocketType};

/// A test that waits longer has failed: the only meaning of a time in this suite.
pub const HANG: Duration = Duration::from_secs(20);

/// A connection to the server.
pub struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer, taken apart.
#[derive(Debug, Clone)]
pub struct Response {
    /// `HTTP/1.1 200 OK`
    pub status_line: String,
    /// Fields in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Content, with the chunks put together.
    pub content: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the server accepts"))
    }

    /// A connection from this address of this machine.
    pub fn open_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        net::bind(&socket, &SocketAddr::from((source, 0))).expect("every 127.x.y.z is here");
        net::connect(&socket, &address).expect("the server accepts");
        Self::over(TcpStream::from(socket))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(HANG)).expect("a timeout");
        stream.set_write_timeout(Some(HANG)).expect("a timeout");
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the server reads");
        self
    }

    /// Ends our direction only.
    pub fn finish_sending(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).expect("half a close");
        self
    }

    /// The same connection, for another thread.
    pub fn again(&self) -> Self {
        Self {
            stream: self.stream.try_clone().expect("a descriptor"),
            unread: Vec::new(),
        }
    }

    /// Sends, unless the server has closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The status of the answer to a request, whose content is taken; none where the server closes
    /// without one.
    pub fn try_request(&mut self, request: &str) -> Option<u16> {
        if !self.try_send(request.as_bytes()) {
            return None;
        }
        let mut first = [0; 1];
        match self.stream.peek(&mut first) {
            Ok(1..) => Some(self.response().status()),
            _ => None,
        }
    }

    /// At most so many bytes of what comes; returns how many.
    pub fn read_some(&mut self, most: usize) -> usize {
        let mut bytes = std::mem::take(&mut self.unread);
        if bytes.is_empty() {
            bytes = vec![0; most];
            return self.stream.read(&mut bytes).expect("the server sends");
        }
        bytes.len()
    }

    /// Reads to the end, and says whether that was a reset.
    pub fn is_reset(&mut self) -> bool {
        let outcome = self.stream.read_to_end(&mut self.unread);
        outcome.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    }

    /// Everything until the server closes.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.unread);
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
        bytes
    }

    /// Bytes until `end` has come, with it.
    pub fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.unread, end) {
                return self.unread.drain(..at + end.len()).collect();
            }
            assert!(
                self.fill() > 0,
                "closed before {:?}",
                String::from_utf8_lossy(end)
            );
        }
    }

    /// The answer to a request with content.
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// The answer to a request with this method: that to HEAD has no content.
    pub fn response_to(&mut self, method: &str) -> Response {
        let head = self.read_until(b"\r\n\r\n");
        let head = String::from_utf8(head).expect("a head in UTF-8");
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().expect("a status line").to_owned();
        let fields = lines
            .map(|line| {
                let (name, value) = line.split_once(':').expect("a field");
                (name.to_ascii_lowercase(), value.trim().to_owned())
            })
            .collect();
        let mut response = Response {
            status_line,
            fields,
            content: Vec::new(),
        };
        if response.status() == 100 {
            return self.response_to(method);
        }
        if method != "HEAD" && ![204, 304].contains(&response.status()) {
            response.content = self.content(&response);
        }
        response
    }

    fn content(&mut self, response: &Response) -> Vec<u8> {
        if response.field("transfer-encoding") == Some("chunked") {
            return self.chunks();
        }
        match response.field("content-length") {
            Some(length) => self.read_exactly(length.parse().expect("a length")),
            None => self.read_to_end(),
        }
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        loop {
            let line = self.read_until(b"\r\n");
            let line = std::str::from_utf8(&line).expect("a chunk size").trim();
            let size = usize::from_str_radix(line, 16).expect("a chunk size");
            let chunk = self.read_exactly(size);
            content.extend(chunk);
            self.read_until(b"\r\n");
            if size == 0 {
                return content;
            }
        }
    }

    fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            assert!(self.fill() > 0, "closed in the middle of the content");
        }
        self.unread.drain(..length).collect()
    }

    fn fill(&mut self) -> usize {
        let mut buffer = vec![0; 64 * 1024];
        let count = loop {
            match self.stream.read(&mut buffer) {
                // A timeout on a socket makes the kernel give up for any signal.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => break outcome.expect("the server answers"),
            }
        };
        self.unread.extend_from_slice(&buffer[..count]);
        count
    }
}

impl Response {
    pub fn status(&self) -> u16 {
        self.status_line[9..12].parse().expect("a status")
    }

    /// The value of a field; the name in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name);
        values.next().map(|(_, value)| &**value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
