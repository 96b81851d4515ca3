//! A block of a lookaside list is owned twice.

use wdm::LookasideBox;

fn twice(block: LookasideBox<u32>) -> (LookasideBox<u32>, LookasideBox<u32>) {
    (block.clone(), block) //~ E0308
}
