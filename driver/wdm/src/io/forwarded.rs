//! Forwarding requests to the next lower driver.

use core::{ffi::c_void, marker::PhantomData, ops::Deref};

use crate::{
    Error, Handled, Irp, IrpView, MajorFunction, NtStatus, PendedIrp, Record, UserBuffer,
    io::{
        extension::Extension,
        forward::{forward_and_wait, forward_with, is_used_up, pass_down},
        irp::{finish_unchanged, take_record},
        irp_view::RECORD,
    },
    ke::irql::{CallerLevel, NoSpinLockHeld, NotRaised, Waitable},
};

/// A request that the lower drivers have completed, and that this driver completes again.
///
/// It dereferences to the [`IrpView`] of the request. If it is dropped, the request is completed with
/// `STATUS_INTERNAL_ERROR`, like a [`PendedIrp`]. One that opens or closes a file is completed with the status of the lower drivers.
///
/// WDK: [Using IRP Completion Routines](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-irp-completion-routines).
///
/// # Examples
///
/// ```
/// use wdm::{CompletionRoutine, Error, NtStatus, PendedIrp, Returned, irql::CallerLevel};
///
/// /// Completes a request that the lower drivers do not support with success.
/// struct Optional;
///
/// impl CompletionRoutine for Optional {
///     type Record = ();
///
///     fn run(irp: Returned<PendedIrp>, irql: &mut CallerLevel) {
///         if irp.result() != Err(Error::INVALID_DEVICE_REQUEST) {
///             return irp.complete(irql);
///         }
///         match irp.into_irp() {
///             Ok(irp) => irp.complete(NtStatus::SUCCESS, irql),
///             Err(open_or_close) => open_or_close.complete(irql),
///         }
///     }
/// }
/// ```
#[must_use = "the request waits until it is completed"]
pub struct Returned<O>(O);

impl<R: Record, O: Deref<Target = IrpView<R>>> Returned<O> {
    /// Returns the owner of the request, with which it can be completed with another status.
    ///
    /// # IRQL
    /// Any.
    ///
    /// # Errors
    /// `self` if the request opens or closes a file: the lower driver has opened or closed it. Forwarded again, it would be
    /// closed twice; completed with an error, a file that was opened would never be closed.
    pub fn into_irp(self) -> Result<O, Self> {
        if self.major().opens_or_closes() {
            return Err(self);
        }
        Ok(self.0)
    }

    /// Returns whether the lower drivers succeeded.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// The error or warning with which they completed the request.
    pub fn result(&self) -> Result<(), Error> {
        // SAFETY: the owner is inside, so the IRP is valid.
        Error::check(unsafe { nt::irp::status(self.0.as_raw()) })
    }

    /// Returns `IoStatus.Information`: for a read, a write or a device control the number of bytes.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn information(&self) -> usize {
        // SAFETY: as above.
        unsafe { nt::irp::information(self.0.as_raw()) }
    }

    /// Returns the output that the lower drivers have written to the system buffer: what was read with buffered I/O, or the
    /// reply to a device control. It is empty if they have failed the request.
    ///
    /// To change it, a driver copies it, and completes [the owner](Self::into_irp) with another reply.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_REQUEST` if the output is not in a system buffer: the request has direct I/O, its code is
    /// `METHOD_NEITHER`, or it is an internal device control that a filter has forwarded.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::{CompletionObserver, InterlockedLong, PendedIrp, Returned, Shared, irql::CallerLevel};
    ///
    /// /// Counts the lines that are read.
    /// struct Lines;
    ///
    /// impl CompletionObserver for Lines {
    ///     type Record = Shared<InterlockedLong>;
    ///
    ///     fn run(irp: &Returned<PendedIrp<Shared<InterlockedLong>>>, _: &mut CallerLevel) {
    ///         let read = irp.output_bytes().unwrap_or_default();
    ///         for _ in read.iter().filter(|byte| **byte == b'\n') {
    ///             irp.record().increment();
    ///         }
    ///     }
    /// }
    /// ```
    #[doc(alias = "SystemBuffer")]
    pub fn output_bytes(&self) -> Result<&[u8], Error> {
        let has_failed = self
            .result()
            .is_err_and(|error| NtStatus::from(error).is_error());
        let length = if has_failed { 0 } else { self.information() };
        self.0.data().written(length)
    }
}

