//! A thread or a lookaside list is made while a spin lock, a mutex or a value is held.

use wdm::{
    DeviceObject, Error, Lookaside, Mutex, PassiveLevel, Rundown, SpinLock, Thread, ThreadRoutine,
};

struct Work;
impl ThreadRoutine for Work {
    fn run(_: &Thread<Self>, _: &mut PassiveLevel) {}
}

fn run(
    lock: &SpinLock<()>,
    mutex: &Mutex<()>,
    value: &Rundown<()>,
    device: &DeviceObject,
    irql: &mut PassiveLevel,
) {
    let work = || Ok::<_, Error>(Work);
    lock.with(irql, |(), irql| drop(Thread::new(work(), device, irql))); //~ E0277
    mutex.with(irql, |(), irql| drop(Thread::new(work(), device, irql))); //~ E0277
    value.access(irql, |(), irql| drop(Lookaside::<u32>::new(irql))); //~ E0277
}
