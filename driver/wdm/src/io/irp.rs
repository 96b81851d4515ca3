//! IRPs. The owner of an IRP is the code that may complete it.

use core::{marker::PhantomData, ops::Deref, ptr::NonNull};

use zerocopy::{Immutable, IntoBytes};

use crate::{
    DeviceObject, Error, IrpView, ListItem, MajorFunction, NtStatus, PassiveLevel, Record, Reply,
    UserBuffer,
    io::{device_object::Deferred, extension::Extension, irp_view::RECORD},
    ke::irql::{AtMostDispatch, NoSpinLockHeld},
    log,
};

/// The IRP that a dispatch routine was called with. The routine must complete, pend or queue it. `R` is the
/// driver's record for it.
///
/// The lifetime `'irp` identifies this IRP. The dispatch routine returns a [`Handled`] with the same lifetime,
/// which only this IRP can make.
///
/// An `Irp` that is dropped is completed with `STATUS_INTERNAL_ERROR`, like a [`PendedIrp`]. Dropping it is a bug
/// in the driver, but the request is not lost.
///
/// An `Irp` stays in the thread of the dispatch routine, in whose process the requestor's handles are looked up. A
/// [`PendedIrp`] can be sent to another thread.
///
/// WDK: [Completing IRPs](https://learn.microsoft.com/windows-hardware/drivers/kernel/completing-irps).
///
/// # Examples
///
/// ```compile_fail
/// # use wdm::{Handled, Irp, NtStatus, PassiveLevel};
/// fn completed_twice<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
///     irp.complete(NtStatus::SUCCESS, irql);
///     irp.complete(NtStatus::SUCCESS, irql)
/// }
/// ```
#[doc(alias = "IRP")]
pub struct Irp<'irp, R: Record = ()> {
    irp: PendedIrp<R>,
    // Neither `Send` nor `Sync`.
    _mark: PhantomData<(Mark<'irp>, *mut ())>,
}

/// Ties a value to exactly one lifetime: it is invariant, so the lifetime can be neither extended nor shortened.
type Mark<'irp> = PhantomData<fn(&'irp ()) -> &'irp ()>;

impl<'irp> Irp<'irp> {
    /// Takes ownership of an IRP from the I/O manager.
    ///
    /// # Safety
    /// The caller owns the IRP: one of a [`MajorFunction`], sent to a device of this crate, with no Cancel
    /// routine, linked nowhere, for which the device's remove lock is held. The lifetime is that of the
    /// dispatch routine's call, and no other `Irp` is made with it.
    pub(crate) unsafe fn from_raw(irp: *mut nt::IRP) -> Self {
        Self {
            // SAFETY: guaranteed by the caller; the record `()` needs no memory.
            irp: unsafe { PendedIrp::from_raw(irp) },
            _mark: PhantomData,
        }
    }

    /// Attaches a record to the IRP, which stays with it until it is completed.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use = "the request waits until it is completed"]
    pub fn with_record<R: Record>(self, record: R) -> Irp<'irp, R> {
        let raw = self.irp.into_raw();
        // SAFETY: `self` owned the IRP.
        unsafe { nt::irp::set_driver_context::<RECORD>(raw, record.into_raw().cast()) };
        Irp {
            // SAFETY: as above, and its record is an `R` now.
            irp: unsafe { PendedIrp::from_raw(raw) },
            _mark: PhantomData,
        }
    }
}

