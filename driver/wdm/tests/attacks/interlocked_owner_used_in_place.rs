//! An owner is used after it was stored in an `InterlockedOwner`, from which another thread may take it.

use wdm::{InterlockedOwner, LookasideBox};

fn offer(place: &InterlockedOwner<LookasideBox<u32>>, owner: LookasideBox<u32>) -> u32 {
    place.exchange(Some(owner));
    *owner //~ E0382
}
