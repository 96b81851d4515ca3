//! A work item with one routine is coerced to a work item with another.

use wdm::{PassiveLevel, Shared, WorkItem, WorkItemRoutine};

struct R<F>(F);
impl<F: Send + Sync + 'static> WorkItemRoutine for R<F> {
    fn run(_: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {}
}

fn coerce<'a>(it: &'a WorkItem<R<for<'x> fn(&'x u8)>>) -> &'a WorkItem<R<fn(&'static u8)>> {
    it //~ E0308
}
