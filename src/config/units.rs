//! Values with a notation of their own: durations, sizes, counts, listen addresses, and how each
//! is written back. A bare number is never a duration or a size.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    cgi::Size,
    config::{findings::Mistake, raw::Quantity},
    transport::Listen,
};

/// How a value is read and written.
pub(super) struct Notation<R, T> {
    /// Reads what stands in the file.
    pub read: fn(&R) -> Result<T, Mistake>,
    /// Writes the value as TOML.
    pub write: fn(&T) -> String,
}

/// `"10s"`, `"200ms"`, `"5m"`, `"1h"`, `"1d"`.
pub(super) const DURATION: Notation<Quantity, Duration> = Notation {
    read: read_duration,
    write: write_duration,
};

/// `"32K"`, `"512M"`, `"1G"`: powers of 1024; `"100B"`: bytes.
pub(super) const SIZE: Notation<Quantity, u64> = Notation {
    read: read_size,
    write: write_size,
};

/// A whole number.
pub(super) const COUNT: Notation<Quantity, usize> = Notation {
    read: read_count,
    write: usize::to_string,
};

/// A unit of time in milliseconds, or of size in bytes.
struct Unit {
    name: &'static str,
    factor: u64,
    /// Smaller values are written in a smaller unit: `60s` rather than `1m`.
    from: u64,
}

const fn unit(name: &'static str, factor: u64, from: u64) -> Unit {
    Unit { name, factor, from }
}

/// The largest first.
const TIMES: [Unit; 5] = [
    unit("d", 86_400_000, 2 * 86_400_000),
    unit("h", 3_600_000, 2 * 3_600_000),
    unit("m", 60_000, 2 * 60_000),
    unit("s", 1_000, 1_000),
    unit("ms", 1, 0),
];

/// The largest first.
const SIZES: [Unit; 5] = [
    unit("T", 1 << 40, 1 << 40),
    unit("G", 1 << 30, 1 << 30),
    unit("M", 1 << 20, 1 << 20),
    unit("K", 1 << 10, 1 << 10),
    unit("B", 1, 0),
];

/// Far beyond every use, and far from every overflow of a clock.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

fn read_duration(written: &Quantity) -> Result<Duration, Mistake> {
    let milliseconds = read_units("a duration", &TIMES, "s", written)?;
    let duration = Duration::from_millis(milliseconds);
    match duration {
        Duration::ZERO => Err(Mistake::new("a duration must be longer than nothing")),
        _ if duration > LONGEST => Err(Mistake::new("a duration must be at most a year")),
        _ => Ok(duration),
    }
}

fn read_size(written: &Quantity) -> Result<u64, Mistake> {
    read_units("a size", &SIZES, "K", written)
}

fn read_units(what: &str, units: &[Unit], usual: &str, written: &Quantity) -> Result<u64, Mistake> {
    let names: Vec<_> = units.iter().rev().map(|unit| unit.name).collect();
    let names = names.join(", ");
    let number_only = |number: &str| {
        let help = format!("write \"{number}{usual}\" (units: {names})");
        Mistake::new(format!("{what} needs a unit")).help(help)
    };
    let text = match written {
        Quantity::Text(text) => text,
        Quantity::Number(number) => return Err(number_only(&number.to_string())),
    };
    let end = text.find(|character: char| !character.is_ascii_digit());
    let (number, name) = text.split_at(end.unwrap_or(text.len()));
    if number.is_empty() {
        let help = format!("write a whole number and a unit, such as \"10{usual}\"");
        let help = format!("{help} (units: {names})");
        return Err(Mistake::new(format!("{text:?} is not {what}")).help(help));
    }
    if name.is_empty() {
        return Err(number_only(number));
    }
    let Some(unit) = units.iter().find(|unit| unit.name == name) else {
        let mistake = Mistake::new(format!("{name:?} is not a unit of {what}"));
        return Err(match units.iter().find(|unit| is_meant(name, unit.name)) {
            Some(unit) => mistake.help(format!("write \"{number}{}\"", unit.name)),
            None => mistake.help(format!("units: {names}")),
        });
    };
    let value = number.parse::<u64>().ok();
    value
        .and_then(|number| number.checked_mul(unit.factor))
        .ok_or_else(|| Mistake::new(format!("{text:?} is too large")))
}

/// Whether a name is another well-known form of a unit: `k`, `kb` and `KiB` of `K`, `sec` of `s`.
fn is_meant(name: &str, unit: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    let forms: &[&str] = match unit {
        "B" => &["byte", "bytes"],
        "K" => &["kb", "kib"],
        "M" => &["mb", "mib"],
        "G" => &["gb", "gib"],
        "T" => &["tb", "tib"],
        "ms" => &["msec", "millis", "milliseconds"],
        "s" => &["sec", "secs", "second", "seconds"],
        "m" => &["min", "mins", "minute", "minutes"],
        "h" => &["hr", "hour", "hours"],
        "d" => &["day", "days"],
        _ => &[],
    };
    name == unit.to_ascii_lowercase() || forms.contains(&name.as_str())
}

fn write_duration(duration: &Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    write_units(&TIMES, milliseconds)
}

// By reference, because a `Notation` takes every type so.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn write_size(size: &u64) -> String {
    format!("\"{}\"", Size(*size))
}

/// In the largest unit that leaves a whole number.
fn write_units(units: &[Unit], value: u64) -> String {
    let fits = |unit: &&Unit| value >= unit.from && value.is_multiple_of(unit.factor);
    let Unit { name, factor, .. } = units.iter().find(fits).unwrap_or(&units[units.len() - 1]);
    format!("\"{}{name}\"", value / factor)
}

