//! A block is used twice.

#![forbid(unsafe_code)]

fn two(block: wdm::RawBlock) -> (wdm::RawBlock, wdm::RawBlock) {
    (block.clone(), block) //~ E0599
}

fn main() {}
