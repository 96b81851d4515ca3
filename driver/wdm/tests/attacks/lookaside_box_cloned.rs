//! A block of a lookaside list is owned twice.

#![forbid(unsafe_code)]

use wdm::LookasideBox;

fn twice(block: LookasideBox<u32>) -> (LookasideBox<u32>, LookasideBox<u32>) {
    (block.clone(), block) //~ E0308
}

fn main() {}
