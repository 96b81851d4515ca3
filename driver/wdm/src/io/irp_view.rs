//! Read access to an IRP.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Error, Record};

/// The word of `DriverContext` that holds the record: the last one, since the first three overlap the device queue
/// entry.
pub(super) const RECORD: usize = 3;

/// The major function of a request. A [`Device`](crate::Device) handles these.
///
/// WDK: [IRP Major Function Codes](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-major-function-codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MajorFunction {
    /// `IRP_MJ_READ`
    Read,
    /// `IRP_MJ_WRITE`
    Write,
    /// `IRP_MJ_FLUSH_BUFFERS`
    FlushBuffers,
    /// `IRP_MJ_DEVICE_CONTROL`
    DeviceControl,
}

/// The parameters of a request, by its major function.
pub(super) struct Parameters {
    code: u32,
    pub(super) input_length: u32,
    output_length: u32,
    offset: i64,
}

/// Read access to a request with buffered I/O and the driver's record `R`. The owner of the request and its queue lend it.
///
/// WDK: [Using Buffered I/O](https://learn.microsoft.com/windows-hardware/drivers/kernel/using-buffered-i-o).
#[repr(transparent)]
// Invariant: the record has exactly this type.
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

    /// Returns the major function of the request.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn major(&self) -> MajorFunction {
        // SAFETY: the IRP is not completed while the view exists.
        match unsafe { nt::irp::major_function(self.0) } {
            nt::IRP_MJ_READ => MajorFunction::Read,
            nt::IRP_MJ_WRITE => MajorFunction::Write,
            nt::IRP_MJ_FLUSH_BUFFERS => MajorFunction::FlushBuffers,
            _ => MajorFunction::DeviceControl,
        }
    }

    /// Returns the processor mode of the requestor.
    pub(super) fn requestor_mode(&self) -> i8 {
        // SAFETY: the IRP is not completed while the view exists.
        unsafe { nt::irp::requestor_mode(self.0) }
    }

    /// Returns the I/O control code, or 0 if the request is not a device control.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn code(&self) -> u32 {
        self.parameters().code
    }

    /// Returns the byte offset at which a read or a write starts, or 0 for another request. User mode can pass any number,
    /// including a negative one.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.parameters().offset
    }

    /// Returns the number of bytes that the caller has room for: the length of a read, or of the output of a device
    /// control; 0 if the request has no system buffer.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn output_length(&self) -> usize {
        if self.buffered().is_err() {
            return 0;
        }
        self.parameters().output_length as usize
    }

    /// Returns the bytes that the caller passed: the data of a write, or the input of a device control.
    ///
    /// The buffer is the system's copy, so the caller cannot change it any more.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_REQUEST` if the request has no system buffer: its code is not `METHOD_BUFFERED`.
    pub fn input_bytes(&self) -> Result<&[u8], Error> {
        self.buffered()?;
        let length = self.parameters().input_length as usize;
        // SAFETY: the I/O manager allocated the buffer with the length of the longer of input and output and the
        // alignment of the pool, and copied the input into it. It stays until the IRP is completed, and is not
        // written before that: writing a reply takes the IRP by value.
        Ok(unsafe { bytes(self.0, length) })
    }

    /// Returns a copy of the request's input.
    ///
    /// The system buffer is a copy, so the sender of the request cannot change it any more. The reply uses the same
    /// buffer, so it overwrites the input. A kernel stack is small, so a type of more than 1,024 bytes does not
    /// compile; use [`IrpView::input_ref`], which does not copy the input.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INFO_LENGTH_MISMATCH` if the input is not exactly as long as `T`;
    /// `STATUS_INVALID_DEVICE_REQUEST` if the code is not `METHOD_BUFFERED`.
    pub fn input<T: FromBytes>(&self) -> Result<T, Error> {
        const {
            assert!(
                size_of::<T>() <= 1024,
                "an input of more than 1,024 bytes is too large for a kernel stack: use `input_ref`"
            );
        }
        T::read_from_bytes(self.input_bytes()?).map_err(|_| Error::INFO_LENGTH_MISMATCH)
    }

    /// Returns a reference to the request's input in the system buffer.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// As for [`IrpView::input`].
    pub fn input_ref<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<&T, Error> {
        const {
            assert!(
                align_of::<T>() <= nt::MEMORY_ALLOCATION_ALIGNMENT,
                "the system buffer is aligned to 16 bytes and no further"
            );
        }
        T::ref_from_bytes(self.input_bytes()?).map_err(|_| Error::INFO_LENGTH_MISMATCH)
    }

    /// Checks that the output buffer has room for a `T`.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_BUFFER_TOO_SMALL` if it has not; `STATUS_INVALID_DEVICE_REQUEST` if the code is not
    /// `METHOD_BUFFERED`.
    pub fn output<T: IntoBytes>(&self) -> Result<(), Error> {
        self.buffered()?;
        if self.output_length() < size_of::<T>() {
            return Err(Error::BUFFER_TOO_SMALL);
        }
        Ok(())
    }

    /// Returns the driver's record.
    #[must_use]
    pub fn record(&self) -> &R::Target {
        // SAFETY: the IRP is not completed while the view exists, and has a record.
        let raw = unsafe { nt::irp::driver_context::<RECORD>(self.0) };
        // SAFETY: the record is an `R`, and stays with the IRP until the IRP is completed.
        unsafe { R::borrow(raw.cast()) }
    }

    pub(super) fn parameters(&self) -> Parameters {
        match self.major() {
            MajorFunction::DeviceControl => {
                // SAFETY: the IRP is a device control request and is not completed while the view exists.
                let asked = unsafe { nt::irp::io_control(self.0) };
                Parameters {
                    code: asked.code,
                    input_length: asked.input_length,
                    output_length: asked.output_length,
                    offset: 0,
                }
            }
            major @ (MajorFunction::Read | MajorFunction::Write) => {
                // SAFETY: the IRP is a read or a write, and is not completed while the view exists.
                let asked = unsafe { nt::irp::transfer(self.0) };
                let is_read = major == MajorFunction::Read;
                Parameters {
                    code: 0,
                    input_length: if is_read { 0 } else { asked.length },
                    output_length: if is_read { asked.length } else { 0 },
                    offset: asked.offset,
                }
            }
            MajorFunction::FlushBuffers => Parameters {
                code: 0,
                input_length: 0,
                output_length: 0,
                offset: 0,
            },
        }
    }

    /// Fails if the request has no system buffer: a device control with another method than `METHOD_BUFFERED`, or a read or a
    /// write if a filter above did not copy `DO_BUFFERED_IO` from this device object.
    fn buffered(&self) -> Result<(), Error> {
        let asked = self.parameters();
        // SAFETY: the IRP is not completed while the view exists.
        let buffer = unsafe { nt::irp::system_buffer(self.0) };
        let has_buffer = !buffer.is_null() || asked.input_length == 0 && asked.output_length == 0;
        let is_buffered =
            self.major() != MajorFunction::DeviceControl || self.code() & 3 == nt::METHOD_BUFFERED;
        if is_buffered && has_buffer {
            Ok(())
        } else {
            Err(Error::INVALID_DEVICE_REQUEST)
        }
    }

    /// Writes a reply into the system buffer and returns its length.
    pub(super) fn write<T: IntoBytes + Immutable>(&self, reply: &T) -> Result<usize, Error> {
        self.output::<T>()?;
        let reply = reply.as_bytes();
        // SAFETY: the output is at least as long, which was checked above; the caller has the IRP by value, so the
        // input is not borrowed.
        unsafe { self.write_at(0, reply) };
        Ok(reply.len())
    }

    /// Writes bytes into the output, at an offset.
    ///
    /// # Safety
    /// The output has that many bytes from the offset on, and the input is not borrowed.
    pub(crate) unsafe fn write_at(&self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        // SAFETY: there is output, so there is a system buffer, at least as long as the output.
        let buffer = unsafe { nt::irp::system_buffer(self.0) };
        // SAFETY: guaranteed by the caller.
        let place = unsafe { buffer.add(offset) };
        // SAFETY: as above. No other code accesses the buffer, and `bytes` is not part of it.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
}

/// Returns the first `length` bytes of an IRP's system buffer. If `length` is 0 there may be no buffer.
///
/// # Safety
/// The IRP's system buffer is at least that long, and is neither written nor freed while the slice is used.
unsafe fn bytes<'a>(irp: *mut nt::IRP, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the caller guarantees that the IRP is valid.
    let buffer = unsafe { nt::irp::system_buffer(irp) };
    // SAFETY: the caller guarantees the length of the buffer, and that it does not change.
    unsafe { core::slice::from_raw_parts(buffer, length) }
}
