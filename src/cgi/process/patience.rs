//! How long the server waits for a script: `timeout` without progress, `max-time` in all.
//!
//! Only waiting for the script counts for `timeout`. While its output is full because the client
//! takes none, or its input empty because the client sends none, the clock stands.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// The two limits of a script, and since when it makes the server wait.
#[derive(Debug)]
pub struct Patience {
    timeout: Duration,
    max_time: Duration,
    started: Instant,
    /// The last progress or change of what is waited for.
    since: Cell<Instant>,
    awaits_output: Cell<bool>,
    awaits_client: Cell<bool>,
}

/// A limit that a script has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// `timeout`
    #[error("no output for {0:?} (timeout)")]
    Timeout(Duration),
    /// `max-time`
    #[error("it ran for {0:?} (max-time)")]
    MaxTime(Duration),
}

impl Patience {
    /// Begins now.
    pub fn new(timeout: Duration, max_time: Duration) -> Self {
        let now = Instant::now();
        Self {
            timeout,
            max_time,
            started: now,
            since: Cell::new(now),
            awaits_output: Cell::new(false),
            awaits_client: Cell::new(false),
        }
    }

    /// The script took or gave something.
    pub fn progress(&self) {
        self.since.set(Instant::now());
    }

    /// Whether someone would take output if there were any.
    pub fn awaits_output(&self, awaits: bool) {
        if self.awaits_output.replace(awaits) != awaits {
            self.progress();
        }
    }

    /// Whether the script has all input that has come so far, and more may come.
    pub fn awaits_client(&self, awaits: bool) {
        if self.awaits_client.replace(awaits) != awaits {
            self.progress();
        }
    }

    /// Waits until a limit is met.
    pub async fn run_out(&self) -> Limit {
        loop {
            let now = Instant::now();
            if now.duration_since(self.started) >= self.max_time {
                return Limit::MaxTime(self.max_time);
            }
            let counted = match (self.awaits_output.get(), self.awaits_client.get()) {
                (true, false) => now.duration_since(self.since.get()),
                _ => Duration::ZERO,
            };
            let Some(left) = self.timeout.checked_sub(counted).filter(|l| !l.is_zero()) else {
                return Limit::Timeout(self.timeout);
            };
            // If the clock starts meanwhile, it has not run out before this is over.
            let in_all = self
                .max_time
                .saturating_sub(now.duration_since(self.started));
            tokio::time::sleep(left.min(in_all)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);
    const MAX_TIME: Duration = Duration::from_secs(600);

    /// The limit that is met, and after how long, when `course` goes on beside the clock.
    fn limit_after(course: impl AsyncFnOnce(&Patience)) -> (Limit, Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let patience = Patience::new(TIMEOUT, MAX_TIME);
            let begun = Instant::now();
            let (limit, ()) = tokio::join!(
                async { (patience.run_out().await, begun.elapsed()) },
                course(&patience)
            );
            limit
        })
    }

    async fn seconds(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[test]
    fn a_silent_script_meets_its_timeout() {
        let (limit, after) = limit_after(async |patience| patience.awaits_output(true));
        assert_eq!(limit, Limit::Timeout(TIMEOUT));
        assert!((TIMEOUT..TIMEOUT + Duration::from_secs(1)).contains(&after));
    }

    #[test]
    fn progress_starts_the_clock_again() {
        let (limit, after) = limit_after(async |patience| {
            patience.awaits_output(true);
            for _ in 0..3 {
                seconds(50).await;
                patience.progress();
            }
        });
        assert_eq!(limit, Limit::Timeout(TIMEOUT));
        assert!(after >= Duration::from_secs(150) + TIMEOUT, "{after:?}");
    }

    #[test]
    fn the_time_of_a_slow_client_does_not_count() {
        let (limit, after) = limit_after(async |patience| {
            patience.awaits_output(true);
            patience.awaits_client(true);
            seconds(100).await;
            patience.awaits_client(false);
            seconds(30).await;
            patience.awaits_output(false);
            seconds(100).await;
            patience.awaits_output(true);
        });
        assert_eq!(limit, Limit::Timeout(TIMEOUT));
        assert!(after >= Duration::from_secs(230) + TIMEOUT, "{after:?}");
    }

    #[test]
    fn nothing_prolongs_the_time_in_all() {
        let (limit, after) = limit_after(async |patience| {
            for _ in 0..100 {
                seconds(10).await;
                patience.progress();
            }
        });
        assert_eq!(limit, Limit::MaxTime(MAX_TIME));
        assert!((MAX_TIME..MAX_TIME + Duration::from_secs(1)).contains(&after));
    }
}
