//! A block with a reference to a local is used as one with a `'static` reference.

use wdm::{Zone, ZoneBox};

fn keep(zone: &Zone<&'static u32>) -> Option<ZoneBox<&'static u32>> {
    let local = 1;
    zone.allocate(&local) //~ E0515
}
