//! Users and their passwords, from a file such as `htpasswd` writes.
//!
//! A wrong password is checked for as long as the costliest hash of the file takes, whether its user
//! exists or not. What a hash costs is paid once: the pair that was right last is remembered for each
//! user, as a keyed digest in memory. The file's content is dropped with the configuration it was read
//! for, and what is remembered with it.

mod hash;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit, Mac};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use hash::Hash;

/// Longer passwords are wrong: some hashes take a time that grows with the square of the length.
const LONGEST: usize = 512;

/// The users of one file.
pub struct Passwords {
    users: HashMap<Box<[u8]>, Hash>,
    /// The costliest hash, which is checked too where none or a cheaper one was.
    decoy: Option<Hash>,
    key: [u8; 32],
    verified: Mutex<HashMap<Box<[u8]>, Digest>>,
}

type Digest = [u8; 32];

/// A user and a password, as a client sends them.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub user: Box<[u8]>,
    /// The password.
    pub password: Box<[u8]>,
}

/// What is wrong in a file, and in which line, from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line.
    pub line: usize,
    /// What is wrong, for the person who wrote it. Never has a hash or a password in it.
    pub reason: String,
}

impl Passwords {
    /// Reads a file: `user:hash` in each line; empty lines and those that begin with `#` do not
    /// count. `weak` also takes MD5 and plain text.
    pub fn parse(text: &[u8], weak: bool) -> Result<Self, Vec<Malformed>> {
        let mut users = HashMap::new();
        let mut malformed = Vec::new();
        for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii_end();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match user(line, weak) {
                Ok((user, hash)) if !users.contains_key(user) => {
                    users.insert(user.into(), hash);
                }
                Ok(_) => malformed.push(Malformed {
                    line: at + 1,
                    reason: "the user stands twice".to_owned(),
                }),
                Err(reason) => malformed.push(Malformed {
                    line: at + 1,
                    reason,
                }),
            }
        }
        if !malformed.is_empty() {
            return Err(malformed);
        }
        Ok(Self {
            decoy: users.values().max_by_key(|hash| hash.cost()).cloned(),
            users,
            key: random_key(),
            verified: Mutex::default(),
        })
    }

    /// Whether nobody is in the file.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether these were right before. Cheap.
    pub fn remembers(&self, credentials: &Credentials) -> bool {
        let digest = self.digest(credentials);
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let known = verified.get(&credentials.user);
        known.is_some_and(|known| bool::from(known.ct_eq(&digest)))
    }

    /// Whether these are right. May take as long as a hash is meant to take.
    pub fn verify(&self, credentials: &Credentials) -> bool {
        if self.remembers(credentials) {
            return true;
        }
        let password = &credentials.password[..credentials.password.len().min(LONGEST)];
        let user = self.users.get(&credentials.user);
        let is_right = user.is_some_and(|hash| hash.verify(password))
            && password.len() == credentials.password.len();
        if is_right {
            let digest = self.digest(credentials);
            let verified = self.verified.lock();
            let mut verified = verified.unwrap_or_else(PoisonError::into_inner);
            verified.insert(credentials.user.clone(), digest);
        } else if let Some(decoy) = &self.decoy
            && user.is_none_or(|hash| hash.cost() != decoy.cost())
        {
            let _ = std::hint::black_box(decoy.verify(password));
        }
        is_right
    }

    fn digest(&self, credentials: &Credentials) -> Digest {
        let digest = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key);
        let mut digest = digest.expect("a key may have any length");
        // The length keeps `a` with `bc` apart from `ab` with `c`.
        digest.update(&(credentials.user.len() as u64).to_ne_bytes());
        digest.update(&credentials.user);
        digest.update(&credentials.password);
        digest.finalize().into_bytes().into()
    }
}

impl Credentials {
    /// Reads the value of an `Authorization` field of the `Basic` scheme (RFC 7617 §2).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, encoded) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let decoded = BASE64.decode(encoded.trim_ascii()).ok()?;
        // RFC 7617 §2
        if decoded.iter().any(u8::is_ascii_control) {
            return None;
        }
        let colon = decoded.iter().position(|&byte| byte == b':')?;
        Some(Self {
            user: decoded[..colon].into(),
            password: decoded[colon + 1..].into(),
        })
    }
}

/// One line: a user and the hash of the password.
fn user(line: &[u8], weak: bool) -> Result<(&[u8], Hash), String> {
    let colon = line.iter().position(|&byte| byte == b':');
    let colon = colon.ok_or("the line has no colon: write `user:hash`")?;
    let (user, hash) = (&line[..colon], &line[colon + 1..]);
    if user.is_empty() {
        return Err("the line has no user before its colon".to_owned());
    }
    // Some files have more fields behind the hash.
    let hash = hash.split(|&byte| byte == b':').next().unwrap_or_default();
    let hash = std::str::from_utf8(hash).map_err(|_| "the hash is not text")?;
    Ok((user, Hash::parse(hash, weak)?))
}

fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    let read = getrandom(&mut key, GetRandomFlags::empty());
    assert_eq!(
        read,
        Ok(key.len()),
        "the kernel gives 32 random bytes at once"
    );
    key
}

/// RFC 4648 §4; some clients leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl std::fmt::Debug for Passwords {
    /// Nothing of what is secret.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Passwords")
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Credentials {
    /// Nothing of what is secret.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Credentials").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
