//! Requests that a driver makes and sends to the lower device, without waiting for them.
//!
//! `Block::uses` decides who may access the IRP of a request. It is the number of uses, and a bit that is set when the device is removed:
//!
//! * Sending makes it 1, unless the bit is set. That use ends in the completion routine.
//! * A thread that cancels the request adds a use if there is one, and ends it after `IoCancelIrp` has returned. So the IRP exists during the
//!   call, although it may be completed before.
//! * The thread that ends the last use frees the IRP and calls the driver's routine, which may send the request again.
//!
//! The removal sets the bit first and cancels then. So it cancels a request that was sent before, and no request is sent afterwards.

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    ops::Deref,
    ptr::{from_ref, null_mut, slice_from_raw_parts},
    sync::atomic::Ordering,
};

use nt::{
    atomic::{AtomicPtr, AtomicUsize},
    irp::IoSetCompletionRoutine,
};
use pinned_init::{PinInit, pin_data, try_pin_init};

use crate::{
    ControlCode, DeviceObject, Error, PassiveLevel, QueueOwner, Record, Shared, WorkItem,
    WorkItemRoutine,
    io::{
        device::Internal,
        extension::Extension,
        file::Queued,
        own_irp::{Buffer, End, Operation, OwnIrp},
        owned_queue::DeviceQueues,
    },
    ke::irql::{CallerLevel, NoSpinLockHeld},
};

/// The routine of a [`LowerIrp`], implemented by the value that the driver keeps with it (`IO_COMPLETION_ROUTINE`).
///
/// WDK: [Implementing an IoCompletion Routine](https://learn.microsoft.com/windows-hardware/drivers/kernel/implementing-an-iocompletion-routine).
#[doc(alias = "IO_COMPLETION_ROUTINE")]
#[doc(alias = "STATUS_MORE_PROCESSING_REQUIRED")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no routine for a returned request",
    note = "implement `wdm::LowerIrpRoutine` for the type of the value that is kept with the `LowerIrp`"
)]
pub trait LowerIrpRoutine: Send + Sync + Sized + 'static {
    /// Receives the request when the lower drivers have completed it, and sends it again, keeps it or drops it.
    ///
    /// The removal of the device waits until the routine has returned. Two calls can overlap on two processors: a routine that sends the request
    /// again may still run when that request returns.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn run(irp: LowerIrp<Self>, irql: &mut CallerLevel);
}