impl<R: Record> Returned<PendedIrp<R>> {
    /// Returns the buffer of a request with direct I/O, as [`PendedIrp::user_buffer`] does.
    ///
    /// WDK: [MmGetSystemAddressForMdlSafe](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmgetsystemaddressformdlsafe).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// As for [`PendedIrp::user_buffer`].
    #[doc(alias = "MmGetSystemAddressForMdlSafe")]
    pub fn user_buffer(&mut self) -> Result<UserBuffer<'_>, Error> {
        self.0.user_buffer()
    }
}

impl<R: Record, O: Deref<Target = IrpView<R>>> Deref for Returned<O> {
    type Target = IrpView<R>;

    fn deref(&self) -> &IrpView<R> {
        &self.0
    }
}

impl<'irp, R: Record> Returned<Irp<'irp, R>> {
    /// Completes the request with the status and the output of the lower drivers (`IoCompleteRequest`).
    ///
    /// WDK: [IoCompleteRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocompleterequest).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoCompleteRequest")]
    pub fn complete<L: NoSpinLockHeld>(self, _irql: &mut L) -> Handled<'irp> {
        let irp = self.0.into_raw();
        // SAFETY: the owner was inside, and gives up the IRP.
        Handled::new(unsafe { finish_unchanged::<R>(irp) })
    }
}

impl<R: Record> Returned<PendedIrp<R>> {
    /// Completes the request with the status and the output of the lower drivers (`IoCompleteRequest`).
    ///
    /// WDK: [IoCompleteRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocompleterequest).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoCompleteRequest")]
    pub fn complete<L: NoSpinLockHeld>(self, _irql: &mut L) {
        // SAFETY: the owner was inside, and gives up the IRP.
        unsafe { finish_unchanged::<R>(self.0.into_raw()) };
    }
}

/// A routine that receives a request back, as its owner, when the lower drivers have completed it.
///
/// WDK: [Implementing an IoCompletion Routine](https://learn.microsoft.com/windows-hardware/drivers/kernel/implementing-an-iocompletion-routine).
#[doc(alias = "IO_COMPLETION_ROUTINE")]
#[doc(alias = "IoCompletion")]
#[doc(alias = "STATUS_MORE_PROCESSING_REQUIRED")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no completion routine",
    note = "implement `wdm::CompletionRoutine` for a type; the request's record is its `Record`"
)]
pub trait CompletionRoutine: 'static {
    /// The record that the driver keeps with the request.
    type Record: Record;

    /// Completes the request, or keeps it to complete it later.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn run(irp: Returned<PendedIrp<Self::Record>>, irql: &mut CallerLevel);
}

/// A routine that observes a request when the lower drivers have completed it, before the drivers above receive it.
///
/// WDK: [Implementing an IoCompletion Routine](https://learn.microsoft.com/windows-hardware/drivers/kernel/implementing-an-iocompletion-routine).
#[doc(alias = "IO_COMPLETION_ROUTINE")]
#[doc(alias = "IoCompletion")]
#[doc(alias = "STATUS_CONTINUE_COMPLETION")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not observe completions",
    note = "implement `wdm::CompletionObserver` for a type; the request's record is its `Record`"
)]
pub trait CompletionObserver: 'static {
    /// The record that the driver keeps with the request.
    type Record: Record;

    /// Observes the completed request.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    fn run(irp: &Returned<PendedIrp<Self::Record>>, irql: &mut CallerLevel);
}

