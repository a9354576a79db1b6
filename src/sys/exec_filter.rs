//! A filter on this process's system calls that lets it start no program.
//!
//! Whoever takes a process over may write a program into memory (`memfd_create`) or find one that is
//! installed, and no mount option covers both. A program of seccomp(2) does: it refuses execve(2) and
//! execveat(2) with EPERM, for good. It looks at nothing but the call's number, so the kernel, from
//! Linux 5.11, knows beforehand that every other call passes, and does not run it for them.

use std::{io, mem::offset_of};

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, PR_SET_SECCOMP,
    SECCOMP_MODE_FILTER, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, seccomp_data, sock_filter,
    sock_fprog,
};

/// Whose numbers the calls below have; a processor may know the calls of another architecture as well.
/// As linux/audit.h makes it: 64 bits, little-endian, ELF's number of the machine.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_0000 | 0x3e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_0000 | 0xb7)
} else {
    None
};

/// From here on are the calls of x32, the other numbers of x86-64. Elsewhere there are none.
const X32: u32 = 0x4000_0000;

/// From here on this thread, and all that it will start, executes nothing. For a process of one
/// thread that has `no_new_privs`.
///
/// It is by prctl(2), since seccomp(2) is not in systemd's `@system-service`.
pub fn attach() -> io::Result<()> {
    let Some(architecture) = ARCHITECTURE else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let number = |call| u32::try_from(call).map_err(io::Error::other);
    let load = |offset| {
        let offset = u32::try_from(offset).map_err(io::Error::other)?;
        statement(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
    };
    let jump = |condition, yes, no, value| statement(BPF_JMP | condition | BPF_K, yes, no, value);
    let end = |action| statement(BPF_RET | BPF_K, 0, 0, action);
    let mut program = [
        load(offset_of!(seccomp_data, arch))?,
        jump(BPF_JEQ, 0, 5, architecture)?,
        load(offset_of!(seccomp_data, nr))?,
        jump(BPF_JGE, 3, 0, X32)?,
        jump(BPF_JEQ, 2, 0, number(libc::SYS_execve)?)?,
        jump(BPF_JEQ, 1, 0, number(libc::SYS_execveat)?)?,
        end(SECCOMP_RET_ALLOW)?,
        end(SECCOMP_RET_ERRNO | number(libc::EPERM.into())?)?,
    ];
    let filter = sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    let mode = libc::c_ulong::from(SECCOMP_MODE_FILTER);
    // SAFETY: the kernel copies the program, which lives as long as the call and has as many statements
    // as the filter says.
    let outcome = unsafe { libc::prctl(PR_SET_SECCOMP, mode, &raw const filter) };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One statement: so many others are passed over if its condition holds, and if not.
fn statement(code: u32, jt: u8, jf: u8, k: u32) -> io::Result<sock_filter> {
    let code = u16::try_from(code).map_err(io::Error::other)?;
    Ok(sock_filter { code, jt, jf, k })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, process::Command};

    use rustix::thread::set_no_new_privs;

    use super::*;

    /// What comes of starting a program in a child that has the filter and then does this.
    fn start(before: fn() -> io::Result<()>) -> Option<i32> {
        let filter = move || {
            set_no_new_privs(true)?;
            attach()?;
            before()
        };
        let mut command = Command::new("/bin/true");
        // SAFETY: the function calls nothing but the system.
        let command = unsafe { command.pre_exec(filter) };
        command.spawn().err()?.raw_os_error()
    }

    #[test]
    fn a_program_is_not_started() {
        assert_eq!(start(|| Ok(())), Some(libc::EPERM));
    }

    #[test]
    fn a_program_in_memory_is_not_started() {
        let outcome = start(|| {
            let none: [*const libc::c_char; 1] = [std::ptr::null()];
            // SAFETY: the names end with a zero, the lists with a null.
            unsafe {
                let file = libc::memfd_create(c"program".as_ptr(), 0);
                let to = none.as_ptr();
                let flags = libc::AT_EMPTY_PATH;
                libc::syscall(libc::SYS_execveat, file, c"".as_ptr(), to, to, flags);
            }
            Err(io::Error::last_os_error())
        });
        assert_eq!(outcome, Some(libc::EPERM));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn calls_by_other_numbers_are_refused() {
        let outcome = start(|| {
            // SAFETY: getpid has no arguments.
            unsafe { libc::syscall(libc::SYS_getpid + i64::from(X32)) };
            Err(io::Error::last_os_error())
        });
        assert_eq!(outcome, Some(libc::EPERM));
    }
}
