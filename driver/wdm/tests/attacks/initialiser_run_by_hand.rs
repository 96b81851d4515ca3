//! The driver runs a lock's initialiser itself, in a place that may move.

use pinned_init::PinInit;
use wdm::SpinLock;

fn make(place: *mut SpinLock<u32>) {
    let _ = SpinLock::new(0).__pinned_init(place); //~ E0133
}