/// Forwarding to the next lower driver of the device stack.
///
/// The lower drivers own a forwarded request, and complete it. To get it back, forward it with a routine, or wait for it. If the
/// device has no lower driver, the request fails with `STATUS_INVALID_DEVICE_REQUEST`; if the lower drivers have removed the device, with
/// `STATUS_DELETE_PENDING`. A read or write also fails with the former if the lower device demands another
/// [`IoType`](crate::IoType) than that of the function driver.
///
/// WDK: [Passing IRPs down the Driver Stack](https://learn.microsoft.com/windows-hardware/drivers/kernel/passing-irps-down-the-driver-stack).
impl<'irp, R: Record> Irp<'irp, R> {
    /// Forwards the request, which does not return to this driver (`IoSkipCurrentIrpStackLocation`, `IoCallDriver`). Its
    /// record is dropped.
    ///
    /// The device is kept until the lower driver's dispatch routine returns, not until the request is completed.
    ///
    /// WDK: [IoSkipCurrentIrpStackLocation](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioskipcurrentirpstacklocation),
    /// [IoCallDriver](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocalldriver).
    ///
    /// # IRQL
    /// That of the dispatch routine, and no spin lock held.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::{Handled, Irp, MajorFunction, NtStatus, irql::CallerLevel};
    ///
    /// /// Ends flushes here, and forwards everything else.
    /// fn request<'irp>(irp: Irp<'irp>, irql: &mut CallerLevel) -> Handled<'irp> {
    ///     match irp.major() {
    ///         MajorFunction::FlushBuffers => irp.complete(NtStatus::SUCCESS, irql),
    ///         _ => irp.forward(irql),
    ///     }
    /// }
    /// ```
    #[doc(alias = "IoSkipCurrentIrpStackLocation")]
    #[doc(alias = "IofCallDriver")]
    #[doc(alias = "IoCallDriver")]
    pub fn forward(self, irql: &mut impl NotRaised) -> Handled<'irp> {
        let lower = match lower(&self) {
            Ok(lower) => lower,
            Err(error) => return self.complete(error, irql),
        };
        let irp = self.into_raw();
        // SAFETY: `self` owned the IRP.
        let device = unsafe { nt::irp::device_object(irp) };
        // SAFETY: as above. A lower driver may use the word that the record is in.
        drop(unsafe { take_record::<R>(irp) });
        // SAFETY: `self` owned the IRP and gives it up.
        let status = unsafe { pass_down(lower, irp) };
        // SAFETY: the IRP had a hold, and its address is only the tag of the hold.
        unsafe { Extension::release(device, irp) };
        Handled::new(status)
    }

    /// Forwards the request, and calls a routine that observes it when the lower drivers have completed it
    /// (`IoSetCompletionRoutine`).
    ///
    /// The device is kept until the routine has returned.
    ///
    /// WDK: [IoSetCompletionRoutine](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosetcompletionroutine).
    ///
    /// # IRQL
    /// That of the dispatch routine, and no spin lock held.
    ///
    /// # What goes wrong in C
    ///
    /// The completion routine does not call `IoMarkIrpPending` if `PendingReturned` is set, so the drivers above wait forever.
    /// Here this is done after the routine has returned.
    #[doc(alias = "IoSetCompletionRoutine")]
    #[doc(alias = "IoCopyCurrentIrpStackLocationToNext")]
    #[doc(alias = "PendingReturned")]
    pub fn forward_with_observer<C: CompletionObserver<Record = R>>(
        self,
        irql: &mut impl NotRaised,
    ) -> Handled<'irp> {
        let lower = match lower(&self) {
            Ok(lower) => lower,
            Err(error) => return self.complete(error, irql),
        };
        let irp = self.into_raw();
        // SAFETY: `self` owned the IRP, whose record is the context from now on.
        let context = unsafe { take_record::<R>(irp) }.into_raw();
        // SAFETY: `self` owned the IRP and gives it up; the routine takes the context.
        Handled::new(unsafe { forward_with(lower, irp, observe::<C>, context.cast()) })
    }

    /// Forwards the request, and calls a routine that owns it when the lower drivers have completed it
    /// (`IoSetCompletionRoutine`).
    ///
    /// The request is pended, since the routine may keep it. The device is kept until the request is completed.
    ///
    /// WDK: [IoSetCompletionRoutine](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosetcompletionroutine).
    ///
    /// # IRQL
    /// That of the dispatch routine, and no spin lock held.
    ///
    /// # What goes wrong in C
    ///
    /// The dispatch routine returns what `IoCallDriver` returned, although the completion routine has stopped the completion
    /// with `STATUS_MORE_PROCESSING_REQUIRED`; or it accesses the IRP after `IoCallDriver`, although it may be completed.
    #[doc(alias = "IoSetCompletionRoutine")]
    #[doc(alias = "IoMarkIrpPending")]
    pub fn forward_with_routine<C: CompletionRoutine<Record = R>>(
        self,
        irql: &mut impl NotRaised,
    ) -> Handled<'irp> {
        let lower = match lower(&self) {
            Ok(lower) => lower,
            Err(error) => return self.complete(error, irql),
        };
        let (irp, pending) = self.into_pending();
        // SAFETY: `self` owned the IRP, so no other thread can complete it before it is marked.
        unsafe { nt::irp::IoMarkIrpPending(irp) };
        // SAFETY: `self` owned the IRP, which is marked, and gives it up.
        unsafe { forward_pended::<C>(lower, irp) };
        pending
    }

    /// Forwards the request, and waits until the lower drivers have completed it.
    ///
    /// Use it if the driver acts after the lower drivers, at `PASSIVE_LEVEL`, and if they complete the request soon: the wait
    /// cannot be cancelled.
    ///
    /// WDK: [IoForwardIrpSynchronously](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioforwardirpsynchronously),
    /// which does the same.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IoForwardIrpSynchronously")]
    #[doc(alias = "IoForwardAndCatchIrp")]
    pub fn forward_and_wait<L: Waitable>(self, irql: &mut L) -> Returned<Self> {
        wait_for_lower_drivers(&self, lower(&self), irql);
        Returned(self)
    }
}

