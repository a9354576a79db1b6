//! Which of the places that a configuration names are on a filesystem that does not answer, since the machine
//! or the program that it waits for is gone. A system call there never ends, so none is made.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::fs::filesystem::kind_may_hang;

/// How long a filesystem may take to answer: so many times so long. After a pause of the machine there is
/// still time.
const PATIENCE: (usize, Duration) = (10, Duration::from_millis(500));

/// The same once one has not answered: a server that is gone may have many, and systemd waits for a start.
const LITTLE_PATIENCE: (usize, Duration) = (2, Duration::from_millis(500));

/// Symbolic links on the way to a place: as many as the kernel follows.
const LINKS: usize = 40;

/// Threads that wait for an answer of a mount.
static WAITING: Mutex<Vec<(Mount, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// Where a filesystem is mounted. Another one that comes to the same place later has another number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Mount {
    place: PathBuf,
    number: u64,
}

/// The looks of one reading.
#[derive(Debug)]
pub(super) struct Looks {
    /// Where filesystems are mounted that may not answer.
    mounts: Vec<Mount>,
    /// Which of those that were asked do not.
    asked: RefCell<BTreeMap<Mount, bool>>,
}

impl Looks {
    /// With the filesystems that are mounted now.
    pub fn new() -> Self {
        let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
        Self {
            mounts: remote(&table),
            asked: RefCell::default(),
        }
    }

    /// Looks at a place; none where its filesystem does not answer.
    pub fn at<T>(&self, place: &Path, look: impl FnOnce() -> T) -> Option<T> {
        (!self.is_silent(place)).then(look)
    }

    /// Whether a place is on, or behind, a filesystem that does not answer.
    pub fn is_silent(&self, place: &Path) -> bool {
        if self.mounts.is_empty() {
            return false;
        }
        let names_of = |path: &Path| -> Vec<OsString> {
            let names = path.components().rev();
            names.map(|name| name.as_os_str().to_owned()).collect()
        };
        let mut names = names_of(place);
        let (mut at, mut links) = (PathBuf::new(), 0);
        while let Some(name) = names.pop() {
            match Path::new(&name).components().next() {
                Some(Component::ParentDir) => {
                    at.pop();
                }
                Some(Component::CurDir) | None => {}
                _ => at.push(&name),
            }
            // The last one covers those before it.
            let here = self.mounts.iter().rfind(|mount| mount.place == at);
            if here.is_some_and(|mount| self.does_not_answer(mount)) {
                return true;
            }
            if let Ok(target) = fs::read_link(&at)
                && links < LINKS
            {
                links += 1;
                at.pop();
                names.extend(names_of(&target));
            }
        }
        false
    }

    /// The filesystems that do not answer, of those that were asked.
    pub fn silent(&self) -> Vec<PathBuf> {
        let asked = self.asked.borrow();
        let silent = asked.iter().filter(|(_, is_silent)| **is_silent);
        silent.map(|(mount, _)| mount.place.clone()).collect()
    }

    fn does_not_answer(&self, mount: &Mount) -> bool {
        let mut asked = self.asked.borrow_mut();
        let patience = if asked.values().any(|is_silent| *is_silent) {
            LITTLE_PATIENCE
        } else {
            PATIENCE
        };
        let known = asked.entry(mount.clone());
        *known.or_insert_with(|| !answers(mount, patience))
    }
}

/// Whether a filesystem answers, asked by a thread that can be left with the question.
fn answers(mount: &Mount, (turns, turn): (usize, Duration)) -> bool {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.retain(|(_, thread)| !thread.is_finished());
    if waiting.iter().any(|(known, _)| known == mount) {
        return false;
    }
    let (asking, end) = mpsc::channel::<()>();
    let place = mount.place.clone();
    let ask = move || {
        let _asking = asking;
        // Whatever it says: no attribute is kept of this, so it has to be asked.
        let _ = rustix::fs::statfs(&place);
    };
    let Ok(thread) = thread::Builder::new().name("mount".into()).spawn(ask) else {
        return true;
    };
    let is_late = (0..turns).all(|_| end.recv_timeout(turn) == Err(RecvTimeoutError::Timeout));
    if is_late {
        waiting.push((mount.clone(), thread));
    }
    !is_late
}

/// The filesystems that wait for others, of the table in `/proc/PID/mountinfo`.
fn remote(table: &[u8]) -> Vec<Mount> {
    let lines = table.split(|&byte| byte == b'\n');
    let mounts = lines.filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let number = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let place = fields.nth(3)?;
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        kind_may_hang(kind).then(|| Mount {
            place: OsString::from_vec(unescaped(place)).into(),
            number,
        })
    });
    mounts.collect()
}

/// A name without the escapes of mountinfo: a backslash and three octal digits.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut parts = name.split(|&byte| byte == b'\\');
    let mut bytes = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(part.len().min(3));
        let digits = str::from_utf8(digits).unwrap_or_default();
        bytes.extend(u8::from_str_radix(digits, 8));
        bytes.extend_from_slice(rest);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mount(place: impl Into<PathBuf>, number: u64) -> Mount {
        Mount {
            place: place.into(),
            number,
        }
    }

    #[test]
    fn mounts_that_wait_for_others_are_known_by_their_kind() {
        let table = b"\
            24 31 0:23 / /proc rw,nosuid shared:13 - proc proc rw\n\
            31 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
            60 31 0:50 / /srv/a\\040b rw,relatime shared:2 master:3 - nfs4 server:/x rw\n\
            61 31 0:51 / /mnt/s rw - fuse.sshfs user@host: rw\n\
            62 31 0:52 / /home rw - autofs /etc/auto.home rw\n\
            63 31 0:53 / /vm rw - virtiofs shared rw\n";
        assert_eq!(
            remote(table),
            [mount("/srv/a b", 60), mount("/mnt/s", 61), mount("/vm", 63)]
        );
    }

    #[test]
    fn a_place_is_as_silent_as_what_a_link_on_the_way_leads_to() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("sites/good")).unwrap();
        symlink("../gone/www", at("sites/link")).unwrap();
        symlink(at("sites"), at("all")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let looks = Looks {
            mounts: vec![mount(at("gone"), 7), mount(at("there"), 8)],
            asked: BTreeMap::from([(mount(at("gone"), 7), true), (mount(at("there"), 8), false)])
                .into(),
        };
        for (place, is_silent) in [
            ("gone", true),
            ("gone/www/x", true),
            ("sites/../gone", true),
            ("sites/link/x", true),
            ("all/link", true),
            ("all/good", false),
            ("there/x", false),
            ("gone.not", false),
            ("loop", false),
            ("missing/x", false),
        ] {
            assert_eq!(looks.is_silent(&at(place)), is_silent, "{place}");
        }
        assert_eq!(looks.silent(), [at("gone")]);
    }
}
