//! A block is read after it was pushed onto a list, from which another thread frees it.

use wdm::{LookasideBox, SList};

fn read(list: &SList<u32>, item: LookasideBox<u32>) -> u32 {
    let value = &*item;
    list.push(item); //~ E0505
    *value
}
