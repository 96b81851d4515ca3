//! A handle is looked up while a spin lock or a mutex is held, so at a raised IRQL.

use wdm::{Irp, Mutex, PassiveLevel, SpinLock};

fn run(irp: &Irp<'_>, lock: &SpinLock<()>, mutex: &Mutex<()>, irql: &mut PassiveLevel) {
    lock.with(irql, |(), irql| drop(irp.user_event(4, irql))); //~ E0277
    mutex.with(irql, |(), irql| drop(irp.user_event(4, irql))); //~ E0277
}
