//! Verifying passwords, a few at once: what a hash costs must not be what others wait for.

use http::StatusCode;
use tokio::sync::Semaphore;

use crate::{
    semantics::failure::{Cause, Failure},
    site::auth::Unverified,
};

/// Passwords that are verified at once in the whole process.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Passwords that wait for their turn, or have it.
static WAITING: Semaphore = Semaphore::const_new(128);

/// Verifies credentials on another thread. Fails with 401 where they are wrong, and 503 where too
/// many wait.
pub(super) async fn unlock(unverified: Unverified) -> Result<(), Failure> {
    let too_many = |_| {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Failure::new(status, Cause::TooManyPasswords)
    };
    let _place = WAITING.try_acquire().map_err(too_many)?;
    let _turn = TURNS
        .acquire()
        .await
        .map_err(|error| Failure::system("verifying a password", &std::io::Error::other(error)))?;
    tokio::task::spawn_blocking(move || unverified.verify())
        .await
        .map_err(|error| Failure::system("verifying a password", &error.into()))?
}
