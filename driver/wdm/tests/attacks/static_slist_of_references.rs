//! A list in a static gets a block with a reference to a local.

use wdm::{Lookaside, SList};

static LIST: SList<&'static u32> = SList::new();

fn push(memory: &Lookaside<&'static u32>) {
    let local = 7;
    if let Some(item) = memory.allocate(&local) { //~ E0597
        LIST.push(item);
    }
}
