//! A block is freed to its zone twice.

fn twice(block: wdm::RawBlock) {
    block.free();
    block.free(); //~ E0382
}