/// Forwarding a request that was pended, for instance one that has waited on a queue.
///
/// The lower drivers get it at `PASSIVE_LEVEL`, as most of them require; a DPC queues a [`WorkItem`](crate::WorkItem) that
/// forwards it. A request that has returned can be forwarded again, to retry it, unless it opens or closes a file, or is a control that another
/// driver has sent, such as an internal device control: it fails with `STATUS_INVALID_DEVICE_REQUEST`, since the lower drivers trust the
/// addresses in its input, which they may have freed or overwritten.
///
/// The lower drivers may be called in another thread than that of the requestor, and in another process. So a request whose buffers
/// are addresses of the requestor's process, such as one with `METHOD_NEITHER`, is not forwarded, and fails with
/// `STATUS_INVALID_DEVICE_REQUEST`; an [`Irp`] of that kind can be forwarded. A driver that knows of addresses or handles inside the buffer of
/// a request with `METHOD_BUFFERED`, such as `IOCTL_SCSI_PASS_THROUGH_DIRECT`, forwards it as an [`Irp`] too: the lower driver would access
/// another process at them.
///
/// WDK: [Using Neither Buffered Nor Direct
/// I/O](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-neither-buffered-nor-direct-i-o).
impl<R: Record> PendedIrp<R> {
    /// Forwards the request, which does not return to this driver (`IoCallDriver`).
    ///
    /// The device is kept until the request is completed; then its record is dropped.
    ///
    /// WDK: [IoCallDriver](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocalldriver).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Examples
    ///
    /// ```
    /// use wdm::{IrpQueue, PassiveLevel, QueueCallbacks, Shared, WorkItem, WorkItemRoutine};
    ///
    /// /// Forwards the requests that have waited while the device was paused.
    /// struct Resume<C: QueueCallbacks>(Shared<IrpQueue<C>>);
    ///
    /// impl<C: QueueCallbacks> WorkItemRoutine for Resume<C> {
    ///     fn run(item: &Shared<WorkItem<Self>>, irql: &mut PassiveLevel) {
    ///         while let Some(irp) = item.0.remove_first(irql) {
    ///             irp.forward(irql);
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # What goes wrong in C
    ///
    /// A driver calls `IoSkipCurrentIrpStackLocation` for an IRP that it has marked pending, so the mark is in the stack location
    /// that the lower driver uses as its own; or it forwards a queued IRP and leaves its Cancel routine set.
    #[doc(alias = "IofCallDriver")]
    #[doc(alias = "IoCallDriver")]
    pub fn forward<L: Waitable>(self, irql: &mut L) {
        self.forward_with_routine::<Unchanged<R>>(irql);
    }

