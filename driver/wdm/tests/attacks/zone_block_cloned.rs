//! A block is used twice.

fn two(block: wdm::RawBlock) -> (wdm::RawBlock, wdm::RawBlock) {
    (block.clone(), block) //~ E0599
}
