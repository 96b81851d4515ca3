//! Read access to an IRP.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Error, Record, UserBuffer, io::device::Extension};

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
    /// `IRP_MJ_CREATE`, which a filter driver gets.
    Create,
    /// `IRP_MJ_CLEANUP`, which a filter driver gets.
    Cleanup,
    /// `IRP_MJ_CLOSE`, which a filter driver gets.
    Close,
    /// Any other, which a filter driver gets.
    Other,
}

/// How the data of a request is passed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Buffering {
    /// The system buffer has a copy of the input, and takes the output.
    System,
    /// The MDL describes a buffer to be read. The system buffer has a copy of a device control's input.
    InDirect,
    /// The MDL describes a buffer to be written. The system buffer has a copy of a device control's input.
    OutDirect,
    /// The driver cannot access the data.
    None,
}

/// The parameters of a request, by its major function.
pub(super) struct Parameters {
    code: u32,
    pub(super) input_length: u32,
    output_length: u32,
    offset: i64,
}

/// Read access to a request and to the driver's record `R` for it. The owner of the request and its queue lend it.
///
/// A code of `METHOD_NEITHER` gives access to no data: its buffers are addresses of user mode, and an access to one that is
/// not valid raises an exception, which a driver in Rust cannot handle. Nor does an internal device control that a filter
/// gets: what it contains is known to the driver for which it is.
///
/// WDK: [Methods for Accessing Data Buffers](https://learn.microsoft.com/windows-hardware/drivers/kernel/methods-for-accessing-data-buffers).
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
        // SAFETY: the IRP is not completed while the view exists.
        match unsafe { nt::irp::major_function(self.0) } {
            nt::IRP_MJ_READ => MajorFunction::Read,
            nt::IRP_MJ_WRITE => MajorFunction::Write,
            nt::IRP_MJ_FLUSH_BUFFERS => MajorFunction::FlushBuffers,
            nt::IRP_MJ_INTERNAL_DEVICE_CONTROL => MajorFunction::InternalDeviceControl,
            nt::IRP_MJ_DEVICE_CONTROL => MajorFunction::DeviceControl,
            nt::IRP_MJ_QUERY_INFORMATION => MajorFunction::QueryInformation,
            nt::IRP_MJ_SET_INFORMATION => MajorFunction::SetInformation,
            nt::IRP_MJ_CREATE => MajorFunction::Create,
            nt::IRP_MJ_CLEANUP => MajorFunction::Cleanup,
            nt::IRP_MJ_CLOSE => MajorFunction::Close,
            _ => MajorFunction::Other,
        }
    }

    /// Returns the processor mode of the requestor.
    pub(super) fn requestor_mode(&self) -> i8 {
        // SAFETY: the IRP is not completed while the view exists.
        unsafe { nt::irp::requestor_mode(self.0) }
    }

    /// Returns the I/O control code of a device control, the information class of a request for information
    /// (`FILE_INFORMATION_CLASS`), or 0 for another request.
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
    /// control; 0 if the driver cannot write to the buffer, as with `METHOD_IN_DIRECT`.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn output_length(&self) -> usize {
        match self.buffering() {
            Buffering::System | Buffering::OutDirect => self.parameters().output_length as usize,
            Buffering::InDirect | Buffering::None => 0,
        }
    }

    /// Returns the bytes that the caller passed: the data of a write with buffered I/O, or the input of a device control.
    ///
    /// The buffer is the system's copy, so the caller cannot change it any more.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_REQUEST` if the request has no copy of its input: its code is `METHOD_NEITHER`, or it is a
    /// write with direct I/O, which has a [user buffer](crate::Irp::user_buffer).
    pub fn input_bytes(&self) -> Result<&[u8], Error> {
        let is_copied = match self.buffering() {
            Buffering::System | Buffering::OutDirect => true,
            Buffering::InDirect => self.major() != MajorFunction::Write,
            Buffering::None => false,
        };
        let length = self.parameters().input_length as usize;
        // SAFETY: the IRP is not completed while the view exists.
        let has_buffer = length == 0 || !unsafe { nt::irp::system_buffer(self.0) }.is_null();
        if !is_copied || !has_buffer {
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
        // SAFETY: the I/O manager allocated the buffer with the length of the longer of what is copied in and out and the
        // alignment of the pool, and copied the input into it. It stays until the IRP is completed, and is not
        // written before that: writing a reply takes the IRP by value.
        Ok(unsafe { bytes(self.0, length) })
    }

    /// Returns as many bytes of the output in the system buffer as were written; not more than it holds.
    pub(super) fn written(&self, length: usize) -> Result<&[u8], Error> {
        if self.buffering() != Buffering::System {
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
        // SAFETY: as in `input_bytes`.
        Ok(unsafe { bytes(self.0, length.min(self.output_length())) })
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
    /// `STATUS_INVALID_DEVICE_REQUEST` as for [`IrpView::input_bytes`].
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
    /// `STATUS_BUFFER_TOO_SMALL` if it has not; `STATUS_INVALID_DEVICE_REQUEST` if the driver cannot write to it.
    pub fn output<T: IntoBytes>(&self) -> Result<(), Error> {
        if matches!(self.buffering(), Buffering::InDirect | Buffering::None) {
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
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
            MajorFunction::DeviceControl | MajorFunction::InternalDeviceControl => {
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
            major @ (MajorFunction::QueryInformation | MajorFunction::SetInformation) => {
                // SAFETY: the IRP is a request for information, and is not completed while the view exists.
                let asked = unsafe { nt::irp::file_information(self.0) };
                let is_query = major == MajorFunction::QueryInformation;
                Parameters {
                    code: asked.class,
                    input_length: if is_query { 0 } else { asked.length },
                    output_length: if is_query { asked.length } else { 0 },
                    offset: 0,
                }
            }
            _ => Parameters {
                code: 0,
                input_length: 0,
                output_length: 0,
                offset: 0,
            },
        }
    }

    /// Returns how the data of the request is passed.
    fn buffering(&self) -> Buffering {
        let asked = self.parameters();
        // SAFETY: the IRP is not completed while the view exists.
        let buffer = unsafe { nt::irp::system_buffer(self.0) };
        let copied = if buffer.is_null() && (asked.input_length != 0 || asked.output_length != 0) {
            // An associated IRP, or one for which a filter above has not copied the flags of this device object.
            Buffering::None
        } else {
            Buffering::System
        };
        let direct = match self.major() {
            // A filter may be one of a storage device, whose internal requests have other parameters (`IRP_MJ_SCSI`).
            MajorFunction::InternalDeviceControl if !self.is_of_function_driver() => {
                return Buffering::None;
            }
            MajorFunction::DeviceControl | MajorFunction::InternalDeviceControl => {
                return match self.code() & 3 {
                    nt::METHOD_BUFFERED => copied,
                    nt::METHOD_IN_DIRECT => Buffering::InDirect,
                    nt::METHOD_OUT_DIRECT => Buffering::OutDirect,
                    _ => Buffering::None,
                };
            }
            MajorFunction::Read => Buffering::OutDirect,
            MajorFunction::Write => Buffering::InDirect,
            _ => return copied,
        };
        // SAFETY: as above.
        if unsafe { nt::irp::mdl(self.0) }.is_null() {
            copied
        } else {
            direct
        }
    }

    /// Returns whether the request was sent to the device of a function driver.
    fn is_of_function_driver(&self) -> bool {
        // SAFETY: the IRP is not completed while the view exists.
        let device = unsafe { nt::irp::device_object(self.0) };
        // SAFETY: the IRP was sent to a device of this crate, which its hold keeps.
        unsafe { Extension::of(device) }.has_interface()
    }

    /// Returns the buffer of a request with direct I/O.
    ///
    /// # Safety
    /// The caller has the IRP to itself as long as the buffer is used.
    pub(super) unsafe fn user_buffer(&self) -> Result<UserBuffer<'_>, Error> {
        let asked = self.parameters();
        let (length, is_input) = match (self.major(), self.buffering()) {
            (MajorFunction::Write, Buffering::InDirect) => (asked.input_length, true),
            (_, Buffering::InDirect) => (asked.output_length, true),
            (_, Buffering::OutDirect) => (asked.output_length, false),
            // An empty buffer has no MDL.
            (MajorFunction::Read, Buffering::System) if asked.output_length == 0 => (0, false),
            (MajorFunction::Write, Buffering::System) if asked.input_length == 0 => (0, true),
            _ => return Err(Error::INVALID_DEVICE_REQUEST),
        };
        // SAFETY: the IRP is one with direct I/O and a buffer of this length; the rest is guaranteed by the caller.
        unsafe { UserBuffer::map(self.0, length as usize, is_input) }
    }

    /// Writes a reply into the output and returns its length.
    ///
    /// # Safety
    /// As for [`IrpView::write_at`].
    pub(super) unsafe fn write<T: IntoBytes + Immutable>(&self, reply: &T) -> Result<usize, Error> {
        self.output::<T>()?;
        let reply = reply.as_bytes();
        // SAFETY: the output is at least as long, which was checked above; the rest is guaranteed by the caller.
        unsafe { self.write_at(0, reply) }?;
        Ok(reply.len())
    }

    /// Writes bytes into the output, at an offset. This fails only if a user buffer cannot be mapped.
    ///
    /// # Safety
    /// The output has that many bytes from the offset on. The caller has the IRP to itself, and its input is not borrowed.
    pub(crate) unsafe fn write_at(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.buffering() == Buffering::OutDirect {
            // SAFETY: guaranteed by the caller.
            let buffer = unsafe { self.user_buffer() }?;
            // SAFETY: the buffer was mapped to be written.
            return unsafe { buffer.copy_from(offset, bytes) };
        }
        // SAFETY: there is output, so there is a system buffer, at least as long as the output.
        let buffer = unsafe { nt::irp::system_buffer(self.0) };
        // SAFETY: guaranteed by the caller.
        let place = unsafe { buffer.add(offset) };
        // SAFETY: as above. No other code accesses the buffer, and `bytes` is not part of it.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
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
