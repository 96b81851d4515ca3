//! The closure of a flush keeps a reference to an item that it drops.

use wdm::SList;

fn keep(list: &SList<u32>) -> usize {
    let mut kept = Vec::new();
    list.flush(|item| kept.push(&*item)); //~ E0597
    kept.len()
}
