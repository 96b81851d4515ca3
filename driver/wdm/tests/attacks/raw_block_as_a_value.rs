//! A block of a raw zone is used as a value, whatever its size is.

use wdm::RawBlock;

fn read(block: &RawBlock) -> &u64 {
    block //~ E0308
}
