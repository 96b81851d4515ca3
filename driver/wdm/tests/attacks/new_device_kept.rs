//! A `NewDevice` is kept after `add`.

use std::cell::Cell;
use wdm::NewDevice;

thread_local! {
    static KEPT: Cell<Option<&'static mut NewDevice>> = const { Cell::new(None) };
}
fn keep(device: &mut NewDevice) {
    KEPT.set(Some(device)); //~ E0521
}
