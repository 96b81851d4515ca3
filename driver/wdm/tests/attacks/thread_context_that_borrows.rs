//! The value of a thread, a work item, a DPC or a timer borrows from a frame that ends before its routine runs.

use wdm::{
    Dpc, DpcRoutine, PassiveLevel, Shared, Thread, ThreadRoutine, Timer, TimerRoutine, WorkItem,
    WorkItemRoutine, irql::DispatchLevel,
};

struct Borrows<'a>(&'a u32);

impl ThreadRoutine for Borrows<'_> { //~ E0478
    fn run(_: &Thread<Self>, _: &mut PassiveLevel) {}
}

impl WorkItemRoutine for Borrows<'_> { //~ E0478
    fn run(_: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {}
}

impl DpcRoutine for Borrows<'_> { //~ E0478
    fn run(_: &Dpc<Self>, _: &mut DispatchLevel) {}
}

impl TimerRoutine for Borrows<'_> { //~ E0478
    fn run(_: &Timer<Self>, _: &mut DispatchLevel) {}
}
