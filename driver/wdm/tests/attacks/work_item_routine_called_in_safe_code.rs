//! A DPC calls the routine of a work item or of a thread itself, at `DISPATCH_LEVEL`.

use wdm::{
    Dpc, DpcRoutine, PassiveLevel, Shared, Thread, ThreadRoutine, WorkItem, WorkItemRoutine,
    irql::DispatchLevel,
};

struct Work;
impl ThreadRoutine for Work {
    fn run(_: &Thread<Self>, _: &mut PassiveLevel) {}
}
impl WorkItemRoutine for Work {
    fn run(_: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {}
}

struct Calls(Shared<WorkItem<Work>>, Thread<Work>);
impl DpcRoutine for Calls {
    fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
        <Work as WorkItemRoutine>::run(&dpc.0, irql); //~ E0308
        <Work as ThreadRoutine>::run(&dpc.1, irql); //~ E0308
    }
}
