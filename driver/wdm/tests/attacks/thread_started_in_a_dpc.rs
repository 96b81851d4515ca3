//! A DPC starts a thread, runs several, waits for one, or makes a work item.

use wdm::{
    DeviceObject, Dpc, DpcRoutine, Error, PassiveLevel, Shared, Thread, ThreadRoutine, WorkItem,
    WorkItemRoutine, irql::DispatchLevel, thread,
};

struct Work;
impl ThreadRoutine for Work {
    fn run(_: &Thread<Self>, _: &mut PassiveLevel) {}
}
impl WorkItemRoutine for Work {
    fn run(_: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {}
}

struct Starts(Thread<Work>, DeviceObject);
impl DpcRoutine for Starts {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        let _ = dpc.0.start(irql); //~ E0277
        dpc.0.wait(irql); //~ E0277
        let _ = WorkItem::new(Ok::<_, Error>(Work), &dpc.1, irql); //~ E0277
        let _ = thread::run(2, irql, &|_, _| {}); //~ E0308
    }
}
