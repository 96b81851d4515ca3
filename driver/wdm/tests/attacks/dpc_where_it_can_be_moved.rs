//! A DPC and a timer are made in a lock's value and in a zone's block, where a mutable reference could be used to
//! swap them while they are queued.

use wdm::{Dpc, DpcRoutine, Error, SpinLock, Timer, TimerRoutine, Zone, irql::DispatchLevel};

struct Mine;
impl DpcRoutine for Mine {
    fn run(_: &Dpc<Self>, _: &mut DispatchLevel) {}
}
impl TimerRoutine for Mine {
    fn run(_: &Timer<Self>, _: &mut DispatchLevel) {}
}

fn in_a_lock() {
    let _ = SpinLock::<Timer<Mine>>::new(Timer::new(Ok::<_, Error>(Mine))); //~ E0277
    //~^ E0277
}

fn in_a_zone(zone: &Zone<Dpc<Mine>>) {
    let _ = zone.allocate(Dpc::new(Ok::<_, Error>(Mine))); //~ E0277
}