/// A request of the driver's own, with its buffer, that is not sent (`IoAllocateIrp`).
///
/// Use it for requests that can take long, such as the reads of a client driver that always waits for data; [`Lower`](crate::Lower) waits for
/// its requests. Sending takes the request by value. When the lower drivers have completed it, the [routine](LowerIrpRoutine::run) gets it back
/// with its buffer, and can send it again. It dereferences to the value that the driver keeps with it.
///
/// A request can be sent at `DISPATCH_LEVEL`. A work item passes it on, so that the lower drivers get it at `PASSIVE_LEVEL`, as most of them
/// require, and so that a request that is sent again each time it returns does not nest calls.
///
/// The device keeps its requests, which are made while it is added. When it is removed, its requests are cancelled and can no longer be sent,
/// and the removal waits until they have returned. A device whose lower drivers lose power cancels its requests itself, with
/// [`LowerIrpHandle::cancel`].
///
/// The requests have no file, like those of [`Lower`](crate::Lower).
///
/// WDK: [Creating IRPs for Lower-Level Drivers](https://learn.microsoft.com/windows-hardware/drivers/kernel/creating-irps-for-lower-level-drivers),
/// [IoAllocateIrp](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioallocateirp).
///
/// # Examples
///
/// A device that reads continuously, and gives what it has read to the requests that wait:
///
/// ```
/// use wdm::{Error, IrpQueue, LowerIrp, LowerIrpHandle, LowerIrpRoutine, NewDevice, PassiveLevel, QueueCallbacks, Shared};
/// use wdm::irql::CallerLevel;
///
/// struct Reader<C: QueueCallbacks>(Shared<IrpQueue<C>>);
///
/// impl<C: QueueCallbacks> LowerIrpRoutine for Reader<C> {
///     fn run(irp: LowerIrp<Self>, irql: &mut CallerLevel) {
///         if irp.result().is_err() {
///             return; // the device is being removed, or was unplugged
///         }
///         if let Some(waiting) = irp.0.remove_first(irql) {
///             let mut reply = waiting.reply();
///             reply.append(irp.output());
///             reply.complete(wdm::NtStatus::SUCCESS, irql);
///         }
///         // It fails only if the device is being removed, or if there is no memory.
///         let _ = irp.read(0, 64, irql);
///     }
/// }
///
/// /// Called by `Device::add`; `Device::start` sends the request for the first time.
/// fn reader<C: QueueCallbacks>(
///     queue: Shared<IrpQueue<C>>,
///     device: &mut NewDevice,
///     irql: &mut PassiveLevel,
/// ) -> Result<(LowerIrp<Reader<C>>, LowerIrpHandle<Reader<C>>), Error> {
///     let irp = LowerIrp::new(Ok::<_, Error>(Reader(queue)), 64, device, irql)?;
///     let handle = irp.handle();
///     Ok((irp, handle))
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver reuses or frees the IRP or its buffer while the lower drivers use them; calls `IoCancelIrp` for an IRP that its completion routine
/// frees at the same time; completes its own IRP with `IoCompleteRequest`; or its completion routine does not return
/// `STATUS_MORE_PROCESSING_REQUIRED`, so that the I/O manager continues with an IRP that is freed. It sends the IRP again in the completion
/// routine, and a lower driver that completes it immediately calls that routine again, until the stack overflows. It is unloaded while an IRP is
/// outstanding.
#[doc(alias = "IoAllocateIrp")]
#[doc(alias = "IoReuseIrp")]
#[doc(alias = "IoFreeIrp")]
#[doc(alias = "IoBuildAsynchronousFsdRequest")]
#[doc(alias = "IoSetCompletionRoutine")]
#[doc(alias = "IoSetCompletionRoutineEx")]
#[doc(alias = "IoCallDriver")]
#[doc(alias = "IofCallDriver")]
pub struct LowerIrp<C: LowerIrpRoutine>(Shared<WorkItem<Block<C>>>);

/// A handle with which a [`LowerIrp`] is cancelled while the lower drivers have it (`IoCancelIrp`).
///
/// WDK: [IoCancelIrp](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocancelirp),
/// [Synchronizing Cancellation in Higher-Level Drivers Without Cancel
/// Routines](https://learn.microsoft.com/windows-hardware/drivers/kernel/synchronizing-cancellation-in-higher-level-drivers-without-cancel-rout).
///
/// # Examples
///
/// ```
/// use wdm::{LowerIrpHandle, LowerIrpRoutine, PassiveLevel};
///
/// /// Ends the reads. Their routine gets `STATUS_CANCELLED` for those that the lower drivers have not completed, and keeps the requests.
/// fn stop<C: LowerIrpRoutine>(readers: &[LowerIrpHandle<C>], irql: &mut PassiveLevel) {
///     for reader in readers {
///         reader.cancel(irql);
///     }
/// }
/// ```
#[doc(alias = "IoCancelIrp")]
pub struct LowerIrpHandle<C: LowerIrpRoutine>(Shared<WorkItem<Block<C>>>);

/// # Invariants
///
/// * While there are uses, `sent` has the IRP, `owner` is the owner of the block that the `LowerIrp` was, and the device is held, with the
///   block's address as the tag. Only the lower drivers use the buffer.
/// * While there are none, the `LowerIrp` accesses `sent`, which is `None`, `end` and the buffer.
#[pin_data]
pub(crate) struct Block<C> {
    uses: AtomicUsize,
    owner: AtomicPtr<()>,
    sent: UnsafeCell<Option<OwnIrp>>,
    end: UnsafeCell<End>,
    buffer: Buffer,
    #[pin]
    context: C,
}

