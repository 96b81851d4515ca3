//! IRPs, owned by who may complete them.

use core::{marker::PhantomData, ops::Deref};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{NtStatus, device::Extension, irql::NoSpinLockHeld, log};

/// A buffered device-control request as its owner, or its queue, may look at it.
///
/// WDK: "Using Buffered I/O".
#[repr(transparent)]
pub struct IrpView(*mut nt::IRP);

impl IrpView {
    /// The view of an IRP, for as long as the reference to the pointer lives.
    ///
    /// # Safety
    /// The IRP is an `IRP_MJ_DEVICE_CONTROL` sent to a device of this crate, and cannot be completed
    /// while the view is there.
    pub(crate) unsafe fn new(irp: &*mut nt::IRP) -> &Self {
        // SAFETY: the types have the same layout; what the view promises, the caller does.
        unsafe { &*core::ptr::from_ref(irp).cast::<Self>() }
    }

    /// The IOCTL code.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn code(&self) -> u32 {
        self.io_control().code
    }

    /// The request's input as a value.
    ///
    /// The buffer is the system's own copy, so the caller cannot change it meanwhile. A reply overwrites
    /// it: request and reply share the buffer.
    ///
    /// # Errors
    /// `STATUS_INFO_LENGTH_MISMATCH` if the input is not exactly as long as `T`;
    /// `STATUS_INVALID_DEVICE_REQUEST` if the code is not `METHOD_BUFFERED`.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn input<T: FromBytes>(&self) -> Result<T, NtStatus> {
        self.buffered()?;
        if self.io_control().input_length as usize != size_of::<T>() {
            return Err(NtStatus::INFO_LENGTH_MISMATCH);
        }
        // SAFETY: the I/O manager made the buffer as long as the longer of input and output, aligned as
        // the pool is, and filled it with the input. It stays until the IRP is completed.
        let bytes = unsafe { bytes(self.0, size_of::<T>()) };
        T::read_from_bytes(bytes).map_err(|_| NtStatus::INFO_LENGTH_MISMATCH)
    }

    /// Whether the caller has room for an output of type `T`.
    ///
    /// # Errors
    /// `STATUS_BUFFER_TOO_SMALL` if not; `STATUS_INVALID_DEVICE_REQUEST` if the code is not
    /// `METHOD_BUFFERED`.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    pub fn output<T: IntoBytes>(&self) -> Result<(), NtStatus> {
        self.buffered()?;
        if (self.io_control().output_length as usize) < size_of::<T>() {
            return Err(NtStatus::BUFFER_TOO_SMALL);
        }
        Ok(())
    }

    /// The open file that the request came through.
    #[must_use]
    pub fn file(&self) -> FileId {
        // SAFETY: the IRP is not completed while the view is there.
        FileId::new(unsafe { nt::irp::file_object(self.0) })
    }

    fn io_control(&self) -> nt::irp::IoControl {
        // SAFETY: the IRP is a device control and not completed while the view is there.
        unsafe { nt::irp::io_control(self.0) }
    }

    /// The other methods keep no copy of the caller's data in the system buffer.
    fn buffered(&self) -> Result<(), NtStatus> {
        if self.code() & 3 == nt::METHOD_BUFFERED {
            Ok(())
        } else {
            Err(NtStatus::INVALID_DEVICE_REQUEST)
        }
    }

    /// Writes a reply into the system buffer and says how long it is; or says why it cannot.
    fn write<T: IntoBytes + Immutable>(&self, reply: &T) -> Result<usize, NtStatus> {
        self.output::<T>()?;
        let reply = reply.as_bytes();
        if !reply.is_empty() {
            // SAFETY: the buffer is at least as long as the output, which has just been compared.
            let buffer = unsafe { nt::irp::system_buffer(self.0) };
            // SAFETY: as above; `reply` is a value of ours and no part of the system buffer.
            unsafe { buffer.copy_from_nonoverlapping(reply.as_ptr(), reply.len()) };
        }
        Ok(reply.len())
    }
}

