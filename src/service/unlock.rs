//! Verifying passwords, a few at once: what a hash costs must not be what others wait for.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{LazyLock, Mutex, PoisonError},
};

use http::StatusCode;
use tokio::sync::Semaphore;

use crate::{
    semantics::failure::{Cause, Failure},
    site::auth::Unverified,
};

/// Passwords that are verified at once in the whole process.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Passwords of each client that wait for their turn, or have it.
static WAITING: LazyLock<Mutex<HashMap<Option<IpAddr>, usize>>> = LazyLock::new(Mutex::default);

/// So many of one client, so that whoever guesses does not keep others waiting; and so many in all.
const OF_ONE_CLIENT: usize = 8;
const IN_ALL: usize = 256;

/// Verifies credentials on another thread. Fails with 401 where they are wrong, and with 503 where too
/// many wait.
pub(super) async fn unlock(unverified: Unverified, client: Option<IpAddr>) -> Result<(), Failure> {
    let _place = Place::take(client).ok_or_else(|| {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Failure::new(status, Cause::TooManyPasswords)
    })?;
    let _turn = TURNS
        .acquire()
        .await
        .map_err(|error| Failure::system("verifying a password", &std::io::Error::other(error)))?;
    tokio::task::spawn_blocking(move || unverified.verify())
        .await
        .map_err(|error| Failure::system("verifying a password", &error.into()))?
}

/// A place among those who wait, given back when it is dropped.
struct Place(Option<IpAddr>);

impl Place {
    fn take(client: Option<IpAddr>) -> Option<Self> {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        let in_all: usize = waiting.values().sum();
        let of_client = waiting.get(&client).copied().unwrap_or_default();
        if of_client >= OF_ONE_CLIENT || in_all >= IN_ALL {
            return None;
        }
        waiting.insert(client, of_client + 1);
        Some(Self(client))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.0);
            }
        }
    }
}