impl<'irp, R: Record> Irp<'irp, R> {
    /// Pends the IRP without making it cancelable (`IoMarkIrpPending`).
    ///
    /// The dispatch routine returns `STATUS_PENDING`, and the owner of the [`PendedIrp`] completes the IRP.
    ///
    /// Use it only for a request that is completed soon in any case, for instance by a DPC that is already queued.
    /// A thread that exits waits for its requests. So a request that is kept for longer, even a single one, belongs
    /// on an [`IrpQueue`](crate::IrpQueue): there it is cancelable, and is completed when its thread exits, its
    /// handle is closed or its device is removed.
    ///
    /// WDK: [IoMarkIrpPending](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iomarkirppending).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "IoMarkIrpPending")]
    pub fn pend_not_cancelable<L: AtMostDispatch>(
        self,
        _irql: &mut L,
    ) -> (PendedIrp<R>, Handled<'irp>) {
        let (raw, pending) = self.into_pending();
        // SAFETY: `self` owned the IRP, so no other thread can complete it before it is marked.
        unsafe { nt::irp::IoMarkIrpPending(raw) };
        // SAFETY: as above.
        (unsafe { PendedIrp::from_raw(raw) }, pending)
    }

    /// Gives up the IRP.
    pub(crate) fn into_raw(self) -> *mut nt::IRP {
        self.irp.into_raw()
    }

    /// Gives up the IRP to a queue, which must first mark it pending.
    pub(crate) fn into_pending(self) -> (*mut nt::IRP, Handled<'irp>) {
        (self.irp.into_raw(), Handled::new(nt::STATUS_PENDING))
    }

    /// Completes the request with a status and no output (`IoCompleteRequest`).
    ///
    /// WDK: [IoCompleteRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocompleterequest).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IofCompleteRequest")]
    #[doc(alias = "IoCompleteRequest")]
    pub fn complete<L: NoSpinLockHeld>(
        self,
        status: impl Into<NtStatus>,
        irql: &mut L,
    ) -> Handled<'irp> {
        let status = status.into();
        self.irp.complete(status, irql);
        Handled::new(status.to_raw())
    }

    /// Completes the request with `STATUS_SUCCESS` and a reply (`IoCompleteRequest`).
    ///
    /// If the output buffer has no room for the reply, nothing is written and the request is completed with the
    /// error of [`IrpView::output`]. Call that first if the operation cannot be undone.
    ///
    /// WDK: [IoCompleteRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocompleterequest).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoCompleteRequest")]
    pub fn complete_with<T: IntoBytes + Immutable, L: NoSpinLockHeld>(
        self,
        reply: &T,
        irql: &mut L,
    ) -> Handled<'irp> {
        let status = self.irp.complete_with(reply, irql);
        Handled::new(status.to_raw())
    }

    /// Returns the buffer of a request with direct I/O (`MmGetSystemAddressForMdlSafe`), as
    /// [`PendedIrp::user_buffer`] does.
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
        self.irp.user_buffer()
    }

    /// Starts a reply of any length, which is written piece by piece.
    ///
    /// # IRQL
    /// Any.
    pub const fn reply(self) -> Reply<Self> {
        Reply::new(self)
    }

    /// Completes a write with `STATUS_SUCCESS` and the number of bytes that were written, at most the requested number.
    ///
    /// Any other request is completed with no output.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn complete_write<L: NoSpinLockHeld>(self, count: usize, irql: &mut L) -> Handled<'irp> {
        self.irp.complete_write(count, irql);
        Handled::new(nt::STATUS_SUCCESS)
    }

    /// Completes the request with a status and as many bytes of output as were written.
    pub(crate) fn complete_written<L: NoSpinLockHeld>(
        self,
        status: NtStatus,
        length: usize,
        irql: &mut L,
    ) -> Handled<'irp> {
        self.irp.complete_written(status, length, irql);
        Handled::new(status.to_raw())
    }
}

impl<R: Record> Deref for Irp<'_, R> {
    type Target = IrpView<R>;

    fn deref(&self) -> &IrpView<R> {
        &self.irp
    }
}