/// The first bytes of an IRP's system buffer; none where there is no buffer.
///
/// # Safety
/// The IRP's system buffer is that long, and neither written nor freed while the slice is there.
unsafe fn bytes<'a>(irp: *mut nt::IRP, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the caller has the IRP.
    let buffer = unsafe { nt::irp::system_buffer(irp) };
    // SAFETY: the caller says that the buffer is that long and stands still.
    unsafe { core::slice::from_raw_parts(buffer, length) }
}

/// Which open of the device a request came through: a `FILE_OBJECT` that can be compared and no more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FileId(usize);

impl FileId {
    pub(crate) fn new(file: *mut nt::FILE_OBJECT) -> Self {
        Self(file.addr())
    }
}

/// The IRP that a dispatch routine was called with: it must be completed or queued.
///
/// The lifetime `'irp` is this IRP's own mark. The [`Handled`] that the dispatch routine returns bears
/// it too, and only this IRP can have made it.
///
/// Should an `Irp` be dropped all the same, it is completed with `STATUS_INTERNAL_ERROR` and an error is
/// logged. That is a bug in the driver, but no request is lost by it.
///
/// ```compile_fail
/// # use wdm::{Handled, Irp, NtStatus, PassiveLevel};
/// fn completed_twice<'irp>(irp: Irp<'irp>, irql: &mut PassiveLevel) -> Handled<'irp> {
///     irp.complete(NtStatus::SUCCESS, irql);
///     irp.complete(NtStatus::SUCCESS, irql)
/// }
/// ```
///
/// WDK: "Completing IRPs".
pub struct Irp<'irp> {
    irp: PendedIrp,
    _mark: Mark<'irp>,
}

/// Ties a value to one lifetime exactly: invariant, so it becomes neither longer nor shorter.
type Mark<'irp> = PhantomData<fn(&'irp ()) -> &'irp ()>;

impl<'irp> Irp<'irp> {
    /// Takes an IRP over from the I/O manager.
    ///
    /// # Safety
    /// As for [`PendedIrp::from_raw`]. The lifetime is that of the dispatch routine's call, and no other
    /// `Irp` is made with it.
    pub(crate) unsafe fn from_raw(irp: *mut nt::IRP) -> Self {
        Self {
            // SAFETY: passed on to the caller.
            irp: unsafe { PendedIrp::from_raw(irp) },
            _mark: PhantomData,
        }
    }

    /// Gives the IRP up to a queue, which must mark it pending first of all.
    pub(crate) fn into_pending(self) -> (*mut nt::IRP, Handled<'irp>) {
        (self.irp.into_raw(), Handled::new(nt::STATUS_PENDING))
    }

    /// Completes the request with a status and no output (`IoCompleteRequest`).
    ///
    /// WDK: "`IoCompleteRequest` macro".
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn complete<L: NoSpinLockHeld>(self, status: NtStatus, irql: &mut L) -> Handled<'irp> {
        self.irp.complete(status, irql);
        Handled::new(status.to_raw())
    }

    /// Completes the request with `STATUS_SUCCESS` and a reply (`IoCompleteRequest`).
    ///
    /// A reply for which the caller has no room is not written, and the status is then what
    /// [`IrpView::output`] says; check with it before doing what cannot be undone.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn complete_with<T: IntoBytes + Immutable, L: NoSpinLockHeld>(
        self,
        reply: &T,
        irql: &mut L,
    ) -> Handled<'irp> {
        let status = self.irp.complete_with(reply, irql);
        Handled::new(status.to_raw())
    }
}

impl Deref for Irp<'_> {
    type Target = IrpView;

    fn deref(&self) -> &IrpView {
        &self.irp
    }
}

/// The proof that a dispatch routine's own IRP was completed or pended, and the status that goes with it.
#[must_use = "a dispatch routine returns it"]
pub struct Handled<'irp> {
    status: i32,
    _mark: Mark<'irp>,
}

