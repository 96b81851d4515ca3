//! A DPC, a thread, a timer or a work item with one routine is coerced to one with another.

use wdm::{
    Dpc, DpcRoutine, PassiveLevel, Shared, Thread, ThreadRoutine, Timer, TimerRoutine, WorkItem, WorkItemRoutine,
    irql::DispatchLevel,
};

struct R<F>(F);

impl<F: Send + Sync + 'static> DpcRoutine for R<F> {
    fn run(_: &Dpc<Self>, _: &mut DispatchLevel) {}
}

impl<F: Send + Sync + 'static> ThreadRoutine for R<F> {
    fn run(_: &Thread<Self>, _: &mut PassiveLevel) {}
}

impl<F: Send + Sync + 'static> TimerRoutine for R<F> {
    fn run(_: &Timer<Self>, _: &mut DispatchLevel) {}
}

impl<F: Send + Sync + 'static> WorkItemRoutine for R<F> {
    fn run(_: &Shared<WorkItem<Self>>, _: &mut PassiveLevel) {}
}

fn dpc_of_another_routine<'a>(it: &'a Dpc<R<for<'x> fn(&'x u8)>>) -> &'a Dpc<R<fn(&'static u8)>> {
    it //~ E0308
}

fn thread_of_another_routine<'a>(it: &'a Thread<R<for<'x> fn(&'x u8)>>) -> &'a Thread<R<fn(&'static u8)>> {
    it //~ E0308
}

fn timer_of_another_routine<'a>(it: &'a Timer<R<for<'x> fn(&'x u8)>>) -> &'a Timer<R<fn(&'static u8)>> {
    it //~ E0308
}

fn work_item_of_another_routine<'a>(it: &'a WorkItem<R<for<'x> fn(&'x u8)>>) -> &'a WorkItem<R<fn(&'static u8)>> {
    it //~ E0308
}
