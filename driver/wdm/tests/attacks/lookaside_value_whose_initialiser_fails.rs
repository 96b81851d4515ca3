//! The initialiser of a block's value fails, so the block would be freed with a value that it does not have.

use wdm::{Error, Lookaside, pinned_init::try_init};

struct Two {
    one: u32,
    other: u32,
}

fn allocate(memory: &Lookaside<Two>, other: Result<u32, Error>) {
    let _ = memory.allocate(try_init!(Two { one: 1, other: other? }? Error)); //~ E0277
}
