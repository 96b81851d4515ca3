//! A work item is made on the stack, where it is freed while it is queued.

use wdm::{PassiveLevel, Shared, WorkItem, WorkItemRoutine};

struct Work;

impl WorkItemRoutine for Work {
    fn run(_: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {}
}

fn queue(item: WorkItem<Work>, irql: &mut PassiveLevel) {
    WorkItem::queue(&item, irql); //~ E0308
}
