//! A block of a raw zone is used as a value, whose size it may not have.

use wdm::RawBlock;

fn read(block: &RawBlock) -> &u64 {
    block //~ E0308
}
