//! Attacks on `StartIoQueue` and on the IRP that its device is serving.

use wdm::{
    CancelSpinLock, CancelableIrp, CurrentIrp, NtStatus, PassiveLevel, PendedIrp, QueueCallbacks,
    SpinLock, StartIoQueue, irql::SpinLockHeld,
};

/// A request is completed after it was made cancelable.
fn cancelable_irp_kept_by_its_owner<C: QueueCallbacks>(current: CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _served = current.make_cancelable(irql);
    let (irp, _) = current.start_next(irql); //~ E0382
    irp.complete(NtStatus::SUCCESS, irql);
}

/// `current_cancelled`, which runs under the cancel spin lock, takes the request back.
fn cancelable_irp_taken_back_in_its_hook<C: QueueCallbacks>(served: CancelableIrp<C>, irql: &mut SpinLockHeld<CancelSpinLock>) {
    let _ = served.take_back(irql); //~ E0277
}

/// A request is taken back twice, so that it has two owners.
fn cancelable_irp_taken_back_twice<C: QueueCallbacks>(served: CancelableIrp<C>, irql: &mut PassiveLevel) {
    let _ = served.take_back(irql);
    let _ = served.take_back(irql); //~ E0382
}

/// A request is read while it is cancelable, when it may be completed already.
fn cancelable_irp_used_while_it_is_cancelable<C: QueueCallbacks>(served: &CancelableIrp<C>) -> u32 {
    served.code() //~ E0599
}

/// The current IRP of a queue is started in two threads.
fn current_irp_in_two_threads<C: QueueCallbacks>(current: &CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _ = (*current).start_next(irql); //~ E0507
}

/// The next IRP is started under a lock, where the queue may have to complete a cancelled IRP.
fn next_started_under_a_lock<C: QueueCallbacks>(lock: &SpinLock<u32>, irp: CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _ = lock.with(irql, |_, held| irp.start_next(held)); //~ E0277
}

/// The current IRP of a queue is completed without starting the next one.
fn start_io_current_completed<C: QueueCallbacks>(current: CurrentIrp<C>, irql: &mut PassiveLevel) {
    current.complete(NtStatus::SUCCESS, irql); //~ E0599
}

/// A pended IRP is made the current IRP of a queue.
fn start_io_current_forged<C: QueueCallbacks>(irp: PendedIrp<C::Record>) -> CurrentIrp<C> {
    CurrentIrp::from(irp) //~ E0308
}

/// The current IRP of one `StartIoQueue` is used to start the next IRP of another queue.
fn start_io_current_of_another_queue<C: QueueCallbacks>(queue: &StartIoQueue<C>, current: CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _ = queue.start_next(current, irql); //~ E0599
}

/// The next IRP is started twice with one current IRP.
fn start_io_current_used_twice<C: QueueCallbacks>(current: CurrentIrp<C>, irql: &mut PassiveLevel) {
    let _ = current.start_next(irql);
    let _ = current.start_next(irql); //~ E0382
}
