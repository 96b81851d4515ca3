//! An item is pushed onto two lists.

use wdm::{LookasideBox, SList};

fn push(item: LookasideBox<u32>, one: &SList<u32>, other: &SList<u32>) {
    one.push(item);
    other.push(item); //~ E0382
}
