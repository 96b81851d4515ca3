//! The IRP that a `StartIoQueue`'s device is serving.

use core::{marker::PhantomData, ops::Deref, ptr::NonNull};

use super::{Start, StartIoQueue};
use crate::{CancelSpinLock, IrpView, PendedIrp, QueueCallbacks, Record, ke::irql::NoSpinLockHeld};

/// The IRP that the device of a [`StartIoQueue`] is serving (`DeviceObject->CurrentIrp`). It is pended, and not
/// cancelable until [`CurrentIrp::make_cancelable`].
///
/// It is also the proof that its queue is busy. When the device has served the IRP, [`CurrentIrp::start_next`]
/// returns it, so that the driver can complete it, and starts the next one. Dropping a `CurrentIrp` completes the
/// IRP with `STATUS_INTERNAL_ERROR` and leaves the queue busy: its IRPs then stay queued until they are cancelled.
///
/// # Examples
///
/// ```
/// use wdm::{CurrentIrp, NtStatus, QueueCallbacks, Start, irql::DispatchLevel};
///
/// /// Completes the request that the device has served, and returns the one that it serves next.
/// fn served<C: QueueCallbacks>(irp: CurrentIrp<C>, irql: &mut DispatchLevel) -> Option<CurrentIrp<C>> {
///     let (served, next) = irp.start_next(irql);
///     served.complete(NtStatus::SUCCESS, irql);
///     match next {
///         Start::Now(next) => Some(next),
///         Start::Nothing => None,
///     }
/// }
/// ```
#[must_use = "the queue stays busy until the next IRP is started"]
pub struct CurrentIrp<C: QueueCallbacks> {
    pub(super) irp: PendedIrp<C::Record>,
    /// The queue that the IRP was removed from, which outlives the IRP.
    pub(super) queue: NonNull<StartIoQueue<C>>,
    // Invariant, as the queue is.
    pub(super) _queue: PhantomData<fn(C) -> C>,
}

// SAFETY: an IRP is not tied to a thread, its record is `Send`, and the queue, which is shared, is `Sync`.
unsafe impl<C: QueueCallbacks> Send for CurrentIrp<C> {}

// SAFETY: a shared reference gives read access to the IRP, and shared access to its record's target.
unsafe impl<C: QueueCallbacks> Sync for CurrentIrp<C> where <C::Record as Record>::Target: Sync {}

impl<C: QueueCallbacks> Deref for CurrentIrp<C> {
    type Target = IrpView<C::Record>;

    fn deref(&self) -> &IrpView<C::Record> {
        &self.irp
    }
}

impl<C: QueueCallbacks> CurrentIrp<C> {
    /// Returns the IRP, which the driver completes, and the next one, which the driver starts (`IoStartNextPacket`,
    /// `IoStartNextPacketByKey`).
    ///
    /// The next IRP is the first that arrived (`KeRemoveDeviceQueue`). On a queue ordered by key it is the first
    /// one whose key is not smaller than this IRP's, or else the first one (`KeRemoveByKeyDeviceQueue`).
    ///
    /// WDK: [IoStartNextPacket](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iostartnextpacket),
    /// [IoStartNextPacketByKey](https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/nf-ntifs-iostartnextpacketbykey).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoStartNextPacket")]
    #[doc(alias = "IoStartNextPacketByKey")]
    pub fn start_next<L: NoSpinLockHeld>(self, irql: &mut L) -> (PendedIrp<C::Record>, Start<C>) {
        let Self { irp, queue, .. } = self;
        // SAFETY: the queue outlives the IRP, which is completed later.
        let queue = unsafe { queue.as_ref() };
        let key = queue.key(&irp);
        // SAFETY: the lock is held, and the queue is busy with this IRP.
        let step = CancelSpinLock::with(irql, |_| unsafe { queue.take(key) });
        (irp, queue.follow(step, key, irql))
    }
}
