//! A `NewDevice` is kept after `add`.

use std::sync::Mutex;
use wdm::NewDevice;

static KEPT: Mutex<Option<&'static mut NewDevice>> = Mutex::new(None);
fn keep(device: &mut NewDevice) {
    *KEPT.lock().unwrap() = Some(device); //~ E0521
}