/// The bit of `Block::uses` with which the request is no longer sent.
const REFUSED: usize = 1;
/// A use.
const USE: usize = 2;

// As for a `WorkItem`, the bound is the routine's.
// SAFETY: an IRP and its buffers are not tied to a thread, and the context is `Send`.
unsafe impl<C: LowerIrpRoutine> Send for Block<C> {}
// SAFETY: one thread at a time accesses the cells and the buffer, as the invariants say, and the context is `Sync`.
unsafe impl<C: LowerIrpRoutine> Sync for Block<C> {}

impl<C: LowerIrpRoutine> LowerIrp<C> {
    /// Makes a request with a buffer of `capacity` bytes, which are zero, and the value that its routine works on.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory; the errors of `context`.
    pub fn new(
        context: impl PinInit<C, Error>,
        capacity: usize,
        device: &mut impl QueueOwner,
        irql: &mut PassiveLevel,
    ) -> Result<Self, Error> {
        let device = device.device(Internal::new());
        let end = End {
            result: Ok(()),
            count: 0,
            output: 0,
        };
        let buffer = Buffer::new(&[], capacity)?;
        let block = try_pin_init!(Block {
            uses: AtomicUsize::new(0),
            owner: AtomicPtr::new(null_mut()),
            sent: UnsafeCell::new(None),
            end: UnsafeCell::new(end),
            buffer,
            context <- context,
        }? Error);
        let item = WorkItem::new(block, device, irql)?;
        device.own(&item, |item| &**item)?;
        Ok(Self(item))
    }

