//! A client that is quick, keeps its connections, and takes an answer that breaks off for what it is.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A request that takes longer hangs.
const HANG: Duration = Duration::from_secs(30);

/// Connections to a server, one of which takes the next request.
pub struct Client {
    address: SocketAddr,
    connections: Vec<Option<BufReader<TcpStream>>>,
}

/// An answer, with what a test looks at.
#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    pub length: Option<usize>,
    pub coding: Option<String>,
    pub tag: Option<String>,
    /// As it came, without the chunks.
    pub content: Vec<u8>,
    is_chunked: bool,
    closes: bool,
}

impl Client {
    pub fn new(address: SocketAddr, connections: usize) -> Self {
        Self {
            address,
            connections: (0..connections).map(|_| None).collect(),
        }
    }

    /// The answer to a request on one of the connections. Fails where the server closes before the
    /// end of the answer.
    pub fn ask(&mut self, which: usize, request: &str) -> io::Result<Response> {
        let place = which % self.connections.len();
        let mut connection = match self.connections[place].take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        connection.get_mut().write_all(request.as_bytes())?;
        let response = read(&mut connection, request.starts_with("HEAD "))?;
        if !response.closes {
            self.connections[place] = Some(connection);
        }
        Ok(response)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HANG))?;
        Ok(BufReader::with_capacity(128 * 1024, stream))
    }
}

fn read(connection: &mut BufReader<TcpStream>, is_head: bool) -> io::Result<Response> {
    let mut response = Response::default();
    let mut line = String::new();
    loop {
        line.clear();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if response.status == 0 {
            let status = text.split(' ').nth(1);
            response.status = status.and_then(|s| s.parse().ok()).unwrap_or_default();
        } else if let Some((name, value)) = text.split_once(':') {
            response.take(name, value.trim());
        }
    }
    if is_head || matches!(response.status, 204 | 304) {
        return Ok(response);
    }
    if response.is_chunked {
        read_chunks(connection, &mut response.content)?;
    } else if let Some(length) = response.length {
        response.content = vec![0; length];
        connection.read_exact(&mut response.content)?;
    } else {
        connection.read_to_end(&mut response.content)?;
        response.closes = true;
    }
    Ok(response)
}

fn read_chunks(connection: &mut impl BufRead, content: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        connection.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16);
        let size = size.map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let filled = content.len();
        content.resize(filled + size, 0);
        connection.read_exact(&mut content[filled..])?;
        connection.read_exact(&mut [0; 2])?;
        if size == 0 {
            return Ok(());
        }
    }
}

impl Response {
    fn take(&mut self, name: &str, value: &str) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => self.length = value.parse().ok(),
            "content-encoding" => self.coding = Some(value.to_owned()),
            "etag" => self.tag = Some(value.to_owned()),
            "transfer-encoding" => self.is_chunked = true,
            "connection" => self.closes |= value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }

    /// The content without its coding.
    pub fn decoded(&self) -> io::Result<Vec<u8>> {
        let mut decoded = Vec::new();
        let bytes = &*self.content;
        match self.coding.as_deref() {
            None => decoded.extend_from_slice(bytes),
            Some("gzip") => {
                flate2::read::GzDecoder::new(bytes).read_to_end(&mut decoded)?;
            }
            Some("br") => {
                brotli::Decompressor::new(bytes, 4096).read_to_end(&mut decoded)?;
            }
            Some("zstd") => decoded = zstd::decode_all(bytes)?,
            Some(other) => return Err(io::Error::other(format!("the coding {other}"))),
        }
        Ok(decoded)
    }
}
