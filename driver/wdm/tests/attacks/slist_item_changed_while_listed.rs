//! An item is changed while it is on a list, where another thread may pop it.

use wdm::{LookasideBox, SList};

fn push(mut item: LookasideBox<u32>, list: &SList<u32>) {
    let value = &mut *item;
    list.push(item); //~ E0505
    *value = 1;
}
