//! Attacks on the IRP of a dispatch routine and on pended ones.

use wdm::{
    Handled, InterlockedList, Irp, IrpQueue, IrpView, NtStatus, PassiveLevel, PendedIrp,
    QueueCallbacks, QueuedSpinLock, Shared, SpinLock, thread,
    irql::{DispatchLevel, raise_to_dispatch},
};

/// An IRP is completed under a queued spin lock.
fn completed_under_a_queued_spin_lock(lock: &QueuedSpinLock<u32>, irp: PendedIrp, irql: &mut DispatchLevel) {
    lock.with_at_dpc(irql, |_, held| irp.complete(NtStatus::SUCCESS, held)); //~ E0277
}

/// An IRP is completed under two locks of one class.
fn completed_under_both_locks(one: &SpinLock<u32>, other: &SpinLock<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    SpinLock::with_both(one, other, irql, |_, _, held| irp.complete(NtStatus::SUCCESS, held)); //~ E0277
}

/// Each of several threads completes the IRP that their closure has captured.
fn irp_completed_by_each_thread(irp: PendedIrp, irql: &mut PassiveLevel) {
    let _ = thread::run(2, irql, &move |_, irql| irp.complete(NtStatus::SUCCESS, irql)); //~ E0507
}

/// A list of IRPs with one type of record is used as one of IRPs with another type.
fn irp_list_of_another_record<'a>(it: &'a InterlockedList<PendedIrp<Shared<for<'x> fn(&'x u8)>>>) -> &'a InterlockedList<PendedIrp<Shared<fn(&'static u8)>>> {
    it //~ E0308
}

/// The lifetime of an IRP is shortened to that of an inner stack frame.
fn irp_mark_shortened<'a>(it: Irp<'static>) -> Irp<'a> {
    it //~ lifetime
}

/// An IRP with one type of record is inserted into a queue of IRPs with another type.
fn irp_of_another_queues_record<C: QueueCallbacks<Record = Shared<u32>>>(queue: &IrpQueue<C>, irp: PendedIrp<Shared<u64>>, irql: &mut PassiveLevel) {
    queue.insert_pended(irp, irql); //~ E0308
}

/// An IRP with one type of record is used as one with another type.
fn irp_of_another_record<'a>(it: Irp<'a, Shared<for<'x> fn(&'x u8)>>) -> Irp<'a, Shared<fn(&'static u8)>> {
    it //~ E0308
}

/// An IRP is used after it was queued, when other threads may complete it.
fn irp_used_after_insertion<'irp, C: QueueCallbacks>(queue: &IrpQueue<C>, irp: Irp<'irp, C::Record>, irql: &mut PassiveLevel) -> Handled<'irp> {
    let handled = queue.insert(irp, irql);
    let _ = irp.code(); //~ E0382
    handled
}

/// The view of an IRP with one type of record is used as the view of one with another type.
fn irp_view_of_another_record<'a>(it: &'a IrpView<Shared<for<'x> fn(&'x u8)>>) -> &'a IrpView<Shared<fn(&'static u8)>> {
    it //~ E0308
}

/// The IRPs of two calls change places.
fn irps_of_two_calls_exchanged<'one, 'other>(one: &mut Irp<'one>, other: &mut Irp<'other>) {
    core::mem::swap(one, other); //~ lifetime
    //~^ lifetime
}

/// The outer token is used while a guard lives.
fn outer_token_with_a_guard(lock: &SpinLock<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    let guard = lock.lock(irql);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0499
    drop(guard);
}

/// A pended IRP is cloned, so that it could be completed twice.
fn pended_irp_cloned(irp: wdm::PendedIrp) -> (wdm::PendedIrp, wdm::PendedIrp) {
    (irp.clone(), irp) //~ E0599
}

/// A pended IRP is completed twice.
fn pended_irp_completed_twice(irp: PendedIrp, irql: &mut PassiveLevel) {
    irp.complete(NtStatus::SUCCESS, irql);
    irp.complete(NtStatus::SUCCESS, irql); //~ E0382
}

/// A pended IRP with one type of record is used as one with another type.
fn pended_irp_of_another_record(it: PendedIrp<Shared<for<'x> fn(&'x u8)>>) -> PendedIrp<Shared<fn(&'static u8)>> {
    it //~ E0308
}

/// A pended IRP is inserted into two queues.
fn pended_irp_used_after_insertion<C: QueueCallbacks>(queue: &IrpQueue<C>, irp: PendedIrp<C::Record>, irql: &mut PassiveLevel) {
    queue.insert_pended(irp, irql);
    queue.put_back(irp, irql); //~ E0382
}

/// The IRQL is raised and lowered under a lock, with a token that states that no lock is held.
fn raised_under_a_lock(lock: &SpinLock<u32>, irp: PendedIrp, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| {
        raise_to_dispatch(held, |irql| irp.complete(NtStatus::SUCCESS, irql)); //~ E0277
    });
}

/// A view is kept after the completion.
fn view_kept_after_completion(irp: PendedIrp, irql: &mut PassiveLevel) -> u32 {
    let view: &IrpView = &irp;
    irp.complete(NtStatus::SUCCESS, irql); //~ E0505
    view.code()
}

/// A view is moved out of its reference, to outlive its IRP.
fn view_of_an_irp_moved(irp: PendedIrp) -> IrpView {
    *irp //~ E0507
}

/// A thread uses the view that was lent to another thread.
fn view_sent_to_a_thread(view: &IrpView, irql: &mut PassiveLevel) {
    let _ = thread::run(2, irql, &|_, _| assert!(view.code() > 0)); //~ E0277
}
