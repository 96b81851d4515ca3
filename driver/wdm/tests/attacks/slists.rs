//! Attacks on lookaside lists and sequenced lists.

use wdm::{Lookaside, LookasideBox, SList};

/// A block of a lookaside list is owned twice.
fn lookaside_box_cloned(block: LookasideBox<u32>) -> (LookasideBox<u32>, LookasideBox<u32>) {
    (block.clone(), block) //~ E0308
}

/// A block is read after it was pushed onto a list, from which another thread frees it.
fn lookaside_reference_after_push(list: &SList<u32>, item: LookasideBox<u32>) -> u32 {
    let value = &*item;
    list.push(item); //~ E0505
    *value
}

/// A lookaside list's values become those of an inner frame.
fn lookaside_shortened<'a>(it: Lookaside<&'static str>) -> Lookaside<&'a str> {
    it //~ lifetime
}

/// An item is changed while it is on a list, where another thread may pop it.
fn slist_item_changed_while_listed(mut item: LookasideBox<u32>, list: &SList<u32>) {
    let value = &mut *item;
    list.push(item); //~ E0505
    *value = 1;
}

/// An item is pushed onto two lists.
fn slist_item_pushed_twice(item: LookasideBox<u32>, one: &SList<u32>, other: &SList<u32>) {
    one.push(item);
    other.push(item); //~ E0382
}

/// A list's items become those of an inner frame.
fn slist_shortened<'a>(it: SList<&'static str>) -> SList<&'a str> {
    it //~ lifetime
}
