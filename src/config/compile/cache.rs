//! `[cache]`: what is kept of files in memory.

use crate::{
    config::{
        compile::resolver::Resolver,
        findings::Mistake,
        notation::quoted,
        raw::{self, Quantity},
        units::{Notation, SIZE},
    },
    files::cache::Size,
};

/// `cache.size`
pub(super) fn size(raw: &raw::Cache, resolver: &mut Resolver<'_>) -> Size {
    resolver
        .resolve("cache.size", raw.size.as_ref(), &CACHE_SIZE, Size::Auto)
        .into_inner()
}

/// Less would not hold the files of one page.
const LEAST: u64 = 1 << 20;

const CACHE_SIZE: Notation<Quantity, Size> = Notation {
    read: |written| match written {
        Quantity::Text(text) if text == "auto" => Ok(Size::Auto),
        Quantity::Number(0) => Ok(Size::Bytes(0)),
        _ => match (SIZE.read)(written)? {
            size if size == 0 || size >= LEAST => Ok(Size::Bytes(size)),
            _ => Err(Mistake::new("a cache of less than a mebibyte is of no use")
                .help("write \"auto\", a size such as \"64M\", or 0 for none")),
        },
    },
    write: |size| match size {
        Size::Auto => quoted("auto"),
        Size::Bytes(bytes) => (SIZE.write)(bytes),
    },
};
