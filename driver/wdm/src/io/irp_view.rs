//! Read access to an IRP.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Error, Record, io::irp_data::IrpData};

/// The word of `DriverContext` that holds the record: the last one, since the first three overlap the device queue
/// entry.
pub(super) const RECORD: usize = 3;

/// The major function of a request that a [`Device`](crate::Device) or a [`Filter`](crate::Filter) handles.
///
/// WDK: [IRP Major Function Codes](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-major-function-codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MajorFunction {
    /// `IRP_MJ_READ`
    Read,
    /// `IRP_MJ_WRITE`
    Write,
    /// `IRP_MJ_QUERY_INFORMATION`
    QueryInformation,
    /// `IRP_MJ_SET_INFORMATION`
    SetInformation,
    /// `IRP_MJ_FLUSH_BUFFERS`
    FlushBuffers,
    /// `IRP_MJ_DEVICE_CONTROL`
    DeviceControl,
    /// `IRP_MJ_INTERNAL_DEVICE_CONTROL`
    InternalDeviceControl,
    /// `IRP_MJ_CREATE`, which a filter driver gets; also `IRP_MJ_CREATE_NAMED_PIPE` and `IRP_MJ_CREATE_MAILSLOT`, which a program can
    /// send to any device.
    Create,
    /// `IRP_MJ_CLEANUP`, which a filter driver gets.
    Cleanup,
    /// `IRP_MJ_CLOSE`, which a filter driver gets.
    Close,
    /// Any other, which a filter driver gets.
    Other,
}

impl MajorFunction {
    pub(super) const fn opens_or_closes(self) -> bool {
        matches!(self, Self::Create | Self::Cleanup | Self::Close)
    }
}

/// Read access to a request and to the driver's record `R` for it. The owner of the request and its queue lend it.
///
/// A code of `METHOD_NEITHER` gives no access to data: its buffers are user-mode addresses, and an access to an invalid address raises
/// an exception, which a driver in Rust cannot handle. An internal device control in a filter gives no access either, since only the
/// driver that it is sent to knows its contents.
///
/// WDK: [Methods for Accessing Data Buffers](https://learn.microsoft.com/windows-hardware/drivers/kernel/methods-for-accessing-data-buffers).
///
/// # Examples
///
/// ```
/// use wdm::{IrpView, MajorFunction};
///
/// fn is_long_read(irp: &IrpView) -> bool {
///     irp.major() == MajorFunction::Read && irp.output_length() > 4_096
/// }
/// ```
#[repr(transparent)]
// Invariant: the record has exactly this type.
#[doc(alias = "IO_STATUS_BLOCK")]
#[doc(alias = "IoGetCurrentIrpStackLocation")]
#[doc(alias = "IO_STACK_LOCATION")]
pub struct IrpView<R = ()>(*mut nt::IRP, PhantomData<fn(R) -> R>);

impl<R: Record> IrpView<R> {
    /// Makes a view of an IRP that lives as long as the reference to the pointer.
    ///
    /// # Safety
    /// The IRP is of a [`MajorFunction`], was sent to a device of this crate, has a record of type `R`, and cannot
    /// be completed while the view exists.
    pub(crate) unsafe fn new(irp: &*mut nt::IRP) -> &Self {
        // SAFETY: the types have the same layout; the caller guarantees what the view requires.
        unsafe { &*core::ptr::from_ref(irp).cast::<Self>() }
    }

    /// The IRP.
    pub(crate) fn as_raw(&self) -> *mut nt::IRP {
        self.0
    }

