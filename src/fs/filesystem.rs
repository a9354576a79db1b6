//! Of which files and directories every change is told, and on which filesystems a look may never end.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, StatxAttributes, StatxFlags, ioctl_getflags, statx};

/// Filesystems of this machine alone, whose every change goes through this kernel, by the magic number
/// of statfs(2): ext2 to ext4, XFS, btrfs, tmpfs, ramfs, F2FS, bcachefs, and those that never change,
/// squashfs and EROFS. Of ZFS a dataset can be exchanged as a whole.
const LOCAL: [u32; 9] = [
    0x0000_ef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x8584_58f6,
    0xf2f5_2010,
    0xca45_1a4e,
    0x7371_7368,
    0xe0f5_e1e2,
];

/// Filesystems that wait for another machine or a program, by the same number: NFS, SMB (two), Ceph, 9P,
/// AFS (two), Coda, Lustre, FUSE, and autofs, which makes mounts.
const REMOTE: [u32; 11] = [
    0x0000_6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x00c3_6400,
    0x0102_1997,
    0x5346_414f,
    0x6b41_4653,
    0x7375_7245,
    0x0bd0_0bd0,
    0x6573_5546,
    0x0000_0187,
];

/// The same by the names that mountinfo has, and all whose name begins with `fuse.`. That of autofs is left
/// out: to ask it would mount what nobody wants.
const REMOTE_NAMES: [&[u8]; 12] = [
    b"nfs",
    b"nfs4",
    b"cifs",
    b"smb3",
    b"ceph",
    b"9p",
    b"afs",
    b"coda",
    b"lustre",
    b"fuse",
    b"fuseblk",
    b"virtiofs",
];

/// The overlay of containers: told, but for a file of a lower layer with several names, for which it
/// forgets who watches it.
const OVERLAY: u32 = 0x794c_7630;

/// `FS_CASEFOLD_FL`: a directory that takes names for the same which are written differently.
const CASEFOLD: u32 = 0x4000_0000;

/// Whether what is asked of an open file or directory may never be answered.
pub fn may_hang(fd: impl AsFd) -> bool {
    magic(fd).is_none_or(|magic| REMOTE.contains(&magic))
}

/// The same of a filesystem by its name in `/proc/PID/mountinfo`.
pub fn kind_may_hang(name: &[u8]) -> bool {
    name.starts_with(b"fuse.") || REMOTE_NAMES.contains(&name)
}

/// Whether every change of a file or a directory makes an event. What lies on a network's filesystem,
/// or a program's (FUSE), others change, too; what is encrypted by directories changes with its keys.
pub fn tells_changes(fd: impl AsFd) -> bool {
    let Some(magic) = magic(&fd) else {
        return false;
    };
    let Ok(status) = statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS) else {
        return false;
    };
    let is_directory = FileType::from_raw_mode(status.stx_mode.into()) == FileType::Directory;
    let has_one_name = is_directory || status.stx_nlink == 1;
    let is_local = LOCAL.contains(&magic) || (magic == OVERLAY && has_one_name);
    is_local && !status.stx_attributes.contains(StatxAttributes::ENCRYPTED)
}

fn magic(fd: impl AsFd) -> Option<u32> {
    u32::try_from(rustix::fs::fstatfs(fd).ok()?.f_type).ok()
}

/// Whether events name what is in an open directory as requests do.
pub fn tells_names(directory: impl AsFd) -> bool {
    // A filesystem without such flags has no such directories.
    let flags = ioctl_getflags(&directory).map_or(0, |flags| flags.bits());
    flags & CASEFOLD == 0 && tells_changes(directory)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_programs_make_up_tells_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("x")).unwrap();
        assert!(tells_changes(file));
        assert!(tells_names(File::open(directory.path()).unwrap()));
        for path in ["/proc/self/status", "/proc"] {
            assert!(!tells_changes(File::open(path).unwrap()), "{path}");
        }
    }
}
