//! A guard is shared with another thread.

use wdm::SpinLockGuard;

fn share(_: &(impl Sync + ?Sized)) {}
fn shared(guard: SpinLockGuard<'_, u32>) {
    share(&guard); //~ E0277
}
