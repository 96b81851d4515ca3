//! A queue of values that may not be shared is sent to another thread.

#![forbid(unsafe_code)]

use core::cell::Cell;
use wdm::DeviceQueue;

fn send(_: impl Send) {}
fn sent(queue: &DeviceQueue<'static, Cell<u32>>) {
    send(queue); //~ E0277
}

fn main() {}