    /// Returns a handle with which the request can be cancelled after it was sent.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn handle(&self) -> LowerIrpHandle<C> {
        LowerIrpHandle(self.0.clone())
    }

    /// Returns the buffer, whose start is what a [write](Self::write) transfers.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn buffer(&mut self) -> &mut [u8] {
        // SAFETY: the request is not sent, and it is mutably borrowed.
        unsafe { &mut *self.0.buffer.bytes() }
    }

    /// Returns the output that the lower drivers have written to the buffer. It is empty if they have failed the request, and after a write.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        let start = self.0.buffer.bytes().cast::<u8>();
        // SAFETY: the request is not sent, and the output is a part of the buffer, which is borrowed.
        unsafe { &*slice_from_raw_parts(start, self.end().output) }
    }

    /// Returns whether the lower drivers have succeeded.
    ///
    /// # IRQL
    /// Any.
    ///
    /// # Errors
    /// The error or warning with which they have completed the request; `STATUS_CANCELLED` if it was [cancelled](LowerIrpHandle::cancel) in
    /// time. `STATUS_DELETE_PENDING` if the lower drivers were requested to remove the device before they got the request.
    pub fn result(&self) -> Result<(), Error> {
        self.end().result
    }

    /// Returns `IoStatus.Information`: the number of bytes that were transferred, at most the requested number.
    ///
    /// # IRQL
    /// Any.
    #[must_use]
    pub fn information(&self) -> usize {
        self.end().count
    }

    fn end(&self) -> End {
        // SAFETY: the request is not sent, so no other code writes the cell.
        unsafe { *self.0.end.get() }
    }

    /// Sends an `IRP_MJ_READ` of up to `length` bytes. `offset` is a byte offset, for a device that has offsets.
    ///
    /// WDK: [IRP_MJ_READ](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mj-read).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// The request itself, and `STATUS_DELETE_PENDING` if the driver's device is being removed, `STATUS_INVALID_DEVICE_REQUEST` before it is
    /// attached or if it has no lower device, `STATUS_INVALID_PARAMETER` if `length` is more than the buffer has room for, or
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory. The routine is not called then.
    #[doc(alias = "IRP_MJ_READ")]
    pub fn read<L: NoSpinLockHeld>(
        self,
        offset: i64,
        length: usize,
        irql: &mut L,
    ) -> Result<(), (Self, Error)> {
        self.send(Operation::Read(offset), &[], (0, length), irql)
    }

    /// Sends an `IRP_MJ_WRITE` of the first `length` bytes of the buffer.
    ///
    /// WDK: [IRP_MJ_WRITE](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mj-write).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// As for [`LowerIrp::read`].
    #[doc(alias = "IRP_MJ_WRITE")]
    pub fn write<L: NoSpinLockHeld>(
        self,
        offset: i64,
        length: usize,
        irql: &mut L,
    ) -> Result<(), (Self, Error)> {
        self.send(Operation::Write(offset), &[], (length, 0), irql)
    }

    /// Sends an `IRP_MJ_DEVICE_CONTROL` with an input, which is copied, and up to `output_length` bytes of output.
    ///
    /// With `METHOD_BUFFERED` the input is copied into the buffer of the request, which must have room for it. With `METHOD_IN_DIRECT`
    /// the lower driver reads what the buffer contains.
    ///
    /// WDK: [Buffer Descriptions for I/O Control
    /// Codes](https://learn.microsoft.com/windows-hardware/drivers/kernel/buffer-descriptions-for-i-o-control-codes).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// As for [`LowerIrp::read`].
    #[doc(alias = "IRP_MJ_DEVICE_CONTROL")]
    pub fn device_control<L: NoSpinLockHeld>(
        self,
        code: ControlCode,
        input: &[u8],
        output_length: usize,
        irql: &mut L,
    ) -> Result<(), (Self, Error)> {
        let operation = code.operation(nt::IRP_MJ_DEVICE_CONTROL);
        self.send(operation, input, (input.len(), output_length), irql)
    }

    /// Like [`LowerIrp::device_control`], with an `IRP_MJ_INTERNAL_DEVICE_CONTROL`.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    ///
    /// # Errors
    /// As for [`LowerIrp::read`].
    #[doc(alias = "IRP_MJ_INTERNAL_DEVICE_CONTROL")]
    pub fn internal_device_control<L: NoSpinLockHeld>(
        self,
        code: ControlCode,
        input: &[u8],
        output_length: usize,
        irql: &mut L,
    ) -> Result<(), (Self, Error)> {
        let operation = code.operation(nt::IRP_MJ_INTERNAL_DEVICE_CONTROL);
        self.send(operation, input, (input.len(), output_length), irql)
    }

    fn send<L: NoSpinLockHeld>(
        mut self,
        operation: Operation,
        input: &[u8],
        lengths: (usize, usize),
        irql: &mut L,
    ) -> Result<(), (Self, Error)> {
        let device = match Shared::device(&self.0) {
            Some(device) if device.is_attached() => device.as_ptr(),
            _ => return Err((self, Error::INVALID_DEVICE_REQUEST)),
        };
        // SAFETY: the block's reference keeps the device object, whose extension was initialised before it was attached.
        let extension = unsafe { Extension::of(device) };
        let hold = self.0.hold();
        if !extension.holds.acquire(hold) {
            return Err((self, Error::DELETE_PENDING));
        }
        let made = extension.lower_for_request().and_then(|lower| {
            // SAFETY: the hold keeps the device attached to the lower one.
            unsafe { operation.fill(lower, input, lengths, self.buffer()) }?;
            // SAFETY: as above. The buffer is long enough, and the block drops it after the IRP.
            unsafe { OwnIrp::new(lower, operation, &self.0.buffer, input, lengths) }
        });
        // SAFETY: this is the request, which is not sent.
        if let Err(error) = made.and_then(|own| unsafe { self.0.make_use(own) }) {
            // SAFETY: the hold was acquired above.
            unsafe { Extension::release(device, hold) };
            return Err((self, error));
        }
        let item = self.0.clone();
        item.owner.store(self.0.into_raw(), Ordering::Relaxed);
        // It is not queued: its routine was called when the request was sent before. The hold keeps the device, so it is queued now.
        WorkItem::queue(&item, irql);
        Ok(())
    }
}

