//! Starting a program at the cost of `vfork`: the child borrows this process's memory until it
//! calls `execve`, so nothing is copied, however large the process is (clone(2)).
//!
//! While the child runs, the thread that started it stands still, and every signal is blocked in
//! both. What the child does is written in [`become_program`] alone. It allocates nothing, takes
//! no lock and panics nowhere; each step is one system call, and all of them may be made where
//! an asynchronous signal handler may make them:
//!
//! | step | why it is there |
//! |---|---|
//! | `rt_sigaction` | an ignored signal would stay ignored in the program, and a handler run in the child |
//! | `setsid` | a session and process group of its own, to be killed by |
//! | `openat`, `write` | the control group, where `clone3` has not put it there |
//! | `fcntl`, `dup2` | the three streams become descriptors 0, 1 and 2 |
//! | `prlimit` | no core files; as many open files as programs expect; other limits |
//! | `umask` | 022 |
//! | `prctl` | no capabilities, and no set-user-ID program gives any |
//! | `rt_sigprocmask` | no signal is blocked in the program |
//! | `setgroups`, `setresgid`, `setresuid` | another user |
//! | `fchdir` | the working directory, which that user must be able to enter |
//! | `close_range` | no other descriptor, even one that was inherited by accident |
//! | `execve` | |
//!
//! A failed step is written into the memory that both share; no pipe is needed for it.
//!
//! The child's steps are a part of every script's time, and so is what it need not do because the
//! [`Spawner`] knows it beforehand: which signals have an action of their own, and the hard limits. A static
//! program starts in 86 of the child's system calls without that, and in 27 with it.

mod signals;
mod stack;

use std::{
    convert::Infallible,
    ffi::{CString, c_char, c_int, c_void},
    io, mem,
    os::fd::{AsRawFd, BorrowedFd, IntoRawFd},
    ptr,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::{Pid, Resource, Rlimit},
    thread::CapabilitiesSecureBits,
};

use crate::sys::wait;

use signals::{BlockedSignals, empty_set, set_mask};
use stack::Stack;

/// Bit 33 (clone(2)); the C library's constant is too narrow for it.
#[cfg(target_arch = "x86_64")]
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// What to start, and how it finds itself.
#[derive(Debug, Clone, Copy)]
pub struct Program<'p> {
    /// Its arguments, of which the first is the absolute path that is run.
    pub arguments: &'p [CString],
    /// The whole environment, each `NAME=value`.
    pub environment: &'p [CString],
    /// The working directory: any number above those of the standard streams.
    pub directory: BorrowedFd<'p>,
    /// Standard input, output and error. Any numbers do, also each other's.
    pub streams: [BorrowedFd<'p>; 3],
    /// Limits of resources, beside that on core files.
    pub limits: &'p [(Resource, u64)],
    /// The directory of its control group.
    pub group: Option<BorrowedFd<'p>>,
    /// Whom it runs as, if not as this process does.
    pub identity: Option<Identity<'p>>,
    /// Whether programs that it starts may gain the rights of their owner, and root's have those of
    /// root. Else it has no capabilities, also where root starts it.
    pub keeps_rights: bool,
}

/// Another user.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'p> {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The ids of all its groups.
    pub groups: &'p [u32],
}

/// Why a program was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {errno}")]
pub struct SpawnError {
    /// The system call that failed.
    pub step: &'static str,
    /// What it answered.
    pub errno: Errno,
}

impl SpawnError {
    fn at(step: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { step, errno }
    }

    /// From a call of the C library that has just failed.
    fn last(step: &'static str) -> Self {
        let errno = Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO);
        Self { step, errno }
    }
}

/// Starts programs, one at a time.
#[derive(Debug)]
pub struct Spawner {
    stack: Stack,
    /// The signals that this process ignores or handles.
    signals: Vec<c_int>,
    /// The hard limits of this process, of all that were asked for.
    maxima: Vec<(Resource, Option<u64>)>,
}

/// All that the child needs, made before it exists.
struct Plan<'p> {
    program: Program<'p>,
    /// Whether the child has to enter its control group itself.
    enters: bool,
    /// Ends with a null pointer.
    arguments: &'p [*const c_char],
    /// Ends with a null pointer.
    environment: &'p [*const c_char],
    limits: &'p [(Resource, Rlimit)],
    /// The signals to be reset.
    signals: &'p [c_int],
    failure: Option<SpawnError>,
}

