//! What kind of message an entry of the journal is: `MESSAGE_ID`, by which an administrator finds all
//! of a kind, and journald the explanation in `contrib/systemd/pywebd.catalog`.

#![forbid(unsafe_code)]

/// A request and what became of it.
pub const ACCESS: &str = "096eb3214eea45cfb2b184240dbe186d";
/// A connection that ended without a request.
pub const CONNECTION: &str = "c2b4ee574e0d4d48a745829dea1b72f6";
/// A line that a script wrote to stderr.
pub const SCRIPT_STDERR: &str = "63de7cb032b74d7d82204448d422bae5";
/// A script met a limit: it was killed, or could start no more processes.
pub const SCRIPT_LIMIT: &str = "70543117d5f74330a01c81c2a8881600";
/// The launcher did not start a script.
pub const SCRIPT_REFUSED: &str = "a4506b0267924dcb81c72baf8847379d";
/// No more requests may wait for a script of the site.
pub const SCRIPT_QUEUE_FULL: &str = "bdc0698eebde4860b045db1ecf095d26";
/// The server answers requests.
pub const STARTED: &str = "a3169d862ce04b2faef04cf04b1751c6";
/// The server was told to stop.
pub const STOPPING: &str = "335c2cad85ff478b90e481b1efddd74b";
/// Another configuration is in force.
pub const RELOADED: &str = "71bf5fe9364c4a39934b5e2e06057b18";
/// A reload has changed nothing.
pub const RELOAD_FAILED: &str = "37e07d5e9cc84c08a18f23971c17ed11";
/// The server does not start with this configuration.
pub const CONFIGURATION_REFUSED: &str = "f8f7f3ccdd2c4bcb9b26ec8ee42322e6";
/// The server does not start, since it cannot have an address of `listen`.
pub const NOT_LISTENING: &str = "065d0c7c5018409e9e5fe2f050013b4d";
/// What is written down came faster than the log took it.
pub const RECORDS_DROPPED: &str = "104b382bbadb4c4db8b87b1c406efc2e";
/// The file of the access log cannot be written.
pub const ACCESS_LOG_FAILED: &str = "54e6a917c97040e690cf332523427bf0";
/// Connections are refused, or wait, since no more fit.
pub const CONNECTIONS_EXHAUSTED: &str = "66b9583f907c44c48f11f7d68d4b341c";
/// The launcher has ended, and its scripts with it.
pub const LAUNCHER_ENDED: &str = "e0e3254975cb4661ba9518a9b9511b6b";
/// Something has stopped the launcher, which goes on.
pub const LAUNCHER_STOPPED: &str = "9a50d9fded0a40169b6af327e28f1102";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// Words of a text that are ids.
    fn ids(text: &str) -> BTreeSet<&str> {
        let words = text.split(|character: char| !character.is_ascii_alphanumeric());
        let is_id = |word: &&str| {
            let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            word.len() == 32 && word.bytes().all(is_digit)
        };
        words.filter(is_id).collect()
    }

    #[test]
    fn the_catalog_explains_every_kind_of_message_and_no_other() {
        let catalog = include_str!("../../contrib/systemd/pywebd.catalog");
        assert_eq!(ids(catalog), ids(include_str!("message_id.rs")));
        for entry in catalog.split("\n-- ").skip(1) {
            let (head, text) = entry.split_once("\n\n").unwrap();
            let names = head.lines().skip(1).map(|line| line.split(':').next());
            let names: Vec<_> = names.flatten().collect();
            assert_eq!(names, ["Subject", "Defined-By", "Support", "Documentation"]);
            assert!(text.lines().all(|line| line.len() <= 90), "{head}");
        }
    }

    #[test]
    fn examples_of_the_catalog_are_keys_that_the_shipped_configuration_has() {
        let catalog = include_str!("../../contrib/systemd/pywebd.catalog");
        let shipped = include_str!("../../etc/pywebd/pywebd.toml");
        let lines = catalog.lines().filter_map(|line| line.strip_prefix("    "));
        let keys = lines.filter_map(|line| line.split_once(" = "));
        let is_key = |key: &str| key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'-'));
        for (key, _) in keys.filter(|(key, _)| is_key(key)) {
            assert!(shipped.contains(&format!("{key} = ")), "{key}");
        }
    }
}