/// The proof that a dispatch routine's IRP was completed or pended, with the status to return.
///
/// # Examples
///
/// ```
/// use wdm::{Error, Handled, Irp, IrpQueue, MajorFunction, PassiveLevel, QueueCallbacks};
///
/// fn request<'irp, C: QueueCallbacks<Record = ()>>(
///     irp: Irp<'irp>,
///     reads: &IrpQueue<C>,
///     irql: &mut PassiveLevel,
/// ) -> Handled<'irp> {
///     match irp.major() {
///         MajorFunction::Read => reads.insert(irp, irql),
///         _ => irp.complete(Error::INVALID_DEVICE_REQUEST, irql),
///     }
/// }
/// ```
#[must_use = "a dispatch routine must return it"]
pub struct Handled<'irp> {
    status: i32,
    _mark: Mark<'irp>,
}

impl Handled<'_> {
    pub(crate) fn new(status: i32) -> Self {
        Self {
            status,
            _mark: PhantomData,
        }
    }

    /// Returns the status that the dispatch routine returns to the I/O manager.
    pub(crate) fn status(self) -> i32 {
        self.status
    }
}

/// An IRP that is pended and not cancelable, with its record `R`. Queues return removed IRPs as this type.
///
/// Complete it soon: it cannot be cancelled, and the process that sent it cannot exit before it is completed. An
/// IRP that has to wait belongs on a queue; [`IrpQueue::insert_pended`](crate::IrpQueue::insert_pended) inserts it.
///
/// A `PendedIrp` that is dropped is completed with `STATUS_INTERNAL_ERROR`, its record is dropped, and an error is
/// logged. A request that opens or closes a file and has returned from the lower drivers keeps their status. It can be dropped at any IRQL up to `DISPATCH_LEVEL` and while any lock is held: a work item of the
/// device completes it, at `PASSIVE_LEVEL`.
///
/// # Examples
///
/// ```
/// use wdm::{Dpc, DpcRoutine, NtStatus, PendedIrp, SpinLock, irql::DispatchLevel};
///
/// /// Completes the request that the device has served.
/// struct Served(SpinLock<Option<PendedIrp>>);
///
/// impl DpcRoutine for Served {
///     fn run(dpc: &Dpc<Self>, irql: &mut DispatchLevel) {
///         if let Some(irp) = dpc.0.with(irql, |irp, _| irp.take()) {
///             irp.complete(NtStatus::SUCCESS, irql);
///         }
///     }
/// }
/// ```
#[doc(alias = "IRP")]
#[must_use = "the request waits until it is completed"]
pub struct PendedIrp<R: Record = ()> {
    irp: NonNull<nt::IRP>,
    // Invariant: the record has exactly this type.
    _record: PhantomData<fn(R) -> R>,
}

// SAFETY: an IRP is not tied to a thread, and its record is `Send`.
unsafe impl<R: Record> Send for PendedIrp<R> {}

// SAFETY: a shared reference gives read access to the IRP, and shared access to its record's target.
unsafe impl<R: Record> Sync for PendedIrp<R> where R::Target: Sync {}

impl<R: Record> PendedIrp<R> {
    /// Takes ownership of an IRP.
    ///
    /// # Safety
    /// The caller owns the IRP: one of a [`MajorFunction`], sent to a device of this crate, without a Cancel routine
    /// and on no list, for which the device's remove lock is held; and its record is an `R`.
    pub(crate) unsafe fn from_raw(irp: *mut nt::IRP) -> Self {
        // SAFETY: an IRP is not NULL.
        let irp = unsafe { NonNull::new_unchecked(irp) };
        // SAFETY: guaranteed by the caller.
        unsafe { Self::from_non_null(irp) }
    }

    /// Like [`PendedIrp::from_raw`], with a pointer that is known not to be NULL.
    ///
    /// # Safety
    /// As for [`PendedIrp::from_raw`].
    pub(crate) unsafe fn from_non_null(irp: NonNull<nt::IRP>) -> Self {
        Self {
            irp,
            _record: PhantomData,
        }
    }

    pub(crate) fn as_non_null(&self) -> NonNull<nt::IRP> {
        self.irp
    }