    /// Forwards the request, and calls a routine that owns it when the lower drivers have completed it
    /// (`IoSetCompletionRoutine`).
    ///
    /// The device is kept until the request is completed.
    ///
    /// WDK: [IoSetCompletionRoutine](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iosetcompletionroutine).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IoSetCompletionRoutine")]
    pub fn forward_with_routine<C: CompletionRoutine<Record = R>>(self, irql: &mut impl Waitable) {
        let lower = match lower_in_any_process(&self) {
            Ok(lower) => lower,
            Err(error) => return self.complete(error, irql),
        };
        // SAFETY: `self` owned the IRP, which was marked when it was pended, and gives it up.
        unsafe { forward_pended::<C>(lower, self.into_raw()) };
    }

    /// Forwards the request, and waits until the lower drivers have completed it, as [`Irp::forward_and_wait`] does.
    ///
    /// WDK: [IoForwardIrpSynchronously](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-ioforwardirpsynchronously).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    #[doc(alias = "IoForwardIrpSynchronously")]
    pub fn forward_and_wait<L: Waitable>(self, irql: &mut L) -> Returned<Self> {
        wait_for_lower_drivers(&self, lower_in_any_process(&self), irql);
        Returned(self)
    }
}

/// The completion routine of [`PendedIrp::forward`].
struct Unchanged<R>(PhantomData<fn(R)>);

impl<R: Record> CompletionRoutine for Unchanged<R> {
    type Record = R;

    fn run(irp: Returned<PendedIrp<R>>, irql: &mut CallerLevel) {
        irp.complete(irql);
    }
}

/// Returns the lower device object, to which the IRP is sent.
fn lower<R: Record>(irp: &IrpView<R>) -> Result<*mut nt::DEVICE_OBJECT, Error> {
    // SAFETY: the owner of the IRP lends it.
    let device = unsafe { nt::irp::device_object(irp.as_raw()) };
    // SAFETY: the IRP's hold of the remove lock keeps the device.
    let extension = unsafe { Extension::of(device) };
    let lower = extension.lower_for_request()?;
    // SAFETY: as above.
    if unsafe { is_used_up(irp.as_raw()) } {
        return Err(Error::INVALID_DEVICE_REQUEST);
    }
    let is_transfer = matches!(irp.major(), MajorFunction::Read | MajorFunction::Write);
    // A filter has the flags of the lower device.
    // SAFETY: both device objects exist: the hold keeps the device attached.
    if is_transfer && !extension.is_filter() && !unsafe { has_buffers_for(device, lower) } {
        return Err(Error::INVALID_DEVICE_REQUEST);
    }
    Ok(lower)
}

/// Returns whether the reads and writes of a device have the buffers that the lower device demands. One with neither flag demands the
/// addresses of the requestor, which it would access instead of the buffers of the I/O manager.
///
/// # Safety
/// Both device objects are valid.
unsafe fn has_buffers_for(device: *mut nt::DEVICE_OBJECT, lower: *mut nt::DEVICE_OBJECT) -> bool {
    const BUFFERS: u32 = nt::DO_BUFFERED_IO | nt::DO_DIRECT_IO;
    // SAFETY: guaranteed by the caller.
    let demanded = unsafe { (*lower).Flags };
    // SAFETY: as above.
    demanded & BUFFERS == unsafe { (*device).Flags } & BUFFERS
}

/// As [`lower`], for an IRP that is sent in a thread that may not be the requestor's.
fn lower_in_any_process<R: Record>(irp: &IrpView<R>) -> Result<*mut nt::DEVICE_OBJECT, Error> {
    if irp.data().is_for_one_process() {
        return Err(Error::INVALID_DEVICE_REQUEST);
    }
    lower(irp)
}

/// Passes a pended IRP to the next lower driver, with a completion routine that owns it.
///
/// # Safety
/// The caller owns the IRP, which is marked pending and whose record is a `C::Record`, and gives it up. `lower` is the next lower
/// device object in the stack.
unsafe fn forward_pended<C: CompletionRoutine>(lower: *mut nt::DEVICE_OBJECT, irp: *mut nt::IRP) {
    // SAFETY: the caller owns the IRP. The record is the context from now on.
    let context = unsafe { take_record::<C::Record>(irp) }.into_raw();
    // The routine completes the IRP, so the status that the lower driver returned does not matter.
    // SAFETY: the caller gives up the IRP; the routine takes the context.
    let _ = unsafe { forward_with(lower, irp, give_back::<C>, context.cast()) };
}

