//! A site in a temporary directory, the real server over it, and a client that shows every byte.

mod address;
mod client;
mod manager;
mod server;
mod traffic;

pub use address::{free, until_refused};
pub use client::{Connection, HANG, Response};
pub use manager::Manager;
pub use server::{Server, copy_program};
pub use traffic::Traffic;

use std::{
    ffi::{CStr, CString},
    fmt::Debug,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    ptr,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap},
    process::{Pid, WaitOptions, waitpid},
};

/// A site for every host.
pub const SITE: &str = "[site.a]\nhosts = [\"*\"]\nroot = \"ROOT\"\n";

/// A temporary directory with a site and, if wanted, a configuration.
pub struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    /// An empty site.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("root")).expect("the root");
        Self { directory }
    }

    /// The directory around the root: configurations and what must not be served lie there.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The root.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// A file below the root, modified an hour ago.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.root().join(name);
        write(&path, content.as_ref());
        let file = fs::File::open(&path).expect("the file");
        let time = SystemTime::now() - Duration::from_secs(3600);
        file.set_modified(time).expect("the time");
        self
    }

    /// An executable below the root.
    pub fn script(self, name: &str, content: &str) -> Self {
        let path = self.root().join(name);
        write(&path, content.as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the execute bit");
        self
    }

    /// Serves the root with `pywebd serve ROOT --cgi`.
    pub fn serve(self) -> Server {
        let root = self.root();
        let root = root.to_str().expect("a path in UTF-8");
        Server::start(&["serve", root, "--cgi", "--listen", "127.0.0.1:0"]).keep(self)
    }

    /// The same as a user for whom some files are unreadable: nobody, where the test is run by root.
    pub fn serve_as_nobody(self) -> Server {
        let root = self.root();
        let root = root.to_str().expect("a path in UTF-8");
        self.start_as_nobody(&["serve", root, "--cgi", "--listen", "127.0.0.1:0"], &[])
    }

    /// Serves a configuration as [`Self::configured`] does, as [`Self::serve_as_nobody`] does.
    pub fn configured_as_nobody(self, sites: &str) -> Server {
        self.configured_as_nobody_with(sites, &[])
    }

    /// The same with these variables.
    pub fn configured_as_nobody_with(self, sites: &str, variables: &[(&str, &str)]) -> Server {
        let config = self.config(sites);
        let config = config.to_str().expect("a path in UTF-8");
        self.start_as_nobody(&["serve", "--config", config], variables)
    }

    fn start_as_nobody(self, arguments: &[&str], variables: &[(&str, &str)]) -> Server {
        for path in [self.directory(), &self.root()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the rights");
        }
        Server::start_as_nobody(self.directory(), arguments, variables).keep(self)
    }

    /// Serves a configuration, in which `ROOT` stands for the root and a listener on a free port
    /// is added.
    pub fn configured(self, sites: &str) -> Server {
        let config = self.config(sites);
        let config = config.to_str().expect("a path in UTF-8");
        Server::start(&["serve", "--config", config]).keep(self)
    }

    /// Writes the configuration of [`Self::configured`] and returns its path.
    pub fn config(&self, sites: &str) -> PathBuf {
        self.config_at(sites, &["127.0.0.1:0"])
    }

    /// The same with listeners at these addresses.
    pub fn config_at(&self, sites: &str, listen: &[impl AsRef<str> + Debug]) -> PathBuf {
        let path = self.directory().join("pywebd.toml");
        let root = self.root();
        let sites = sites.replace("ROOT", root.to_str().expect("a path in UTF-8"));
        let text = format!("version = 1\nserver.listen = {listen:?}\n{sites}");
        // At once: a server that runs is not to read half of it.
        let new = path.with_extension("new");
        write(&new, text.as_bytes());
        fs::rename(new, &path).expect("the configuration");
        path
    }
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("the directories");
    fs::write(path, content).expect("the file");
}

/// Writes over a file through a mapping, which has ended when this returns. The file is not shorter than
/// the content, and nobody shortens it meanwhile.
///
/// A process of its own opens it: what this one has open, a test beside this one hands to the program that
/// it starts, and the file is closed only when that program has begun.
pub fn write_through_mapping(path: &Path, content: &[u8]) -> io::Result<()> {
    assert!(
        fs::metadata(path)?.len() >= content.len() as u64,
        "what is not mapped cannot be written"
    );
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the child calls nothing but the system, as it must in a process that had several threads.
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            let written = map_and_write(&path, content);
            libc::_exit(written.map_or_else(Errno::raw_os_error, |()| 0));
        }
        Pid::from_raw(child).ok_or_else(io::Error::last_os_error)?
    };
    let (_, status) = waitpid(Some(child), WaitOptions::empty())?.expect("the child has ended");
    match status.exit_status() {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(error)),
        None => Err(io::Error::other("the process that maps was killed")),
    }
}

fn map_and_write(path: &CStr, content: &[u8]) -> rustix::io::Result<()> {
    let file = open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let (length, flags) = (content.len(), MapFlags::SHARED);
    // SAFETY: the mapping is as long as the content and no longer than the file, is known here alone, and is not used
    // after its end.
    unsafe {
        let mapping = mmap(ptr::null_mut(), length, protection, flags, &file, 0)?;
        ptr::copy_nonoverlapping(content.as_ptr(), mapping.cast(), length);
        let written = msync(mapping, length, MsyncFlags::SYNC);
        munmap(mapping, length)?;
        written
    }
}
