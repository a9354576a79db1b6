//! Whether the journal is what standard error is connected to: systemd.exec(5), `JOURNAL_STREAM`.

/// Whether standard error goes to the journal.
pub fn is_stderr() -> bool {
    let Ok(stat) = rustix::fs::fstat(rustix::stdio::stderr()) else {
        return false;
    };
    std::env::var("JOURNAL_STREAM")
        .is_ok_and(|stream| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
