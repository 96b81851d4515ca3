//! Attacks on the queues of IRPs.

use wdm::{
    CancelSpinLock, DeviceObject, IrpQueue, IrpView, NewDevice, PassiveLevel, PendedIrp,
    QueueCallbacks, QueueOwner, Shared, SpinLock,
};

/// An IRP is inserted under the cancel spin lock, where the queue may have to complete it.
fn insertion_under_the_cancel_spin_lock<C: QueueCallbacks>(queue: &IrpQueue<C>, irp: PendedIrp<C::Record>, irql: &mut PassiveLevel) {
    CancelSpinLock::with(irql, |held| queue.insert_pended(irp, held)); //~ E0277
}

/// The closure of `remove_matching` keeps the view of an IRP that another thread may complete.
fn matching_closure_keeps_the_view<C: QueueCallbacks>(queue: &IrpQueue<C>, irql: &mut PassiveLevel) {
    let mut kept: Option<&IrpView<C::Record>> = None;
    let _ = queue.remove_matching(irql, |irp| {
        kept = Some(irp); //~ E0521
        false
    });
    let _ = kept.map(|irp| irp.code());
}

/// The closure of `remove_matching`, which runs under the queue's lock, uses the caller's token.
fn matching_closure_uses_the_token<C: QueueCallbacks>(queue: &IrpQueue<C>, irql: &mut PassiveLevel) {
    let _ = queue.remove_matching(irql, |_| queue.length(irql) == 0); //~ E0501
    //~^ E0500
}

/// A queue is made with a device object, after `add`.
fn queue_outside_of_add<C: QueueCallbacks>(callbacks: C, mut device: DeviceObject, irql: &mut PassiveLevel) {
    let _ = IrpQueue::new(Ok::<_, core::convert::Infallible>(callbacks), &mut device, irql); //~ E0277
}

/// A filter's device becomes a function driver's by a method of the sealed trait, which is found through a bound.
fn queue_owner_made_a_device<O: QueueOwner>(owner: &mut O) -> &mut NewDevice {
    owner.device() //~ E0061
}

/// Two queues that hold IRPs are swapped.
fn queue_swapped_with_another<C: QueueCallbacks>(mut one: Shared<IrpQueue<C>>, mut other: Shared<IrpQueue<C>>) {
    core::mem::swap(&mut *one, &mut *other); //~ E0596
    //~^ E0596
}

/// The length of a queue is read under a lock that is not ordered before the queue's lock.
fn queue_under_a_lock_alone<C: QueueCallbacks>(queue: &IrpQueue<C>, lock: &SpinLock<u32>, irql: &mut PassiveLevel) {
    lock.with(irql, |_, held| queue.length(held)); //~ E0271
}
