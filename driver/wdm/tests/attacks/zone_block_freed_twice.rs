//! A block is freed to its zone twice.

#![forbid(unsafe_code)]

fn twice(block: wdm::RawBlock) {
    block.free();
    block.free(); //~ E0382
}

fn main() {}
