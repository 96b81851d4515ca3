//! A spin lock is shared between threads only if its value is `Send`.

use core::cell::Cell;

use wdm::SpinLock;

struct OfOneThread(*const Cell<u32>);

fn share(lock: &SpinLock<OfOneThread>) {
    fn between_threads(_: impl Sync) {}
    between_threads(lock); //~ E0277
    //~| `Send`
    let _ = OfOneThread(core::ptr::null()).0;
}
