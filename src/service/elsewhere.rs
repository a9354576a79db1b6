//! What may wait for a filesystem, on another thread. One that never answers, as of a server that is gone,
//! has a bounded number of threads, and who asks for it is told.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::sync::Semaphore;

use crate::semantics::failure::{Cause, Failure};

/// So many look-ups of a site may wait at once, so that there are threads for the other sites.
const OF_ONE_SITE: usize = 8;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The turns of each site, by its name.
static TURNS: LazyLock<Mutex<HashMap<Arc<str>, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);

/// Looks something up for a site. Fails with 503 where that takes too long.
pub(super) async fn look_up<T: Send + 'static>(
    site: &Arc<str>,
    look_up: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let turns = turns(site);
    let found = async {
        let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
        let found = tokio::task::spawn_blocking(move || {
            let found = look_up();
            drop(turn);
            found
        });
        Ok(found.await?)
    };
    let unanswered = |_| Err(io::Error::other("its filesystem does not answer"));
    let found = tokio::time::timeout(PATIENCE, found).await;
    found
        .unwrap_or_else(unanswered)
        .map_err(|error: io::Error| {
            let (action, error) = ("looking up a file", error.to_string());
            Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Cause::System { action, error },
            )
        })
}

fn turns(site: &Arc<str>) -> Arc<Semaphore> {
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let none = || Arc::new(Semaphore::new(OF_ONE_SITE));
    Arc::clone(turns.entry(Arc::clone(site)).or_insert_with(none))
}
