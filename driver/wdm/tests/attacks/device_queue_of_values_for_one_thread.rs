//! A queue of values that are not `Sync` is sent to another thread.

use core::cell::Cell;
use wdm::DeviceQueue;

fn send(_: impl Send) {}
fn sent(queue: &DeviceQueue<'static, Cell<u32>>) {
    send(queue); //~ E0277
}
