//! Which filesystems tell of every change.

use std::os::fd::AsFd;

/// Filesystems of this machine alone, whose every change goes through this kernel, by the magic number
/// of statfs(2): ext2 to ext4, XFS, btrfs, tmpfs, ramfs, overlay, F2FS, ZFS, bcachefs, and those that
/// never change, squashfs and EROFS.
const LOCAL: [u32; 11] = [
    0x0000_ef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x8584_58f6,
    0x794c_7630,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0xca45_1a4e,
    0x7371_7368,
    0xe0f5_e1e2,
];

/// Whether every change of what lies on the filesystem of this file or directory makes an event. On a
/// network's or a program's (FUSE) others change it, too.
pub(super) fn tells_changes(fd: impl AsFd) -> bool {
    let is_local = |magic: i64| u32::try_from(magic).is_ok_and(|magic| LOCAL.contains(&magic));
    rustix::fs::fstatfs(fd).is_ok_and(|filesystem| is_local(filesystem.f_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_make_up_tells_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = std::fs::File::open(directory.path()).unwrap();
        assert!(tells_changes(file));
        let status = std::fs::File::open("/proc/self/status").unwrap();
        assert!(!tells_changes(status));
    }
}
