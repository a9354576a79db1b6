//! The stack that children run on until they are programs.

use std::{ffi::c_void, io, ptr};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

/// The child's stack, in bytes: far more than a handful of system calls take.
pub const STACK: usize = 64 * 1024;

/// What lies below it and cannot be touched: a multiple of every page size there is.
const GUARD: usize = 64 * 1024;

/// A stack with a guard below it: a child that went beyond would end, and harm nothing.
#[derive(Debug)]
pub struct Stack {
    base: *mut c_void,
}

impl Stack {
    /// Maps one.
    pub fn new() -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::STACK;
        // SAFETY: a new mapping at an address that the kernel chooses touches no other.
        let base =
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), GUARD + STACK, access, flags)? };
        let stack = Self { base };
        // SAFETY: the guard is the beginning of the mapping just made, which nothing uses yet.
        unsafe { rustix::mm::mprotect(base, GUARD, MprotectFlags::empty())? };
        Ok(stack)
    }

    /// Where it ends that grows downwards.
    #[cfg(target_arch = "x86_64")]
    pub fn bottom(&mut self) -> *mut c_void {
        self.base.wrapping_byte_add(GUARD)
    }

    /// Where a stack that grows downwards begins.
    pub fn top(&mut self) -> *mut c_void {
        self.base.wrapping_byte_add(GUARD + STACK)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and no child uses it: starting
        // one borrows the stack until the child has left it.
        let unmapped = unsafe { rustix::mm::munmap(self.base, GUARD + STACK) };
        debug_assert!(unmapped.is_ok(), "the mapping is whole");
    }
}
