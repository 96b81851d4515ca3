//! The owner in a place is looked at while another thread may take it.

use wdm::{InterlockedOwner, Shared};

fn look(place: &InterlockedOwner<Shared<u32>>) -> u32 {
    **place //~ E0614
}
