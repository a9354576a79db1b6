//! Content without a length, taken in whole before the script starts: for programs that read as much
//! as `CONTENT_LENGTH` says and nothing without it, as most do that are older than chunked uploads.
//!
//! It goes to a file without a name, so that neither memory nor disk keeps any of it afterwards.

use std::{
    fs::File,
    io::{self, Seek, Write},
};

use bytes::Bytes;
use http::StatusCode;
use rustix::io::Errno;

use crate::{
    cgi::process::next_data,
    semantics::failure::{Cause, Failure},
};

/// Where large temporary files belong (file-hierarchy(7)); `/tmp` may be memory.
const DIRECTORY: &str = "/var/tmp";

/// So much is written at once.
const CHUNK: usize = 256 * 1024;

/// Content that is here as a whole.
#[derive(Debug)]
pub struct Spooled {
    /// It, from the beginning.
    pub file: File,
    /// Its length in bytes.
    pub length: u64,
}

/// Takes in all of a request's content. Fails with it, and where the disk has no room for it.
pub async fn spool<C>(content: &mut C) -> Result<Spooled, Failure>
where
    C: http_body::Body<Data = Bytes, Error = Failure> + Unpin,
{
    let mut spooled = waiting(|| {
        let file = tempfile::tempfile_in(DIRECTORY).or_else(|_| tempfile::tempfile())?;
        Ok(Spooled { file, length: 0 })
    })
    .await?;
    let mut chunk = Vec::new();
    while !content.is_end_stream() {
        let Some(data) = next_data(content).await? else {
            break;
        };
        chunk.extend_from_slice(&data);
        if chunk.len() >= CHUNK {
            spooled = waiting(move || spooled.write(&chunk)).await?;
            chunk = Vec::new();
        }
    }
    waiting(move || spooled.write(&chunk)?.rewound()).await
}

impl Spooled {
    fn write(mut self, bytes: &[u8]) -> io::Result<Self> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(self)
    }

    fn rewound(mut self) -> io::Result<Self> {
        self.file.rewind()?;
        Ok(self)
    }
}

/// Does something on a thread that may wait for the disk.
async fn waiting<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|_| Err(io::Error::other("the server is stopping")));
    done.map_err(|error| {
        let action = "spooling the request's content";
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => {
                let error = error.to_string();
                let cause = Cause::System { action, error };
                Failure::new(StatusCode::INSUFFICIENT_STORAGE, cause)
            }
            _ => Failure::system(action, &error),
        }
    })
}
