//! A guard is released in another thread, on another processor.

#![forbid(unsafe_code)]

use wdm::SpinLockGuard;

fn send(_: impl Send) {}
fn sent(guard: SpinLockGuard<'_, u32>) {
    send(guard); //~ E0277
}

fn main() {}