fn read_count(written: &Quantity) -> Result<usize, Mistake> {
    match written {
        Quantity::Number(number) => usize::try_from(*number)
            .map_err(|_| Mistake::new(format!("{number} is not a number of things"))),
        Quantity::Text(text) => {
            let mistake = Mistake::new(format!("{text:?} is not a number"));
            Err(match text.parse::<u32>() {
                Ok(number) => mistake.help(format!("write {number}, without quotes")),
                Err(_) => mistake,
            })
        }
    }
}

/// What the kernel has room for (`sun_path`, with a NUL behind it).
const LONGEST_SOCKET: usize = 107;

/// Reads an address to listen on: `[::]:80`, `127.0.0.1:8000`, `unix:/run/pywebd/http.sock`.
///
/// The mistake says what to write instead of the common slips: no host, no port, a host name.
pub fn listen(text: &str) -> Result<Listen, Mistake> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() || path.contains('\0') {
            let mistake = Mistake::new(format!("{text:?} names no socket"));
            return Err(mistake.help("write \"unix:/run/pywebd/http.sock\""));
        }
        if path.len() > LONGEST_SOCKET {
            let message = format!("the path of a socket has at most {LONGEST_SOCKET} bytes");
            return Err(Mistake::new(message));
        }
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Listen::Tcp(address));
    }
    let mistake = Mistake::new(format!("{text:?} is not an address to listen on"));
    Err(match suggestion(text) {
        Some(meant) => mistake.help(format!("write \"{meant}\"")),
        None => mistake.help(
            "write an IP address and a port, such as \"[::]:80\" or \"127.0.0.1:8000\", or \
             \"unix:\" and a path",
        ),
    })
}

/// What was probably meant by an address that is none.
fn suggestion(text: &str) -> Option<String> {
    if text.starts_with('/') {
        return Some(format!("unix:{text}"));
    }
    if let Ok(port) = text.parse::<u16>() {
        return Some(format!("[::]:{port}"));
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse() {
        return Some(SocketAddr::new(address, 80).to_string());
    }
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    match host {
        "" | "*" => Some(format!("[::]:{port}")),
        "localhost" => Some(format!("127.0.0.1:{port}")),
        _ => {
            let address = host.parse().ok()?;
            Some(SocketAddr::new(address, port).to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Quantity {
        Quantity::Text(text.into())
    }

    #[test]
    fn durations_have_a_unit() {
        for (written, milliseconds, shown) in [
            ("200ms", 200, "\"200ms\""),
            ("1s", 1_000, "\"1s\""),
            ("60s", 60_000, "\"60s\""),
            ("10m", 600_000, "\"10m\""),
            ("1h", 3_600_000, "\"60m\""),
            ("2d", 172_800_000, "\"2d\""),
        ] {
            let duration = read_duration(&text(written)).unwrap();
            assert_eq!(duration, Duration::from_millis(milliseconds), "{written}");
            assert_eq!(write_duration(&duration), shown, "{written}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (written, bytes, shown) in [
            ("100B", 100, "\"100B\""),
            ("32K", 32 << 10, "\"32K\""),
            ("1024K", 1 << 20, "\"1M\""),
            ("1G", 1 << 30, "\"1G\""),
            ("0B", 0, "\"0B\""),
        ] {
            assert_eq!(read_size(&text(written)), Ok(bytes), "{written}");
            assert_eq!(write_size(&bytes), shown, "{written}");
        }
    }

    #[test]
    fn a_value_without_its_unit_is_refused_with_a_suggestion() {
        for (written, help) in [
            (
                Quantity::Number(10),
                "write \"10s\" (units: ms, s, m, h, d)",
            ),
            (text("10"), "write \"10s\" (units: ms, s, m, h, d)"),
            (text("10 seconds"), "write \"10s\""),
            (text("10S"), "write \"10s\""),
            (text("10fortnights"), "units: ms, s, m, h, d"),
        ] {
            let mistake = read_duration(&written).unwrap_err();
            assert_eq!(mistake.help.as_deref(), Some(help), "{written:?}");
        }
        let mistake = read_size(&text("64kb")).unwrap_err();
        assert_eq!(mistake.help.as_deref(), Some("write \"64K\""));
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        for written in [
            "",
            "s",
            "-1s",
            "1.5s",
            "0s",
            "99999999999999999999s",
            "9999d",
        ] {
            assert!(read_duration(&text(written)).is_err(), "{written:?}");
        }
        assert!(read_size(&text("99999999T")).is_err());
        assert!(read_count(&Quantity::Number(-1)).is_err());
    }

    #[test]
    fn listen_addresses() {
        for accepted in ["[::]:80", "127.0.0.1:8000", "[::1]:0", "unix:/run/x.sock"] {
            assert_eq!(listen(accepted).unwrap().to_string(), accepted);
        }
        for (refused, meant) in [
            (":8080", "[::]:8080"),
            ("8080", "[::]:8080"),
            ("*:80", "[::]:80"),
            ("localhost:8000", "127.0.0.1:8000"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("[::1]", "[::1]:80"),
            ("::1", "[::1]:80"),
            ("/run/x.sock", "unix:/run/x.sock"),
        ] {
            let help = listen(refused).unwrap_err().help.unwrap();
            assert_eq!(help, format!("write \"{meant}\""), "{refused}");
        }
        for refused in [
            "",
            "example.org:80",
            "127.0.0.1:99999",
            "unix:",
            "http://[::]:80",
        ] {
            assert!(listen(refused).is_err(), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(milliseconds in 1_u64..31_000_000_000, size: u64) {
            let duration = Duration::from_millis(milliseconds);
            let written = write_duration(&duration);
            prop_assert_eq!(read_duration(&text(written.trim_matches('"'))), Ok(duration));
            let written = write_size(&size);
            prop_assert_eq!(read_size(&text(written.trim_matches('"'))), Ok(size));
        }
    }
}
