//! A guard is released in another thread, on another processor.

use wdm::SpinLockGuard;

fn send(_: impl Send) {}
fn sent(guard: SpinLockGuard<'_, u32>) {
    send(guard); //~ E0277
}