    pub(crate) fn into_non_null(self) -> NonNull<nt::IRP> {
        core::mem::ManuallyDrop::new(self).irp
    }

    pub(crate) fn into_raw(self) -> *mut nt::IRP {
        self.into_non_null().as_ptr()
    }

    /// Detaches the record from the IRP.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use = "the IRP must be completed, and the record is dropped"]
    pub fn take_record(self) -> (R, PendedIrp) {
        let raw = self.into_raw();
        // SAFETY: `self` owned the IRP.
        let record = unsafe { take_record(raw) };
        // SAFETY: as above, and the IRP no longer has a record.
        (record, unsafe { PendedIrp::from_raw(raw) })
    }

    /// Completes the request with a status and no output (`IoCompleteRequest`).
    ///
    /// WDK: [IoCompleteRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocompleterequest).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IofCompleteRequest")]
    #[doc(alias = "IoCompleteRequest")]
    pub fn complete<L: NoSpinLockHeld>(self, status: impl Into<NtStatus>, _irql: &mut L) {
        // Converted first: in user mode the driver's conversion may unwind, and `self` is dropped then.
        let status = status.into();
        // SAFETY: `self` owns the IRP and gives it up.
        unsafe { finish::<R>(self.into_raw(), status, 0) };
    }

    /// Completes the request with `STATUS_SUCCESS` and a reply (`IoCompleteRequest`), and returns the status with
    /// which it was completed.
    ///
    /// If the output buffer has no room for the reply, nothing is written and the request is completed with the
    /// error of [`IrpView::output`].
    ///
    /// WDK: [IoCompleteRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iocompleterequest).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    #[doc(alias = "IoCompleteRequest")]
    pub fn complete_with<T: IntoBytes + Immutable, L: NoSpinLockHeld>(
        self,
        reply: &T,
        _irql: &mut L,
    ) -> NtStatus {
        self.complete_with_bytes(reply.as_bytes())
    }

    /// Implements [`PendedIrp::complete_with`] for all types, so that it is compiled once; no spin lock is held.
    fn complete_with_bytes(self, reply: &[u8]) -> NtStatus {
        // SAFETY: `self` owns the IRP, so its input is not borrowed.
        let (status, length) = match unsafe { self.write(reply) } {
            Ok(length) => (NtStatus::SUCCESS, length),
            Err(error) => (error.into(), 0),
        };
        // SAFETY: `self` owns the IRP and gives it up.
        unsafe { finish::<R>(self.into_raw(), status, length) };
        status
    }

    /// Returns the buffer of a request with direct I/O (`MmGetSystemAddressForMdlSafe`): of a read or a write of a device
    /// with [`IoType::Direct`](crate::IoType::Direct), or the output buffer of a device control with `METHOD_IN_DIRECT` or
    /// `METHOD_OUT_DIRECT`.
    ///
    /// The first call maps the buffer, so it requires exclusive access to the IRP. The I/O manager unmaps it when the IRP is completed.
    ///
    /// WDK: [MmGetSystemAddressForMdlSafe](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-mmgetsystemaddressformdlsafe).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INSUFFICIENT_RESOURCES` if the buffer cannot be mapped; `STATUS_INVALID_DEVICE_REQUEST` if the request has no
    /// direct I/O.
    #[doc(alias = "MmGetSystemAddressForMdlSafe")]
    pub fn user_buffer(&mut self) -> Result<UserBuffer<'_>, Error> {
        // SAFETY: `self` owns the IRP, and is borrowed exclusively as long as the buffer is used.
        unsafe { self.data().user_buffer() }
    }

    /// Starts a reply of any length, which is written piece by piece.
    ///
    /// # IRQL
    /// Any.
    pub const fn reply(self) -> Reply<Self> {
        Reply::new(self)
    }

    /// Completes a write with `STATUS_SUCCESS` and the number of bytes that were written, at most the requested number.
    ///
    /// Any other request is completed with no output.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn complete_write<L: NoSpinLockHeld>(self, count: usize, irql: &mut L) {
        let most = match self.major() {
            MajorFunction::Write => self.data().others().input_length as usize,
            _ => 0,
        };
        self.complete_written(NtStatus::SUCCESS, count.min(most), irql);
    }

    /// Completes the request with a status and, unless that is an error, as many bytes of output as were written.
    pub(crate) fn complete_written<L: NoSpinLockHeld>(
        self,
        status: NtStatus,
        length: usize,
        _irql: &mut L,
    ) {
        let length = if status.is_error() { 0 } else { length };
        // SAFETY: `self` is the IRP's owner and gives it up.
        unsafe { finish::<R>(self.into_raw(), status, length) };
    }
}

