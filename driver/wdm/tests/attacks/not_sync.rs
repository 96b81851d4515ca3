//! A value that is not `Sync`, and that many threads or processors would use, is the state of a device, a file or a filter, the
//! callbacks of a queue, or the context of a routine.

use core::cell::Cell;

use pinned_init::PinInit;
use wdm::{
    Device, Dpc, DpcRoutine, Error, FileState, Filter, NewDevice, NewFilter, PassiveLevel, QueueCallbacks, Shared, Thread,
    ThreadRoutine, Timer, TimerRoutine, WorkItem, WorkItemRoutine, irql::DispatchLevel,
};

struct Mine(Cell<u32>);

impl Device for Mine { //~ E0277
    type File = ();

    fn add(_: &mut NewDevice, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(Cell::new(1))))
    }
}

impl FileState<u32> for Mine { //~ E0277
    fn open(_: &u32, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(Cell::new(1))))
    }
}

impl Filter for Mine { //~ E0277
    fn add(_: &mut NewFilter, _: &mut PassiveLevel) -> Result<impl PinInit<Self, Error>, Error> {
        Ok(Ok::<_, Error>(Self(Cell::new(1))))
    }
}

impl QueueCallbacks for Mine { //~ E0277
    type Record = ();
}

impl DpcRoutine for Mine { //~ E0277
    fn run(dpc: &Dpc<Self>, _: &mut DispatchLevel) {
        dpc.0.set(1);
    }
}

impl ThreadRoutine for Mine { //~ E0277
    fn run(thread: &Thread<Self>, _: &mut PassiveLevel) {
        thread.0.set(1);
    }
}

impl TimerRoutine for Mine { //~ E0277
    fn run(timer: &Timer<Self>, _: &mut DispatchLevel) {
        timer.0.set(1);
    }
}

impl WorkItemRoutine for Mine { //~ E0277
    fn run(item: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {
        item.0.set(1);
    }
}
