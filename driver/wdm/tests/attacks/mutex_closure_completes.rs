//! A request is completed under a mutex: the completion routine of an upper driver sends the next request in the same thread, which
//! waits for the mutex.

use wdm::{Mutex, NtStatus, PassiveLevel, PendedIrp};

fn run(mutex: &Mutex<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    mutex.with(irql, |_, irql| irp.complete(NtStatus::SUCCESS, irql)); //~ E0277
}