    /// Returns the major function of the request.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn major(&self) -> MajorFunction {
        self.data().major()
    }

    /// Returns the I/O control code of a device control, or 0 for another request.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn code(&self) -> u32 {
        self.data().code()
    }

    /// Returns the information class of a request for information (`FILE_INFORMATION_CLASS`), or 0 for another request.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[doc(alias = "FILE_INFORMATION_CLASS")]
    #[must_use]
    pub fn information_class(&self) -> u32 {
        self.data().others().class
    }

    /// Returns the byte offset at which a read or a write starts, or 0 for another request. User mode can pass any number,
    /// including a negative one.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.data().others().offset
    }

    /// Returns the number of bytes that the caller has room for: the length of a read, or of the output of a device
    /// control; 0 if the driver cannot write to the buffer, as with `METHOD_IN_DIRECT`.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn output_length(&self) -> usize {
        self.data().output_length().unwrap_or(0)
    }

    /// Returns the bytes that the caller passed: the data of a write with buffered I/O, or the input of a device control.
    ///
    /// The buffer is the system's copy, so the caller can no longer change it.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_REQUEST` if the request has no copy of its input: its code is `METHOD_NEITHER`, or it is a
    /// write with direct I/O, which has a [user buffer](crate::Irp::user_buffer).
    pub fn input_bytes(&self) -> Result<&[u8], Error> {
        self.data().input()
    }

    /// Returns a copy of the request's input.
    ///
    /// The system buffer is a copy, so the sender of the request can no longer change it. The reply uses the same
    /// buffer, so it overwrites the input. A kernel stack is small, so a type of more than 1,024 bytes does not
    /// compile; use [`IrpView::input_ref`], which does not copy the input.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INFO_LENGTH_MISMATCH` if the input is not exactly as long as `T`;
    /// `STATUS_INVALID_DEVICE_REQUEST` as for [`IrpView::input_bytes`].
    pub fn input<T: FromBytes>(&self) -> Result<T, Error> {
        const {
            assert!(
                size_of::<T>() <= 1024,
                "an input of more than 1,024 bytes is too large for a kernel stack: use `input_ref`"
            );
        }
        let input = self.data().input_of(size_of::<T>())?;
        // SAFETY: the input has the size of a `T`, which can have any bytes.
        Ok(unsafe { input.as_ptr().cast::<T>().read_unaligned() })
    }

    /// Returns a reference to the request's input in the system buffer.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// As for [`IrpView::input`]; `STATUS_INVALID_PARAMETER` if another driver sent the request with a buffer that is not aligned.
    pub fn input_ref<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<&T, Error> {
        const {
            assert!(
                align_of::<T>() <= nt::MEMORY_ALLOCATION_ALIGNMENT,
                "the system buffer is aligned to 16 bytes and no further"
            );
        }
        // Another driver may have made the request, with a buffer of any alignment.
        T::ref_from_bytes(self.data().input_of(size_of::<T>())?)
            .map_err(|_| Error::INVALID_PARAMETER)
    }

    /// Checks that the output buffer has room for a `T`.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_BUFFER_TOO_SMALL` if it has not; `STATUS_INVALID_DEVICE_REQUEST` if the driver cannot write to it.
    pub fn output<T: IntoBytes>(&self) -> Result<(), Error> {
        self.data().check_output(size_of::<T>())
    }

    /// Returns the driver's record.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn record(&self) -> &R::Target {
        // SAFETY: the IRP is not completed while the view exists, and has a record.
        let raw = unsafe { nt::irp::driver_context::<RECORD>(self.0) };
        // SAFETY: the record is an `R`, and stays with the IRP until the IRP is completed.
        unsafe { R::borrow(raw.cast()) }
    }

    /// The parameters and the buffers of the request.
    pub(super) fn data(&self) -> IrpData<'_> {
        // SAFETY: the IRP was sent to a device of this crate, and is not completed while the view exists.
        unsafe { IrpData::new(self.0) }
    }

    /// Writes a reply into the output and returns its length.
    ///
    /// # Safety
    /// As for [`IrpData::write_at`].
    pub(super) unsafe fn write(&self, reply: &[u8]) -> Result<usize, Error> {
        // SAFETY: guaranteed by the caller.
        unsafe { self.data().write(reply) }
    }
}
