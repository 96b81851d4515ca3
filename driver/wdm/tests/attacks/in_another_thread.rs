//! What belongs to one thread, or contains a value that does, is sent to another thread or shared with it.

use core::cell::Cell;
use std::rc::Rc;

use wdm::{
    CancelSpinLockGuard, DeviceQueue, Irp, LookasideBox, Mutex, RegistryKey, Reply, Returned, Rundown, RwSpinLock, SList,
    Shared, SpinLock, SpinLockGuard, UserBuffer, ZoneBox,
};

fn send(_: impl Send) {}
fn share<T: Sync>() {}

/// The guard of the cancel spin lock is sent to another thread.
fn cancel_guard_sent(guard: CancelSpinLockGuard<'_>) {
    send(guard); //~ E0277
}

/// A guard is released in another thread, on another processor.
fn guard_sent_to_another_thread(guard: SpinLockGuard<'_, u32>) {
    send(guard); //~ E0277
}

/// A guard is shared with another thread.
fn guard_shared_with_another_thread() {
    share::<SpinLockGuard<'static, u32>>(); //~ E0277
}

/// Two threads share a value that only one may have, through a lock that is a static.
static STATIC_LOCK_OF_A_VALUE_FOR_ONE_THREAD: SpinLock<Option<Rc<u32>>> = SpinLock::new_static(None); //~ E0277

/// A value that may not be shared between threads is read by several at a time.
static RW_SPIN_LOCK_OF_A_VALUE_FOR_ONE_THREAD: RwSpinLock<Cell<u32>> = RwSpinLock::new(Cell::new(0)); //~ E0277

/// A value that may not be sent to another thread is lent to one after the other.
fn mutex_of_a_value_for_one_thread() {
    share::<Mutex<Rc<u32>>>(); //~ E0277
}

/// A value that threads may not share is accessed by several at a time.
fn rundown_of_a_value_for_one_thread() {
    share::<Rundown<Cell<u32>>>(); //~ E0277
}

/// A value moves to another thread through a list.
static SLIST_OF_VALUES_FOR_ONE_THREAD: SList<Rc<u32>> = SList::new(); //~ E0277

/// A queue of values that are not `Sync` is sent to another thread.
fn device_queue_of_values_for_one_thread(queue: &DeviceQueue<'static, Cell<u32>>) {
    send(queue); //~ E0277
}

/// Owners in two threads share a value that is not `Sync`.
fn shared_of_a_cell_sent(shared: Shared<Cell<u32>>) {
    send(shared.clone()); //~ E0277
}

/// Threads share a block of a lookaside list that contains a cell.
fn lookaside_of_a_cell_shared() {
    share::<LookasideBox<Cell<u32>>>(); //~ E0277
}

/// Threads share a block of a zone whose value is not `Sync`.
fn zone_box_of_a_cell_shared() {
    share::<ZoneBox<Cell<u32>>>(); //~ E0277
}

/// A block of a zone whose value is not `Send` is sent to another thread.
fn zone_box_of_a_foreign_owner_sent(block: ZoneBox<Rc<u32>>) {
    send(block); //~ E0277
}

/// The path of the registry key is used in a thread that outlives `DriverEntry`.
fn registry_key_in_another_thread(registry: &RegistryKey<'_>) {
    send(registry); //~ E0277
    //~^ E0277
}

/// A reply to the dispatch routine's IRP is sent to another thread.
fn reply_in_another_thread(irp: Irp<'_>) {
    let reply: Reply<Irp<'_>> = irp.reply();
    send(reply); //~ E0277
}

/// The dispatch routine's IRP is sent to another thread after it has come back.
fn returned_irp_in_another_thread(irp: Returned<Irp<'_>>) {
    send(irp); //~ E0277
}

/// The buffer of a request is sent to a thread that does not have the request.
fn user_buffer_in_another_thread(buffer: UserBuffer<'_>) {
    send(buffer); //~ E0277
}
