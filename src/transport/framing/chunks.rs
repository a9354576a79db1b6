//! Chunked content (RFC 9112 §7.1): where it ends, and that its lines end in CRLF.
//!
//! hyper decodes it, and bounds what stands beside the data; here only the end is looked for.

use crate::transport::framing::Violation;

/// Chunked content as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The digits of a chunk's size; how many came, and what they say.
    Size { digits: u32, size: u64 },
    /// What stands behind the size.
    Extension { size: u64 },
    /// The LF of the line with the size.
    SizeEnd { size: u64 },
    /// So many bytes of data.
    Data { left: u64 },
    /// The CR behind the data, then its LF.
    DataEnd { is_cr: bool },
    /// A line behind the last chunk; whether it has anything in it.
    Trailer { is_empty: bool },
    /// The LF of such a line.
    TrailerEnd { is_empty: bool },
}

impl Default for State {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

/// What the next byte led to.
enum Next {
    State(State),
    End,
}

const MALFORMED: &str = "the chunked content is malformed (RFC 9112 §7.1)";

impl Chunks {
    /// Takes the next bytes. Returns where among them the content ends; nothing while it goes on.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        let mut at = 0;
        while at < bytes.len() {
            if let State::Data { left } = &mut self.state {
                let rest = bytes.len() - at;
                let count = usize::try_from(*left).map_or(rest, |left| left.min(rest));
                *left -= count as u64;
                at += count;
                if *left == 0 {
                    self.state = State::DataEnd { is_cr: true };
                }
                continue;
            }
            let next = self.state.after(bytes[at]);
            at += 1;
            match next.ok_or_else(|| Violation::bad_request(MALFORMED))? {
                Next::State(state) => self.state = state,
                Next::End => return Ok(Some(at)),
            }
        }
        Ok(None)
    }
}

impl State {
    /// What a byte beside the data leads to; nothing where it must not stand.
    // In the order of the grammar, which says some things twice.
    #[allow(clippy::match_same_arms)]
    fn after(self, byte: u8) -> Option<Next> {
        let state = match (self, byte) {
            (Self::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16)?;
                let size = size.checked_mul(16)?.checked_add(digit.into())?;
                Self::Size {
                    digits: digits.checked_add(1)?,
                    size,
                }
            }
            (Self::Size { digits: 0, .. }, _) => return None,
            (Self::Size { size, .. } | Self::Extension { size }, b'\r') => Self::SizeEnd { size },
            (Self::Size { size, .. }, b';' | b' ' | b'\t') => Self::Extension { size },
            (Self::Extension { .. }, b'\n') => return None,
            (Self::Extension { size }, _) => Self::Extension { size },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer { is_empty: true },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataEnd { is_cr: true }, b'\r') => Self::DataEnd { is_cr: false },
            (Self::DataEnd { is_cr: false }, b'\n') => Self::default(),
            (Self::Trailer { is_empty }, b'\r') => Self::TrailerEnd { is_empty },
            (Self::Trailer { .. }, b'\n') => return None,
            (Self::Trailer { .. }, _) => Self::Trailer { is_empty: false },
            (Self::TrailerEnd { is_empty: true }, b'\n') => return Some(Next::End),
            (Self::TrailerEnd { is_empty: false }, b'\n') => Self::Trailer { is_empty: true },
            _ => return None,
        };
        Some(Next::State(state))
    }
}
