//! Safe functions over the kernel, and the only unsafe code of pywebd.

#![allow(unsafe_code)]

pub mod adopt;
pub mod exec_filter;
pub mod file_slice;
pub mod fork;
pub mod heap;
pub mod kernel_copy;
pub mod nonblocking;
pub mod receive;
pub mod seqpacket;
pub mod signals;
pub mod spawn;
pub mod syn_filter;
pub mod unsent;
pub mod wait;
pub mod watched;