impl Handled<'_> {
    fn new(status: i32) -> Self {
        Self {
            status,
            _mark: PhantomData,
        }
    }

    /// What the dispatch routine returns to the I/O manager.
    pub(crate) fn status(self) -> i32 {
        self.status
    }
}

/// An IRP that came back from a queue: marked pending, no longer cancelable, and to be completed.
///
/// Should it be dropped all the same, it is completed with `STATUS_INTERNAL_ERROR` and an error is logged.
#[must_use = "the request waits until it is completed"]
pub struct PendedIrp {
    raw: *mut nt::IRP,
}

impl PendedIrp {
    /// Takes an IRP over from whoever owned it.
    ///
    /// # Safety
    /// The caller owns the IRP: an `IRP_MJ_DEVICE_CONTROL` sent to a device of this crate, with no Cancel
    /// routine, linked nowhere, for which the device's remove lock is held.
    pub(crate) unsafe fn from_raw(raw: *mut nt::IRP) -> Self {
        Self { raw }
    }

    fn into_raw(self) -> *mut nt::IRP {
        core::mem::ManuallyDrop::new(self).raw
    }

    /// Completes the request with a status and no output (`IoCompleteRequest`).
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn complete<L: NoSpinLockHeld>(self, status: NtStatus, _irql: &mut L) {
        // SAFETY: `self` is the IRP's owner and gives it up.
        unsafe { finish(self.into_raw(), status, 0) };
    }

    /// Completes the request with `STATUS_SUCCESS` and a reply (`IoCompleteRequest`), and says which
    /// status it ended with.
    ///
    /// A reply for which the caller has no room is not written, and the status is then what
    /// [`IrpView::output`] says.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`, and no spin lock held.
    pub fn complete_with<T: IntoBytes + Immutable, L: NoSpinLockHeld>(
        self,
        reply: &T,
        _irql: &mut L,
    ) -> NtStatus {
        let (status, length) = match self.write(reply) {
            Ok(length) => (NtStatus::SUCCESS, length),
            Err(status) => (status, 0),
        };
        // SAFETY: `self` is the IRP's owner and gives it up.
        unsafe { finish(self.into_raw(), status, length) };
        status
    }
}

impl Deref for PendedIrp {
    type Target = IrpView;

    fn deref(&self) -> &IrpView {
        // SAFETY: the IRP is owned by `self` and is completed by no one else.
        unsafe { IrpView::new(&self.raw) }
    }
}

impl Drop for PendedIrp {
    fn drop(&mut self) {
        log::dropped_irp();
        // SAFETY: `self` is the IRP's owner and is gone after this.
        unsafe { finish(self.raw, NtStatus::INTERNAL_ERROR, 0) };
    }
}

/// Completes an IRP and gives its hold of the device's remove lock back.
///
/// # Safety
/// As for [`complete_request`], and the device's remove lock is held for the IRP.
pub(crate) unsafe fn finish(irp: *mut nt::IRP, status: NtStatus, information: usize) {
    // SAFETY: the caller owns the IRP.
    let device = unsafe { nt::irp::device_object(irp) };
    // SAFETY: passed on to the caller.
    unsafe { complete_request(irp, status, information) };
    // SAFETY: the IRP's hold, given back here and nowhere else, has kept the device until now. The
    // IRP's address serves as the hold's name only: the IRP itself is gone.
    unsafe { Extension::release(device, irp) };
}

/// Completes an IRP (`IoCompleteRequest`).
///
/// # Safety
/// The caller owns the IRP, which has no Cancel routine, gives it up, holds no spin lock, and is at
/// `DISPATCH_LEVEL` or lower.
pub(crate) unsafe fn complete_request(irp: *mut nt::IRP, status: NtStatus, information: usize) {
    // SAFETY: the caller owns the IRP.
    unsafe { nt::irp::set_status(irp, status.to_raw()) };
    // SAFETY: as above.
    unsafe { nt::irp::set_information(irp, information) };
    // SAFETY: the caller gives the IRP up; it has no Cancel routine, and no lock is held.
    unsafe { nt::IofCompleteRequest(irp, nt::IO_NO_INCREMENT) };
}