impl<C: LowerIrpRoutine> LowerIrpHandle<C> {
    /// Cancels the request if it was sent and has not returned, and returns whether that is so (`IoCancelIrp`).
    ///
    /// The call does not wait: a driver that powers its device down after it waits until the routine has got the request.
    /// The request returns to its [routine](LowerIrpRoutine::run) soon, possibly before this returns, with `STATUS_CANCELLED` unless it was
    /// being completed already. If the routine has already sent the request again, it is cancelled too.
    ///
    /// WDK: [IoCancelIrp](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocancelirp).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoCancelIrp")]
    pub fn cancel<L: NoSpinLockHeld>(&self, _irql: &mut L) -> bool {
        // SAFETY: the handle keeps the block, and no spin lock is held.
        unsafe { self.0.cancel() }
    }
}

impl<C: LowerIrpRoutine> Clone for LowerIrpHandle<C> {
    /// Makes another handle.
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: LowerIrpRoutine> Deref for LowerIrp<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0.context
    }
}

impl<C: LowerIrpRoutine> Block<C> {
    /// The tag of the device's hold.
    const fn hold(&self) -> *mut nt::IRP {
        from_ref(self).cast_mut().cast()
    }

    /// Makes the first use of an IRP, whose completion routine ends it. Fails if the device is being removed.
    ///
    /// # Safety
    /// There is no use, and the caller has the [`LowerIrp`].
    unsafe fn make_use(&self, own: OwnIrp) -> Result<(), Error> {
        let context = from_ref(self).cast_mut().cast();
        let irp = own.irp();
        // SAFETY: this thread owns the IRP. The block outlives it.
        unsafe { IoSetCompletionRoutine(irp, Some(completed::<C>), context, true, true, true) };
        // SAFETY: guaranteed by the caller. The reference ends here, since another thread may use the IRP after the next step.
        unsafe { *self.sent.get() = Some(own) };
        // Release, so that a thread that cancels the request finds its IRP.
        let (release, relaxed) = (Ordering::Release, Ordering::Relaxed);
        let made = self.uses.compare_exchange(0, USE, release, relaxed);
        if made.is_err() {
            // SAFETY: as above, and there is still no use.
            unsafe { *self.sent.get() = None };
            return Err(Error::DELETE_PENDING);
        }
        Ok(())
    }

    /// The IRP.
    ///
    /// # Safety
    /// The caller has a use.
    unsafe fn irp(&self) -> *mut nt::IRP {
        // SAFETY: the cell is not written while there are uses.
        let sent = unsafe { &*self.sent.get() };
        sent.as_ref().map_or(null_mut(), OwnIrp::irp)
    }

    /// Cancels the IRP, if there is a use; returns whether there is.
    ///
    /// # Safety
    /// The caller has an owner of the block. The IRQL is at most `DISPATCH_LEVEL`, and no spin lock is held.
    unsafe fn cancel(&self) -> bool {
        let add = |uses| (uses >= USE).then_some(uses + USE);
        // Acquire pairs with the Release in `make_use`.
        let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
        let is_sent = self.uses.fetch_update(acquire, relaxed, add).is_ok();
        if is_sent {
            // SAFETY: the use was just added.
            let irp = unsafe { self.irp() };
            // SAFETY: the use keeps the IRP, whether or not the lower drivers have completed it. No lock is held.
            unsafe { nt::IoCancelIrp(irp) };
            // SAFETY: as above.
            unsafe { Self::end_use(self) };
        }
        is_sent
    }

    /// Ends a use. The last one gives the request back.
    ///
    /// # Safety
    /// The caller has a use and gives it up; the last use is ended after the lower drivers have completed the IRP. The IRQL is at most
    /// `DISPATCH_LEVEL`, and no spin lock is held. When this returns, the block may have been freed.
    unsafe fn end_use(this: *const Self) {
        // SAFETY: the use keeps the block.
        let uses = unsafe { &(*this).uses };
        // Release, so that this thread's accesses come before; Acquire, so that the last user's come after all of them.
        if uses.fetch_sub(USE, Ordering::AcqRel) & !REFUSED == USE {
            // SAFETY: this was the last use, so this thread has the request.
            unsafe { Self::give_back(this) };
        }
    }

