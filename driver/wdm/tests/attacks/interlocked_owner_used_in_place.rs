//! An owner is used while it is in a place from which another thread may take it.

use wdm::{InterlockedOwner, LookasideBox};

fn offer(place: &InterlockedOwner<LookasideBox<u32>>, owner: LookasideBox<u32>) -> u32 {
    place.exchange(Some(owner));
    *owner //~ E0382
}