impl<R: Record> Deref for PendedIrp<R> {
    type Target = IrpView<R>;

    fn deref(&self) -> &IrpView<R> {
        let irp = core::ptr::from_ref(&self.irp).cast::<IrpView<R>>();
        // SAFETY: the types have the same layout. `self` owns the IRP, so no other code completes it; its record is
        // an `R`.
        unsafe { &*irp }
    }
}

impl<R: Record> Drop for PendedIrp<R> {
    fn drop(&mut self) {
        let irp = self.irp.as_ptr();
        let link = nt::irp::list_entry(irp).cast::<Deferred>();
        // SAFETY: `self` owns the IRP; its list entry has the size of a `Deferred`, and is unused.
        unsafe { link.write(Deferred::new(complete_dropped::<R>)) };
        // SAFETY: as above.
        let device = unsafe { nt::irp::device_object(irp) };
        // SAFETY: the IRP's hold of the remove lock keeps the device.
        let extension = unsafe { Extension::of(device) };
        // A second reference, since the work item may complete the IRP and free the device before `defer`
        // returns.
        let object = DeviceObject::clone(&extension.object);
        // SAFETY: an IRP's list entry is not NULL.
        let link = unsafe { NonNull::new_unchecked(link) };
        // SAFETY: the IRP, with the link, stays valid until the link's routine completes it.
        unsafe { object.defer(link) };
    }
}

/// Completes an IRP that was dropped, at `PASSIVE_LEVEL`.
///
/// # Safety
/// `link` is the list entry of an IRP, which the caller owns and gives up; its record is an `R`.
unsafe fn complete_dropped<R: Record>(link: NonNull<Deferred>, irql: &mut PassiveLevel) {
    log::dropped_irp(irql);
    // SAFETY: guaranteed by the caller.
    let irp = unsafe { nt::irp::from_list_entry(link.as_ptr().cast()) };
    // SAFETY: the caller owns the IRP, and the view is not used after it.
    if unsafe { IrpView::<R>::new(&irp) }.major().opens_or_closes() {
        // SAFETY: guaranteed by the caller; the filter has forwarded the IRP, so it has the status of the lower drivers: an open that
        // they have completed with success must not fail, since the I/O manager would not close the file, and a close must not fail at all.
        // A filter that drops the IRP instead of forwarding it never returns from its method, so the I/O manager does not use the file.
        unsafe { finish_unchanged::<R>(irp) };
        return;
    }
    // SAFETY: guaranteed by the caller.
    unsafe { finish::<R>(irp, NtStatus::INTERNAL_ERROR, 0) };
}

/// Removes the record from an IRP.
///
/// # Safety
/// The caller owns the IRP, whose record is an `R`, and does not take the record again.
pub(crate) unsafe fn take_record<R: Record>(irp: *mut nt::IRP) -> R {
    // SAFETY: the caller owns the IRP.
    let raw = unsafe { nt::irp::driver_context::<RECORD>(irp) };
    // SAFETY: `with_record` stored the record, and it is taken once.
    unsafe { R::from_raw(raw.cast()) }
}

