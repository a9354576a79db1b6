//! Texts that stay where they are while more come: the trees of files that were read refer to them, so
//! that a file is parsed once.

use std::cell::{Cell, OnceCell};

/// The texts.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Each is twice as long as the one before, and never grows.
    blocks: [OnceCell<Box<[OnceCell<String>]>>; 32],
    count: Cell<usize>,
}

impl Texts {
    /// Keeps a text.
    pub fn keep(&self, text: String) -> &str {
        let number = self.count.get() + 1;
        self.count.set(number);
        let block = number.ilog2() as usize;
        let first = 1 << block;
        let texts = self.blocks[block].get_or_init(|| vec![OnceCell::new(); first].into());
        texts[number - first].get_or_init(|| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_stays_what_it_is() {
        let texts = Texts::default();
        let kept: Vec<_> = (0..20).map(|n: i32| texts.keep(n.to_string())).collect();
        let expected: Vec<_> = (0..20).map(|n: i32| n.to_string()).collect();
        assert_eq!(kept, expected);
    }
}
