//! What a file keeps of a password.

use md5::{Digest, Md5};
use sha_crypt::{PasswordVerifier, ShaCrypt};
use subtle::ConstantTimeEq;

/// Costs beyond which a check would take longer than anybody waits: 2^16 rounds of bcrypt, and a
/// million of SHA-crypt.
const MOST_COST: u32 = 16;
const MOST_ROUNDS: u32 = 1_000_000;

/// What SHA-crypt allows.
const LEAST_ROUNDS: u32 = 1000;

/// The rounds of SHA-crypt where the hash does not say.
const USUAL_ROUNDS: u32 = 5000;

/// The hash of a password, checked to be one.
#[derive(Clone)]
pub(super) enum Hash {
    /// `$2y$`
    Bcrypt(Box<str>),
    /// `$5$`, `$6$`
    ShaCrypt(Box<str>),
    /// `$apr1$`, `$1$`: broken long ago.
    Md5Crypt {
        magic: &'static str,
        salt: Box<str>,
        digest: Box<str>,
    },
    /// The password itself.
    Plain(Box<str>),
}

impl Hash {
    /// Reads a hash; the error is for the person who wrote it, and does not repeat it.
    pub fn parse(text: &str, weak: bool) -> Result<Self, String> {
        let remedy = "use `htpasswd -B`, or `mkpasswd -m sha512crypt`";
        let is_bcrypt = ["$2a$", "$2b$", "$2y$"]
            .iter()
            .any(|magic| text.starts_with(magic));
        let weaker = |hash: Self, name: &str| {
            if weak {
                Ok(hash)
            } else {
                Err(format!(
                    "{name} does not protect a password: {remedy}, or write `weak = true`"
                ))
            }
        };
        if is_bcrypt {
            return bcrypt(text);
        }
        if text.starts_with("$5$") || text.starts_with("$6$") {
            return sha_crypt(text);
        }
        for magic in ["$apr1$", "$1$"] {
            if let Some((salt, digest)) = text.strip_prefix(magic).and_then(|t| t.split_once('$')) {
                let hash = Self::Md5Crypt {
                    magic,
                    salt: salt.chars().take(8).collect::<String>().into(),
                    digest: digest.into(),
                };
                if !is_encoded(digest, 22) {
                    return Err("the MD5 hash is incomplete".to_owned());
                }
                return weaker(hash, "MD5");
            }
        }
        match text.strip_prefix("{PLAIN}") {
            Some(password) => weaker(Self::Plain(password.into()), "plain text"),
            None if text.starts_with("{SHA}") => {
                Err(format!("SHA-1 without salt is not taken: {remedy}"))
            }
            None => Err(format!(
                "the hash is neither bcrypt nor SHA-crypt: {remedy}"
            )),
        }
    }

    /// What a check costs, in an order; equal where it takes about the same time.
    pub fn cost(&self) -> u32 {
        let number = |text: &str, at: usize| {
            let field = text.split('$').nth(at).unwrap_or_default();
            field.trim_start_matches("rounds=").parse().ok()
        };
        match self {
            Self::Plain(_) => 0,
            Self::Md5Crypt { .. } => 1,
            Self::ShaCrypt(text) => number(text, 2).unwrap_or(USUAL_ROUNDS),
            // Even the cheapest takes longer than SHA-crypt usually does.
            Self::Bcrypt(text) => MOST_ROUNDS + number(text, 2).unwrap_or(0),
        }
    }

    /// Whether the password fits.
    pub fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::ShaCrypt(hash) => {
                let hash: &str = hash;
                ShaCrypt::default().verify_password(password, hash).is_ok()
            }
            Self::Md5Crypt {
                magic,
                salt,
                digest,
            } => {
                let ours = md5_crypt(magic.as_bytes(), salt.as_bytes(), password);
                ours.as_bytes().ct_eq(digest.as_bytes()).into()
            }
            Self::Plain(plain) => plain.as_bytes().ct_eq(password).into(),
        }
    }
}

/// `$2y$CC$` and 53 characters.
fn bcrypt(text: &str) -> Result<Hash, String> {
    let cost = text.get(4..6).and_then(|cost| cost.parse::<u32>().ok());
    let rest = text.get(6..).and_then(|rest| rest.strip_prefix('$'));
    match (cost, rest) {
        (Some(cost), Some(rest)) if cost >= 4 && is_encoded(rest, 53) => {
            if cost > MOST_COST {
                return Err(format!(
                    "the cost of the hash is {cost}: {MOST_COST} is the most"
                ));
            }
            Ok(Hash::Bcrypt(text.into()))
        }
        _ => Err("the bcrypt hash is incomplete".to_owned()),
    }
}

/// `$6$[rounds=N$]salt$` and 43 or 86 characters.
fn sha_crypt(text: &str) -> Result<Hash, String> {
    let mut fields: Vec<&str> = text[3..].split('$').collect();
    let rounds = match fields
        .first()
        .and_then(|field| field.strip_prefix("rounds="))
    {
        Some(rounds) => {
            fields.remove(0);
            rounds.parse().unwrap_or(0)
        }
        None => USUAL_ROUNDS,
    };
    let length = if text.starts_with("$5$") { 43 } else { 86 };
    match fields[..] {
        [salt, digest] if !salt.is_empty() && is_encoded(digest, length) => {
            if !(LEAST_ROUNDS..=MOST_ROUNDS).contains(&rounds) {
                return Err(format!(
                    "the rounds of the hash are not from {LEAST_ROUNDS} to {MOST_ROUNDS}"
                ));
            }
            Ok(Hash::ShaCrypt(text.into()))
        }
        _ => Err("the SHA-crypt hash is incomplete".to_owned()),
    }
}

fn is_encoded(text: &str, length: usize) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
    text.len() == length && text.bytes().all(fits)
}

/// The MD5 of FreeBSD and Apache, which turns the password round a thousand times.
fn md5_crypt(magic: &[u8], salt: &[u8], password: &[u8]) -> String {
    let mut inner = Md5::new();
    inner.update(password);
    inner.update(salt);
    inner.update(password);
    let inner = inner.finalize();
    let mut outer = Md5::new();
    outer.update(password);
    outer.update(magic);
    outer.update(salt);
    for at in (0..password.len()).step_by(16) {
        outer.update(&inner[..(password.len() - at).min(16)]);
    }
    let mut length = password.len();
    while length > 0 {
        let bit = [if length & 1 == 1 { 0 } else { password[0] }];
        outer.update(bit);
        length >>= 1;
    }
    let mut digest = outer.finalize();
    for round in 0..1000 {
        let mut turn = Md5::new();
        let is_odd = round % 2 == 1;
        if is_odd {
            turn.update(password);
        } else {
            turn.update(digest);
        }
        if round % 3 != 0 {
            turn.update(salt);
        }
        if round % 7 != 0 {
            turn.update(password);
        }
        if is_odd {
            turn.update(digest);
        } else {
            turn.update(password);
        }
        digest = turn.finalize();
    }
    let digest: [u8; 16] = digest.into();
    encoded(&digest)
}

/// The bytes of a digest in the order and alphabet of `crypt`.
fn encoded(digest: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let groups = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut text = String::with_capacity(22);
    let mut push = |mut bits: u32, count: usize| {
        for _ in 0..count {
            text.push(char::from(ALPHABET[bits as usize % 64]));
            bits >>= 6;
        }
    };
    for [high, middle, low] in groups.map(|group| group.map(|at: usize| u32::from(digest[at]))) {
        push(high << 16 | middle << 8 | low, 4);
    }
    push(u32::from(digest[11]), 2);
    text
}