/// Drops an IRP's record, completes the IRP and releases its hold of the device's remove lock.
///
/// # Safety
/// As for [`complete_request`]; the IRP's record is an `R`, and the device's remove lock is held for it.
pub(crate) unsafe fn finish<R: Record>(irp: *mut nt::IRP, status: NtStatus, information: usize) {
    // SAFETY: the caller owns the IRP and gives it up. The hold below keeps the device, and the driver
    // loaded, while the record is dropped.
    drop(unsafe { take_record::<R>(irp) });
    // SAFETY: the caller owns the IRP.
    let mdl = unsafe { nt::irp::mdl(irp) };
    if information != 0 && !mdl.is_null() {
        // A driver that writes into a buffer with the processor flushes the caches at the end of the request:
        // https://learn.microsoft.com/windows-hardware/drivers/kernel/flushing-cached-data-during-pio-operations
        // SAFETY: the buffer's pages are locked until the IRP is completed, and the IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::KeFlushIoBuffers(mdl, 1, 0) };
    }
    // SAFETY: as above.
    let device = unsafe { nt::irp::device_object(irp) };
    // SAFETY: guaranteed by the caller.
    unsafe { complete_request(irp, status, information) };
    // SAFETY: the IRP's hold, which only this call releases, has kept the device until now. The IRP's address is
    // only the tag of the hold; the IRP itself may be freed.
    unsafe { Extension::release(device, irp) };
}

/// Like [`finish`], with the status and `Information` that the IRP has; returns the status.
///
/// # Safety
/// As for [`finish`]; the lower drivers have completed the IRP.
pub(crate) unsafe fn finish_unchanged<R: Record>(irp: *mut nt::IRP) -> i32 {
    // SAFETY: as in `finish`.
    drop(unsafe { take_record::<R>(irp) });
    // SAFETY: the caller owns the IRP.
    let device = unsafe { nt::irp::device_object(irp) };
    // SAFETY: as above.
    let status = unsafe { nt::irp::status(irp) };
    // SAFETY: guaranteed by the caller.
    unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
    // SAFETY: as in `finish`.
    unsafe { Extension::release(device, irp) };
    status
}

/// Completes an IRP (`IoCompleteRequest`).
///
/// # Safety
/// The caller owns the IRP, which has no Cancel routine, and gives it up. The caller holds no spin lock, and the
/// IRQL is `DISPATCH_LEVEL` or lower.
pub(crate) unsafe fn complete_request(irp: *mut nt::IRP, status: NtStatus, information: usize) {
    // SAFETY: the caller owns the IRP.
    unsafe { nt::irp::set_status(irp, status.to_raw()) };
    // SAFETY: as above.
    unsafe { nt::irp::set_information(irp, information) };
    // SAFETY: the caller gives up the IRP, which has no Cancel routine, and holds no lock.
    unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
}

// SAFETY: the IRP does not move before it is completed, and its owner may use its list entry.
unsafe impl<R: Record> ListItem for PendedIrp<R> {
    fn entry(&self) -> NonNull<nt::LIST_ENTRY> {
        list_entry(self.as_non_null())
    }

    fn into_entry(self) -> NonNull<nt::LIST_ENTRY> {
        list_entry(self.into_non_null())
    }

    unsafe fn from_entry(entry: NonNull<nt::LIST_ENTRY>) -> Self {
        // SAFETY: `into_entry` returned the entry of an IRP.
        let irp = unsafe { nt::irp::from_list_entry(entry.as_ptr()) };
        // SAFETY: an IRP is not NULL.
        let irp = unsafe { NonNull::new_unchecked(irp) };
        // SAFETY: `into_entry` gave up the owner of the IRP, and no other was made since.
        unsafe { Self::from_non_null(irp) }
    }
}

fn list_entry(irp: NonNull<nt::IRP>) -> NonNull<nt::LIST_ENTRY> {
    // SAFETY: the entry is inside the IRP.
    unsafe { NonNull::new_unchecked(nt::irp::list_entry(irp.as_ptr())) }
}
