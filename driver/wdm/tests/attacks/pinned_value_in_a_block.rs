//! A timer is initialised in a block of a list or a zone, or in a lock, whose owners lend it exclusively, so that it can be moved.

use wdm::{
    Error, Lookaside, Mutex, Rundown, SpinLock, Timer, TimerRoutine, Zone, irql::DispatchLevel,
};

struct Poll;
impl TimerRoutine for Poll {
    fn run(_: &Timer<Self>, _: &mut DispatchLevel) {}
}

fn timer() -> impl pinned_init::PinInit<Timer<Poll>, Error> {
    Timer::new(Ok::<_, Error>(Poll))
}

fn run(list: &Lookaside<Timer<Poll>>, zone: &Zone<Timer<Poll>>) {
    let _ = list.allocate(timer()); //~ E0277
    let _ = zone.allocate(timer()); //~ E0277
    let _ = SpinLock::<Timer<Poll>>::new(timer()); //~ E0277
    //~^ E0277
    let _ = Mutex::<Timer<Poll>>::new(timer()); //~ E0308
    let _ = Rundown::<Timer<Poll>>::new(timer()); //~ E0308
}
