//! The callbacks of IRP queues.

use crate::{
    CancelSpinLock, IrpView, NtStatus, Record,
    io::{extension::Extension, irp::finish},
    ke::irql::{NoSpinLockHeld, ObjectHeld, SpinLockHeld},
};

/// The callbacks of an [`IrpQueue`](crate::IrpQueue) or a [`StartIoQueue`](crate::StartIoQueue): they run before
/// the queue completes an IRP, and give the keys of IRPs (`IO_CSQ`).
#[doc(alias = "IO_CSQ")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the callbacks of an IRP queue",
    note = "implement `wdm::QueueCallbacks` for it; its `Record` type is the driver's data for each IRP"
)]
pub trait QueueCallbacks: Send + Sync + 'static {
    /// The driver's record for each IRP: `()`, or an owner such as a [`ZoneBox`](crate::ZoneBox).
    type Record: Record;

    /// Whether an [`IrpQueue`](crate::IrpQueue) can find its IRPs by [key](QueueCallbacks::lookup_key). If set,
    /// the queue allocates a block of the pool for each IRP. It keeps the block for a later IRP, until the device is removed.
    const LOOKUP: bool = false;

    /// Called before the queue itself completes an IRP: because the IRP was cancelled, because of
    /// [`IrpQueue::refuse`](crate::IrpQueue::refuse) or [`IrpQueue::purge`](crate::IrpQueue::purge), or because the
    /// device is removed.
    ///
    /// The queue holds no lock during the call, so the callback may acquire any lock. The queue completes the IRP;
    /// the callback cannot. Nor can the callback complete another IRP or purge a queue, since that could call the callback again, once for each
    /// IRP that waits. A callback that has to do so queues a [`Dpc`](crate::Dpc) or a [`WorkItem`](crate::WorkItem). The default does nothing.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn before_completion(
        &self,
        _irp: &IrpView<Self::Record>,
        _status: NtStatus,
        _irql: &mut ObjectHeld,
    ) {
    }

    /// Called when the IRP that a [`StartIoQueue`](crate::StartIoQueue)'s device is serving is cancelled, if it was made
    /// [cancelable](crate::CurrentIrp::make_cancelable): stops the device, so that its DPC takes the IRP back soon.
    ///
    /// It runs under the cancel spin lock, so that the device cannot have started the next IRP: keep it short. It can set a flag
    /// of the device, cancel its timer or queue its DPC. Afterwards the queue calls
    /// [`before_completion`](QueueCallbacks::before_completion) and completes the IRP.
    ///
    /// # IRQL
    /// `DISPATCH_LEVEL`, with the cancel spin lock held.
    fn current_cancelled(
        &self,
        _irp: &IrpView<Self::Record>,
        _irql: &mut SpinLockHeld<CancelSpinLock>,
    ) {
    }

    /// Returns the key by which [`IrpQueue::remove_by_key`](crate::IrpQueue::remove_by_key) finds an IRP. Called
    /// once for each IRP, before it is inserted, if [`LOOKUP`](QueueCallbacks::LOOKUP) is set.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn lookup_key(&self, _irp: &IrpView<Self::Record>) -> u64 {
        0
    }

    /// Returns the key of an IRP on a [`StartIoQueue`](crate::StartIoQueue) that is ordered by key.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn key(&self, _irp: &IrpView<Self::Record>) -> u32 {
        0
    }
}

/// Calls the driver's callback, then completes an IRP.
///
/// # Safety
/// The caller owns the IRP, which is on no queue and has no Cancel routine, and gives it up. It was inserted into the
/// queue with these callbacks, which may be freed before this returns, since the IRP kept the queue's device.
pub(crate) unsafe fn end<C: QueueCallbacks, L: NoSpinLockHeld>(
    callbacks: *const C,
    irp: *mut nt::IRP,
    status: NtStatus,
    _irql: &mut L,
) {
    // SAFETY: the queue outlives the IRP, which is not completed yet.
    let callbacks = unsafe { &*callbacks };
    // SAFETY: the caller's token says that the IRQL is at most DISPATCH_LEVEL and that no spin lock is held.
    let held = &mut unsafe { ObjectHeld::assume() };
    // SAFETY: the caller owns the IRP.
    callbacks.before_completion(unsafe { IrpView::new(&irp) }, status, held);
    // SAFETY: as above.
    let device = unsafe { nt::irp::device_object(irp) };
    // The callback, or `current_cancelled` before it, may have kept another request.
    // SAFETY: the IRP was sent to a device of this crate, whose hold it has.
    unsafe { Extension::called(device) };
    // SAFETY: the caller owns the IRP and gives it up. The token says that no spin lock is held.
    unsafe { finish::<C::Record>(irp, status, 0) };
}
