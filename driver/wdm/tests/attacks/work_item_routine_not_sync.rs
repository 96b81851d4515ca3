//! A work item's routine works on a value that other threads may not share.

use core::cell::Cell;

use wdm::{PassiveLevel, Shared, WorkItem, WorkItemRoutine};

struct Mine(Cell<u32>);

impl WorkItemRoutine for Mine { //~ E0277
    fn run(item: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {
        item.0.set(1);
    }
}
