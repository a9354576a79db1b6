//! The journal's socket (systemd's "native" protocol): an entry is a datagram, or, when it does not
//! fit into one, a sealed file in memory.
//!
//! journald takes entries of 768 MiB with 1024 fields; the longest here is a request's head, twice.

use std::{
    fs::File,
    io::{self, IoSlice, Write},
    mem::MaybeUninit,
    os::{fd::AsFd, unix::net::UnixDatagram},
    thread,
    time::Duration,
};

use rustix::{
    fs::{MemfdFlags, SealFlags},
    io::{Errno, retry_on_intr},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
};

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// How soon a journald is looked for again that is not there.
const AGAIN: Duration = Duration::from_millis(50);

/// A way to the journal, kept through restarts of journald.
#[derive(Debug)]
pub struct Journal(UnixDatagram);

impl Journal {
    /// The journal of this machine, when there is one.
    pub fn open() -> io::Result<Self> {
        connect().map(Self)
    }

    /// Writes an entry, and waits for journald so long as it takes: also for one that is being
    /// restarted. Fails only when the kernel does not let the entry through.
    pub fn send(&mut self, entry: &[u8]) -> io::Result<()> {
        loop {
            match self.attempt(entry, SendFlags::empty()) {
                Err(error) if is_absent(&error) => thread::sleep(AGAIN),
                outcome => return outcome,
            }
        }
    }

    /// Writes an entry if journald takes it now.
    pub fn try_send(&mut self, entry: &[u8]) -> io::Result<()> {
        self.attempt(entry, SendFlags::DONTWAIT)
    }

    /// Waits until there is a journald. One that is stopped is one.
    pub fn await_journald(&mut self) {
        // An entry without a field is none: journald does not write it down.
        let _ = self.send(b"");
    }

    fn attempt(&mut self, entry: &[u8], flags: SendFlags) -> io::Result<()> {
        match send(&self.0, entry, flags) {
            Err(error) if is_absent(&error) => {
                // Another journald has another socket by the same name.
                self.0 = connect()?;
                send(&self.0, entry, flags)
            }
            outcome => outcome,
        }
    }
}

fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SOCKET)?;
    Ok(socket)
}

/// Whether nobody listens, for now.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotConnected, NotFound};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | NotConnected | NotFound
    )
}

fn send(socket: &UnixDatagram, entry: &[u8], flags: SendFlags) -> io::Result<()> {
    let flags = flags | SendFlags::NOSIGNAL;
    match retry_on_intr(|| rustix::net::send(socket, entry, flags)) {
        Ok(_) => Ok(()),
        Err(Errno::MSGSIZE | Errno::NOBUFS) => send_in_file(socket, entry, flags),
        Err(error) => Err(error.into()),
    }
}

/// Passes an entry as a file that nobody can change any more, or journald would not map it.
fn send_in_file(socket: &UnixDatagram, entry: &[u8], flags: SendFlags) -> io::Result<()> {
    let options = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("pywebd-entry", options)?);
    file.write_all(entry)?;
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, all)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [file.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    retry_on_intr(|| rustix::net::sendmsg(socket, &[IoSlice::new(b"")], &mut control, flags))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{io::IoSliceMut, os::unix::fs::FileExt};

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

    use super::*;

    #[test]
    fn an_entry_longer_than_a_datagram_comes_whole_in_a_sealed_file() {
        let (near, far) = UnixDatagram::pair().unwrap();
        let entry: Vec<u8> = (0..=255).cycle().take(4 << 20).collect();
        Journal(near).try_send(&entry).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 8];
        let mut buffer = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(&far, &mut buffer, &mut control, flags).unwrap();
        assert_eq!(received.bytes, 0);
        let Some(RecvAncillaryMessage::ScmRights(mut rights)) = control.drain().next() else {
            panic!("no descriptor came");
        };
        let file = File::from(rights.next().unwrap());
        let mut read = vec![0; entry.len()];
        file.read_exact_at(&mut read, 0).unwrap();
        assert!(read == entry);
        let seals = rustix::fs::fcntl_get_seals(&file).unwrap();
        assert!(seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW));
    }

    #[test]
    fn a_journal_that_reads_nothing_keeps_nobody_who_does_not_want_to_wait() {
        let (near, far) = UnixDatagram::pair().unwrap();
        let mut journal = Journal(near);
        let error = (0..100_000).find_map(|_| journal.try_send(b"MESSAGE=x\n").err());
        assert_eq!(error.unwrap().kind(), io::ErrorKind::WouldBlock);
        far.recv(&mut [0; 64]).unwrap();
        journal.try_send(b"MESSAGE=y\n").unwrap();
    }
}
