//! What a driver does when its queue completes an IRP by itself, and by what the queue finds or orders its IRPs.

use crate::{IrpView, NtStatus, Record, ke::irql::NoSpinLockHeld};

/// What a driver does when its queue completes an IRP by itself.
pub trait QueueCallbacks: Send + Sync + 'static {
    /// What the driver keeps with each IRP: `()`, or an owner such as a [`ZoneBox`](crate::ZoneBox).
    type Record: Record;

    /// Whether an [`IrpQueue`](crate::IrpQueue) finds its IRPs by [key](QueueCallbacks::lookup_key) too, which costs a
    /// block of the pool for each.
    const LOOKUP: bool = false;

    /// Called just before the queue completes an IRP that was cancelled, or that it had to end because it
    /// was told to ([`IrpQueue::refuse`](crate::IrpQueue::refuse), [`IrpQueue::purge`](crate::IrpQueue::purge)) or the
    /// device is removed.
    ///
    /// The queue holds no lock during the call, so the callback may take any. It need not, and cannot, complete
    /// the IRP.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn before_completion<L: NoSpinLockHeld>(
        &self,
        irp: &IrpView<Self::Record>,
        status: NtStatus,
        irql: &mut L,
    );

    /// The key by which [`IrpQueue::remove_by_key`](crate::IrpQueue::remove_by_key) finds an IRP, if
    /// [`LOOKUP`](QueueCallbacks::LOOKUP) says that it is found by one. Called once, before the IRP is inserted.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn lookup_key(&self, _irp: &IrpView<Self::Record>) -> u64 {
        0
    }

    /// The key of an IRP on a [`StartIoQueue`](crate::StartIoQueue) whose order is by key.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn key(&self, _irp: &IrpView<Self::Record>) -> u32 {
        0
    }
}
