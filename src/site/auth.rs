//! Basic authentication (RFC 7617): who is asked for a password, and whether it is right.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use crate::{
    semantics::failure::{Cause, Failure},
    site::passwords::{Credentials, Passwords},
};

/// Who may pass.
#[derive(Debug)]
pub struct BasicAuth {
    passwords: Passwords,
    challenge: HeaderValue,
}

/// What a request's credentials come to.
#[derive(Debug)]
pub enum Verdict {
    /// The user may pass.
    Granted(User),
    /// None, or malformed ones, with the failure that asks for them.
    Refused(Failure),
    /// They have to be verified, which takes a while.
    Unverified(Unverified),
}

/// The name of a user who has shown a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(pub Box<[u8]>);

/// Credentials that were not seen before.
#[derive(Debug)]
pub struct Unverified {
    auth: Arc<BasicAuth>,
    credentials: Credentials,
}

impl BasicAuth {
    /// Asks for the password of one of these users. The realm is visible ASCII and spaces.
    pub fn new(passwords: Passwords, realm: &str) -> Self {
        let realm = realm.replace(['\\', '"'], "'");
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        Self {
            passwords,
            challenge: HeaderValue::try_from(challenge)
                .unwrap_or(HeaderValue::from_static("Basic realm=\"\"")),
        }
    }

    /// What the value of a request's `Authorization` field comes to. Cheap.
    pub fn check(self: &Arc<Self>, authorization: Option<&HeaderValue>) -> Verdict {
        let credentials = authorization.and_then(|value| Credentials::parse(value.as_bytes()));
        match credentials {
            None => Verdict::Refused(self.refusal()),
            Some(credentials) if self.passwords.remembers(&credentials) => {
                Verdict::Granted(User(credentials.user))
            }
            Some(credentials) => Verdict::Unverified(Unverified {
                auth: Arc::clone(self),
                credentials,
            }),
        }
    }

    /// 401 with the challenge (RFC 9110 §15.5.2).
    fn refusal(&self) -> Failure {
        let challenge = self.challenge.clone();
        Failure::new(
            StatusCode::UNAUTHORIZED,
            Cause::Unauthenticated { challenge },
        )
    }
}

impl Unverified {
    /// Verifies them; from then on they are remembered. Takes as long as a hash is meant to take.
    pub fn verify(&self) -> Result<(), Failure> {
        let is_right = self.auth.passwords.verify(&self.credentials);
        is_right.then_some(()).ok_or_else(|| self.refusal())
    }

    /// 401, for whoever cannot or need not verify them.
    pub fn refusal(&self) -> Failure {
        self.auth.refusal()
    }
}
