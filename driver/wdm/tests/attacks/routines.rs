//! Attacks on DPCs, threads, timers, work items and their routines.

use core::pin::Pin;

use pinned_init::PinInit;
use wdm::{
    DeviceObject, Dpc, DpcRoutine, Error, Lookaside, Mutex, PassiveLevel, Rundown, Shared, SpinLock, Thread, ThreadRoutine,
    Timer, TimerRoutine, WorkItem, WorkItemRoutine, Zone,
    irql::DispatchLevel,
    thread,
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

type Work = R<()>;

/// The value of a thread is moved out while the thread runs.
fn thread_value_moved_out(thread: Thread<Work>) -> Work {
    *thread //~ E0507
}

/// A timer that is set is moved out of its `Shared`.
fn timer_moved_out_of_a_shared(timer: Shared<Timer<Work>>) -> Timer<Work> {
    *timer //~ E0507
}

/// A pinned timer is moved.
fn timer_pin_undone<T: TimerRoutine>(timer: Pin<Box<Timer<T>>>) -> Timer<T> {
    *Pin::into_inner(timer) //~ E0277
    //~^ E0277
}

/// A work item is made on the stack, where it is freed while it is queued.
fn work_item_outside_of_a_shared(item: WorkItem<Work>, irql: &mut PassiveLevel) {
    WorkItem::queue(&item, irql); //~ E0308
}

/// A thread or a lookaside list is made while a spin lock, a mutex or a value is held.
fn thread_made_under_a_lock(
    lock: &SpinLock<()>,
    mutex: &Mutex<()>,
    value: &Rundown<()>,
    device: &DeviceObject,
    irql: &mut PassiveLevel,
) {
    let work = || Ok::<Work, Error>(R(()));
    lock.with(irql, |(), irql| drop(Thread::new(work(), device, irql))); //~ E0277
    mutex.with(irql, |(), irql| drop(Thread::new(work(), device, irql))); //~ E0277
    value.access(irql, |(), irql| drop(Lookaside::<u32>::new(irql))); //~ E0277
}

/// A DPC starts a thread, runs several, waits for one, or makes a work item.
fn thread_started_in_a_dpc(thread: &Thread<Work>, device: &DeviceObject, irql: &mut DispatchLevel) {
    let _ = thread.start(irql); //~ E0277
    thread.wait(irql); //~ E0277
    let _ = WorkItem::new(Ok::<Work, Error>(R(())), device, irql); //~ E0277
    let _ = thread::run(2, irql, &|_, _| {}); //~ E0308
}

/// A DPC calls the routine of a work item or of a thread itself, at `DISPATCH_LEVEL`.
fn work_item_routine_called_in_safe_code(item: &Shared<WorkItem<Work>>, thread: &Thread<Work>, irql: &mut DispatchLevel) {
    <Work as WorkItemRoutine>::run(item, irql); //~ E0308
    <Work as ThreadRoutine>::run(thread, irql); //~ E0308
}

fn timer() -> impl PinInit<Timer<Work>, Error> {
    Timer::new(Ok::<_, Error>(R(())))
}

/// A DPC and a timer are made in a lock's value and in a zone's block, where a mutable reference could be used to
/// swap them while they are queued.
fn dpc_where_it_can_be_moved(zone: &Zone<Dpc<Work>>) {
    let _ = SpinLock::<Timer<Work>>::new(timer()); //~ E0277
    //~^ E0277
    let _ = zone.allocate(Dpc::new(Ok::<_, Error>(R(())))); //~ E0277
}

/// A timer is initialised in a block of a list or a zone, or in a mutex or under run-down protection, whose owners lend it
/// exclusively, so that it can be moved.
fn pinned_value_in_a_block(list: &Lookaside<Timer<Work>>, zone: &Zone<Timer<Work>>) {
    let _ = list.allocate(timer()); //~ E0277
    let _ = zone.allocate(timer()); //~ E0277
    let _ = Mutex::<Timer<Work>>::new(timer()); //~ E0308
    let _ = Rundown::<Timer<Work>>::new(timer()); //~ E0308
}
