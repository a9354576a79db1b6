//! A file of passwords is read or refused with the line, and credentials are parsed or not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pywebd::site::passwords::{Credentials, Passwords};

fuzz_target!(|input: (&[u8], &[u8], bool)| {
    let (file, value, weak) = input;
    let lines = file.split(|&byte| byte == b'\n').count();
    match Passwords::parse(file, weak) {
        Err(malformed) => {
            assert!(!malformed.is_empty());
            assert!(malformed.iter().all(|fault| (1..=lines).contains(&fault.line)));
        }
        Ok(passwords) => {
            if let Some(credentials) = Credentials::parse(value) {
                assert!(!passwords.remembers(&credentials), "nothing was verified yet");
            }
        }
    }
});