    /// Frees the IRP and calls the driver's routine.
    ///
    /// # Safety
    /// Called once after the last use, with the levels of [`Block::end_use`].
    unsafe fn give_back(this: *const Self) {
        // SAFETY: the owner keeps the block until it is given to the routine below.
        let block = unsafe { &*this };
        // SAFETY: there is no use, so this thread accesses the cells.
        if let Some(own) = unsafe { (*block.sent.get()).take() } {
            // SAFETY: the lower drivers have completed the IRP, or did not get it.
            let end = unsafe { own.end() };
            // SAFETY: as above.
            unsafe { block.end.get().write(end) };
        }
        let hold = block.hold();
        // SAFETY: `send` gave up the owner, and it is made again once.
        let item = unsafe { Shared::from_raw(block.owner.load(Ordering::Relaxed)) };
        let Some(device) = Shared::device(&item).map(DeviceObject::as_ptr) else {
            return;
        };
        // SAFETY: the hold keeps the device.
        let extension = unsafe { Extension::of(device) };
        // The routine may keep a request of another driver, which the removal has to find.
        // SAFETY: as above. The call is ended below.
        unsafe { extension.enter() };
        // SAFETY: guaranteed by the caller.
        C::run(LowerIrp(item), &mut unsafe { CallerLevel::assume() });
        // SAFETY: `send` acquired the hold.
        unsafe { Extension::release(device, hold) };
        // SAFETY: the call was begun above.
        unsafe { Extension::leave(device) };
    }
}

impl<C: LowerIrpRoutine> WorkItemRoutine for Block<C> {
    /// Passes the IRP to the lower drivers, unless it was cancelled before.
    fn run(item: &Shared<WorkItem<Self>>, _irql: &mut PassiveLevel) {
        let Some(device) = Shared::device(item).map(DeviceObject::as_ptr) else {
            return;
        };
        // SAFETY: the IRP's use is ended when it is completed.
        let irp = unsafe { item.irp() };
        // Without a Cancel routine IoCancelIrp has only marked the IRP, and the lower drivers look at the mark when they queue it, if at all.
        // SAFETY: as above.
        let canceled = unsafe { nt::irp::is_cancel_requested(irp) };
        // SAFETY: the hold keeps the device until then.
        let lower = unsafe { Extension::of(device) }.lower_for_request();
        match lower.and_then(|lower| {
            if canceled {
                Err(Error::CANCELLED)
            } else {
                Ok(lower)
            }
        }) {
            Ok(lower) => {
                // SAFETY: the IRP is filled in and this thread owns it; its completion routine stops the completion. The hold keeps the
                // lower device.
                let _ = unsafe { nt::IofCallDriver(lower, irp) };
            }
            Err(error) => {
                // SAFETY: this thread owns the IRP.
                unsafe { nt::irp::set_status(irp, error.to_raw()) };
                // SAFETY: the use of the IRP, which is not sent, ends here instead of in the completion routine.
                unsafe { Self::end_use(&raw const ***item) };
            }
        }
    }
}

impl<C: LowerIrpRoutine> DeviceQueues for Block<C> {
    fn cleanup(&self, _file: &Queued, _irql: &mut PassiveLevel) {}

    fn end_all(&self, _irql: &mut PassiveLevel) {
        self.uses.fetch_or(REFUSED, Ordering::Relaxed);
        // SAFETY: the device has an owner of the block, and no spin lock is held.
        unsafe { self.cancel() };
    }
}

/// The completion routine.
///
/// # Safety
/// Called by the I/O manager with the IRP of a block, at most at `DISPATCH_LEVEL` and with no spin lock held.
unsafe extern "C" fn completed<C: LowerIrpRoutine>(
    _device: *mut nt::DEVICE_OBJECT,
    _irp: *mut nt::IRP,
    context: *mut c_void,
) -> i32 {
    // SAFETY: `make_use` set the block, with the use that ends here.
    unsafe { Block::<C>::end_use(context.cast()) };
    nt::STATUS_MORE_PROCESSING_REQUIRED
}