impl Spawner {
    /// Maps the stack for the children. From now on no other signals are ignored or handled.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            stack: Stack::new()?,
            signals: signals::changed(),
            maxima: Vec::new(),
        })
    }

    /// Starts a program as a child and the leader of a session of its own. Returns when it runs,
    /// or when it was clear that it cannot: then no child is left.
    pub fn spawn(&mut self, program: Program<'_>) -> Result<Pid, SpawnError> {
        let arguments = pointers(program.arguments);
        let environment = pointers(program.environment);
        let limits = program.limits.iter().chain(&[(Resource::Core, 0)]);
        let limits: Vec<_> = limits
            .map(|&(resource, wanted)| (resource, self.limit(resource, wanted)))
            .collect();
        let signals = self.signals.clone();
        let mut plan = Plan {
            program,
            enters: false,
            arguments: &arguments,
            environment: &environment,
            limits: &limits,
            signals: &signals,
            failure: None,
        };
        let child = self.start(&mut plan)?;
        match plan.failure {
            None => Ok(child),
            Some(failure) => {
                // It has ended already, or is about to; what it says of its end is known.
                let _ = wait::reap(child);
                Err(failure)
            }
        }
    }

    /// A limit as near to `wanted` as the hard limit lets it be. A program may raise the number of its
    /// open files again, as some do, but no other limit.
    fn limit(&mut self, resource: Resource, wanted: u64) -> Rlimit {
        let known = self.maxima.iter().find(|(known, _)| *known == resource);
        let maximum = if let Some((_, maximum)) = known {
            *maximum
        } else {
            let maximum = rustix::process::getrlimit(resource).maximum;
            self.maxima.push((resource, maximum));
            maximum
        };
        let wanted = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        Rlimit {
            current: wanted,
            maximum: match resource {
                Resource::Nofile => maximum,
                _ => wanted,
            },
        }
    }

    fn start(&mut self, plan: &mut Plan<'_>) -> Result<Pid, SpawnError> {
        let blocked = BlockedSignals::new();
        let outcome = match plan.program.group {
            Some(group) => self.clone_into(group, plan),
            None => self.clone(plan),
        };
        drop(blocked);
        outcome
    }

    /// Makes the child in its control group. To move it there afterwards costs up to 10 ms, which all
    /// scripts would wait for (a writer of the kernel's `cgroup_threadgroup_rwsem`).
    #[cfg(target_arch = "x86_64")]
    fn clone_into(
        &mut self,
        group: BorrowedFd<'_>,
        plan: &mut Plan<'_>,
    ) -> Result<Pid, SpawnError> {
        let number = |n: c_int| u64::from(n.unsigned_abs());
        // SAFETY: all zeroes are valid arguments of clone3(2), a C structure of integers.
        let mut arguments: libc::clone_args = unsafe { mem::zeroed() };
        arguments.flags = number(libc::CLONE_VM) | number(libc::CLONE_VFORK) | CLONE_INTO_CGROUP;
        arguments.exit_signal = number(libc::SIGCHLD);
        arguments.stack = self.stack.bottom() as u64;
        arguments.stack_size = stack::STACK as u64;
        arguments.cgroup = number(group.as_raw_fd());
        let outcome: i64;
        // SAFETY: as in `clone`. There is no function of the C library for this call, whose child
        // comes back on another stack: there it calls `child`, which does not return.
        unsafe {
            std::arch::asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "xor ebp, ebp",
                "mov rdi, r12",
                "call {child}",
                "ud2",
                "2:",
                child = sym child,
                inlateout("rax") libc::SYS_clone3 => outcome,
                in("rdi") &raw const arguments,
                in("rsi") size_of::<libc::clone_args>(),
                in("r12") ptr::from_mut(plan),
                lateout("rcx") _,
                lateout("r11") _,
            );
        }
        let errno = match i32::try_from(outcome) {
            Ok(pid @ 1..) => return Ok(Pid::from_raw(pid).expect("it is not zero")),
            Ok(error) => Errno::from_raw_os_error(-error),
            Err(_) => Errno::OVERFLOW,
        };
        match errno {
            // Before Linux 5.7, and where a container's filter does not know the call.
            Errno::NOSYS | Errno::PERM | Errno::INVAL => {
                plan.enters = true;
                self.clone(plan)
            }
            errno => Err(SpawnError {
                step: "clone3",
                errno,
            }),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn clone_into(&mut self, _: BorrowedFd<'_>, plan: &mut Plan<'_>) -> Result<Pid, SpawnError> {
        plan.enters = true;
        self.clone(plan)
    }

    fn clone(&mut self, plan: &mut Plan<'_>) -> Result<Pid, SpawnError> {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the child runs `child` on a stack of its own that nobody else uses, because
        // `self` is borrowed mutably and CLONE_VFORK keeps this thread here until the child has
        // replaced its memory or ended. So `plan` outlives the child's use of it, and is not
        // touched here meanwhile. No handler can run in the child: all signals are blocked.
        let pid = unsafe {
            libc::clone(
                child,
                self.stack.top(),
                flags,
                ptr::from_mut(plan).cast::<c_void>(),
            )
        };
        Pid::from_raw(pid.max(0)).ok_or_else(|| SpawnError::last("clone"))
    }
}