/// Passes an IRP to `lower`, unless that is an error, and waits until the lower drivers have completed it. Its owner, which lends it, then
/// owns it again.
fn wait_for_lower_drivers<R: Record, L: Waitable>(
    view: &IrpView<R>,
    lower: Result<*mut nt::DEVICE_OBJECT, Error>,
    irql: &mut L,
) {
    let irp = view.as_raw();
    let lower = match lower {
        Ok(lower) => lower,
        // SAFETY: the owner lends the IRP.
        Err(error) => return unsafe { nt::irp::set_status(irp, error.to_raw()) },
    };
    // SAFETY: as above. A lower driver may use the word that the record is in, which stays owned by the owner.
    let record = unsafe { nt::irp::driver_context::<RECORD>(irp) };
    // SAFETY: the owner lends the IRP and does not use it until the call returns; it owns it again then.
    unsafe { forward_and_wait(lower, irp, irql) };
    // SAFETY: as above.
    unsafe { nt::irp::set_driver_context::<RECORD>(irp, record) };
}

/// Makes the owner of an IRP that has returned to a completion routine.
///
/// # Safety
/// Called once by a completion routine that was set with the IRP's record as its context, which is an `R`.
unsafe fn returned<R: Record>(irp: *mut nt::IRP, record: *mut c_void) -> Returned<PendedIrp<R>> {
    // SAFETY: the lower drivers have completed the IRP, so this driver owns it again.
    unsafe { nt::irp::set_driver_context::<RECORD>(irp, record) };
    // SAFETY: as above. It was sent to a device of this crate, whose hold it still has, and its record is an `R`.
    Returned(unsafe { PendedIrp::from_raw(irp) })
}

/// The completion routine of [`Irp::forward_with_routine`].
///
/// # Safety
/// Called by the I/O manager with the IRP's record, at most at `DISPATCH_LEVEL` and with no spin lock held.
unsafe extern "C" fn give_back<C: CompletionRoutine>(
    device: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
    record: *mut c_void,
) -> i32 {
    // SAFETY: the I/O manager calls this routine once, with the context that was set.
    let irp = unsafe { returned::<C::Record>(irp, record) };
    // SAFETY: the IRP's hold keeps the device.
    let extension = unsafe { Extension::of(device) };
    // SAFETY: as above. The call is ended below.
    unsafe { extension.enter() };
    // SAFETY: guaranteed by the I/O manager.
    C::run(irp, &mut unsafe { CallerLevel::assume() });
    // The IRP may be completed by now, or kept by a device that was removed before.
    // SAFETY: the call was begun above.
    unsafe { Extension::leave(device) };
    nt::STATUS_MORE_PROCESSING_REQUIRED
}

/// The completion routine of [`Irp::forward_with_observer`].
///
/// # Safety
/// As for [`give_back`].
unsafe extern "C" fn observe<C: CompletionObserver>(
    device: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
    record: *mut c_void,
) -> i32 {
    // SAFETY: the I/O manager calls this routine once, with the context that was set.
    let returned = unsafe { returned::<C::Record>(irp, record) };
    // SAFETY: guaranteed by the I/O manager.
    C::run(&returned, &mut unsafe { CallerLevel::assume() });
    // SAFETY: the IRP has a hold.
    unsafe { Extension::called(device) };
    let irp = returned.0.into_raw();
    // SAFETY: this routine owns the IRP until it returns.
    drop(unsafe { take_record::<C::Record>(irp) });
    // SAFETY: this is a completion routine of the IRP.
    if unsafe { nt::irp::pending_returned(irp) } {
        // SAFETY: this routine owns the IRP until it returns.
        unsafe { nt::irp::IoMarkIrpPending(irp) };
    }
    // SAFETY: the IRP's hold, which only this call releases, has kept the device until now.
    unsafe { Extension::release(device, irp) };
    nt::STATUS_SUCCESS
}
