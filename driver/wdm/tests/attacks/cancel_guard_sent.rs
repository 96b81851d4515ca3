//! The guard of the cancel spin lock is sent to another thread.

use wdm::CancelSpinLockGuard;

fn send(_: impl Send) {}
fn sent(guard: CancelSpinLockGuard<'_>) {
    send(guard); //~ E0277
}
