//! The variables of this process, for `"${NAME}"`. No other module of the library reads them.

/// The value of an environment variable; absent also where it is not UTF-8.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
