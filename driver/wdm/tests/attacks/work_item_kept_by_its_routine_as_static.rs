//! A work item's routine stores the reference that it was called with in a static.

use std::sync::Mutex;

use wdm::{PassiveLevel, Shared, WorkItem, WorkItemRoutine};

struct Work;

static KEPT: Mutex<Option<&'static Shared<WorkItem<Work>>>> = Mutex::new(None);

impl WorkItemRoutine for Work {
    fn run(item: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {
        *KEPT.lock().unwrap() = Some(item); //~ E0521
    }
}
