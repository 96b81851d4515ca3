//! The work items of `ExQueueWorkItem`, and those of the I/O manager for a driver object.
//!
//! Microsoft's pages: [`ExQueueWorkItem`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exqueueworkitem),
//! [`ExInitializeWorkItem`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-exinitializeworkitem), and
//! [`IoAllocateWorkItem`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioallocateworkitem)

#[macro_use]
mod call;
mod common;

use std::{ffi::c_void, ptr::null_mut};

use call::wait;
use common::{delete, initialise, passes, set, stops, stops_in_some_order};
use nt::{
    DEVICE_OBJECT, DelayedWorkQueue, KEVENT, LIST_ENTRY, POOL_FLAG_NON_PAGED, WORK_QUEUE_ITEM,
};
use ntmodel::Rule;

/// An item in the pool, with the event that its routine sets.
#[repr(C)]
struct Work {
    item: WORK_QUEUE_ITEM,
    done: KEVENT,
    runs: u32,
}

unsafe extern "C" fn sets(context: *mut c_void) {
    // SAFETY: the context is a `Work` that its owner does not access until the event is set.
    set(unsafe { &raw mut (*context.cast::<Work>()).done });
}

unsafe extern "C" fn frees(context: *mut c_void) {
    nt!(ExFreePool(context));
}

unsafe extern "C" fn queues_itself(context: *mut c_void) {
    let work = context.cast::<Work>();
    // SAFETY: the context is a `Work` that its owner does not access until the event is set.
    let runs = unsafe { &mut (*work).runs };
    *runs += 1;
    if *runs == 1 {
        queue(work);
    } else {
        // SAFETY: as above.
        set(unsafe { &raw mut (*work).done });
    }
}

fn new(routine: unsafe extern "C" fn(*mut c_void)) -> *mut Work {
    let size = size_of::<Work>();
    let work = nt!(ExAllocatePool2(POOL_FLAG_NON_PAGED, size, 1)).cast::<Work>();
    let item = WORK_QUEUE_ITEM {
        // As ExInitializeWorkItem, a macro, sets it.
        List: LIST_ENTRY {
            Flink: null_mut(),
            Blink: null_mut(),
        },
        WorkerRoutine: Some(routine),
        Parameter: work.cast(),
    };
    // SAFETY: the block has room for a `Work`, which starts with the item.
    unsafe { work.cast::<WORK_QUEUE_ITEM>().write(item) };
    // SAFETY: as above.
    initialise(unsafe { &raw mut (*work).done });
    work
}

fn queue(work: *mut Work) {
    // SAFETY: only the address is computed.
    let item = unsafe { &raw mut (*work).item };
    nt!(ExQueueWorkItem(item, DelayedWorkQueue));
}

fn wait_and_free(work: *mut Work) {
    // SAFETY: only the address is computed.
    wait(unsafe { &raw mut (*work).done });
    nt!(ExFreePool(work.cast()));
}

fn waits(device: *mut DEVICE_OBJECT) {
    let work = new(sets);
    queue(work);
    wait_and_free(work);
    delete(device);
}

#[test]
fn a_routine_runs_with_its_parameter_and_the_driver_waits_for_it() {
    passes(waits);
}

fn queued_by_its_routine(device: *mut DEVICE_OBJECT) {
    let work = new(queues_itself);
    queue(work);
    wait_and_free(work);
    delete(device);
}

/// The item is removed from the queue before its routine is called.
#[test]
fn a_routine_can_queue_its_item_again() {
    passes(queued_by_its_routine);
}

fn unloaded(device: *mut DEVICE_OBJECT) {
    queue(new(frees));
    delete(device);
}

/// "Driver routines that run in a system worker thread ... the driver must not be unloaded" before: only `IoQueueWorkItem` ensures this.
#[test]
fn a_driver_that_is_unloaded_while_an_item_is_queued_is_stopped() {
    stops_in_some_order(unloaded, Rule::WorkItem, 0xce, 0, "DriverEntry");
}

fn freed(_: *mut DEVICE_OBJECT) {
    let work = new(sets);
    queue(work);
    nt!(ExFreePool(work.cast()));
}

fn queued_twice(_: *mut DEVICE_OBJECT) {
    let work = new(sets);
    queue(work);
    queue(work);
}

fn without_routine(_: *mut DEVICE_OBJECT) {
    let work = new(sets);
    // SAFETY: the block was allocated above.
    unsafe { (*work).item.WorkerRoutine = None };
    queue(work);
}

fn paged(_: *mut DEVICE_OBJECT) {
    let size = size_of::<Work>();
    let work = nt!(ExAllocatePool2(nt::POOL_FLAG_PAGED, size, 1)).cast::<Work>();
    queue(work);
}

/// <https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0xe4--worker-invalid>: 0, an active item was freed; 1, an
/// active item was queued; 7, a routine that is invalid.
#[test]
fn an_item_that_is_queued_is_neither_freed_nor_queued_again() {
    stops_in_some_order(freed, Rule::WorkItem, 0xe4, 0, "ExFreePool");
    stops_in_some_order(queued_twice, Rule::WorkItem, 0xe4, 1, "ExQueueWorkItem");
    stops(without_routine, Rule::WorkItem, 0xe4, 7, "ExQueueWorkItem");
}

/// The page: "the caller must allocate the item in nonpaged pool".
#[test]
fn an_item_is_not_paged() {
    assert_eq!(common::found(paged).routine, "ExQueueWorkItem");
}

unsafe extern "C" fn gets_driver(object: *mut DEVICE_OBJECT, context: *mut c_void) {
    // SAFETY: the first field of a driver object is its type, `IO_TYPE_DRIVER`.
    assert_eq!(unsafe { object.cast::<i16>().read() }, 4);
    nt!(IoFreeWorkItem(context.cast()));
}

fn of_driver(device: *mut DEVICE_OBJECT) {
    // SAFETY: the device object is the test's.
    let driver = unsafe { (*device).DriverObject };
    let item = nt!(IoAllocateWorkItem(driver.cast()));
    nt!(IoQueueWorkItem(
        item,
        Some(gets_driver),
        DelayedWorkQueue,
        item.cast()
    ));
    delete(device);
}

/// The page: "a pointer to the caller's driver object or to one of the caller's device objects".
#[test]
fn an_item_can_belong_to_the_driver_object() {
    passes(of_driver);
}