/// A list as `execve` takes it: the last pointer is null.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    let pointers = texts.iter().map(|text| text.as_ptr());
    pointers.chain([ptr::null()]).collect()
}

/// Where the child begins.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `start` passes its `Plan`, which stays where it is and untouched while this runs.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    let Err(failure) = become_program(plan);
    plan.failure = Some(failure);
    // SAFETY: `_exit` ends the child at once and runs nothing of this process's memory.
    unsafe { libc::_exit(127) }
}

/// Runs in the child; see the module's documentation for what may stand here. The functions of
/// `rustix` used here are a system call each, without `errno` and cancellation.
fn become_program(plan: &Plan<'_>) -> Result<Infallible, SpawnError> {
    let Program {
        directory, streams, ..
    } = plan.program;
    signals::reset_actions(plan.signals);
    rustix::process::setsid().map_err(SpawnError::at("setsid"))?;
    if let (Some(group), true) = (plan.program.group, plan.enters) {
        enter(group).map_err(SpawnError::at("cgroup.procs"))?;
    }
    connect(streams).map_err(SpawnError::at("dup2"))?;
    for &(resource, limit) in plan.limits {
        rustix::process::setrlimit(resource, limit).map_err(SpawnError::at("setrlimit"))?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    drop_rights(plan.program.keeps_rights)?;
    set_mask(&empty_set(), None);
    if let Some(identity) = plan.program.identity {
        take_identity(identity)?;
    }
    rustix::process::fchdir(directory).map_err(SpawnError::at("fchdir"))?;
    close_others()?;
    // SAFETY: both null-terminated lists point to C strings that live as long as the plan; the
    // first argument may be null, which the kernel refuses. The call returns only if it fails.
    unsafe {
        libc::execve(
            plan.arguments[0],
            plan.arguments.as_ptr(),
            plan.environment.as_ptr(),
        );
    }
    Err(SpawnError::last("execve"))
}

/// Takes away what this process has been given to hand on, and what root's programs are given beyond
/// what belongs to root: the kernel makes no capabilities of the user id any longer. Root that may not
/// say so, without `CAP_SETPCAP`, keeps those that its bounding set leaves it.
fn drop_rights(keeps: bool) -> Result<(), SpawnError> {
    // Only kernels before 4.3 have none.
    let _ = rustix::thread::clear_ambient_capability_set();
    if keeps {
        return Ok(());
    }
    rustix::thread::set_no_new_privs(true).map_err(SpawnError::at("prctl"))?;
    let bits = CapabilitiesSecureBits::NO_ROOT | CapabilitiesSecureBits::NO_ROOT_LOCKED;
    let _ = rustix::thread::set_capabilities_secure_bits(bits);
    Ok(())
}

/// Becomes another user. The C library's functions would change all threads of the process whose
/// memory this is; the system calls change this child alone.
fn take_identity(identity: Identity<'_>) -> Result<(), SpawnError> {
    let Identity { uid, gid, groups } = identity;
    let outcome = |step, outcome: libc::c_long| match outcome {
        0 => Ok(()),
        _ => Err(SpawnError::last(step)),
    };
    // SAFETY: the pointer is to as many group ids as the call is told.
    let set = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    outcome("setgroups", set)?;
    // SAFETY: both calls take numbers only.
    let set = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    outcome("setresgid", set)?;
    // SAFETY: as before.
    let set = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    outcome("setresuid", set)
}

/// Moves this process to a control group. Zero is the process that writes it.
fn enter(group: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let entrance = rustix::fs::openat(group, c"cgroup.procs", flags, Mode::empty())?;
    rustix::io::write(entrance, b"0")?;
    Ok(())
}

/// Makes the streams descriptors 0, 1 and 2. One that has such a number itself is copied before: it
/// could be overwritten before its turn. The originals are closed with all the others.
fn connect(mut streams: [BorrowedFd<'_>; 3]) -> Result<(), Errno> {
    for stream in &mut streams {
        if stream.as_raw_fd() < 3 {
            let copy = rustix::io::fcntl_dupfd_cloexec(*stream, 3)?.into_raw_fd();
            // SAFETY: it was just made, and stays open until the program takes over or the child ends.
            *stream = unsafe { BorrowedFd::borrow_raw(copy) };
        }
    }
    let [stdin, stdout, stderr] = streams;
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)
}

/// Closes what the program is not to have. Before Linux 5.9 there is no such call: then only what
/// is marked to be closed on exec is closed, which all that pywebd opens is.
fn close_others() -> Result<(), SpawnError> {
    // SAFETY: the numbers are arguments of the system call, and the table of descriptors is the
    // child's own; nothing that it still uses is among them.
    match unsafe { libc::syscall(libc::SYS_close_range, 3, c_int::MAX, 0) } {
        0 => Ok(()),
        _ => match SpawnError::last("close_range") {
            SpawnError {
                errno: Errno::NOSYS,
                ..
            } => Ok(()),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests;
