//! The parameters of an IRP, and the buffers with its data. Nothing here depends on the driver's record.

use core::{ffi::c_void, marker::PhantomData};

use nt::irp::IoControl;

use crate::{Error, MajorFunction, UserBuffer, io::extension::Extension};

/// An IRP as [`IrpView`](crate::IrpView) reads it.
#[derive(Clone, Copy)]
pub(crate) struct IrpData<'a>(*mut nt::IRP, PhantomData<&'a nt::IRP>);

/// How the data of a request is passed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Buffering {
    /// The system buffer has a copy of the input, and takes the output. There is no such buffer in an associated IRP, or if
    /// a filter above has not copied the flags of this device object.
    System,
    /// The MDL describes a buffer to be read. The system buffer has a copy of a device control's input.
    InDirect,
    /// The MDL describes a buffer to be written. The system buffer has a copy of a device control's input.
    OutDirect,
    /// The driver cannot access the data.
    None,
}

/// The parameters of a request that is not a device control, by its major function.
#[derive(Default)]
pub(super) struct Parameters {
    pub(super) input_length: u32,
    output_length: u32,
    pub(super) class: u32,
    pub(super) offset: i64,
}

impl<'a> IrpData<'a> {
    /// # Safety
    /// The IRP is of a [`MajorFunction`], was sent to a device of this crate, and is not completed during `'a`.
    pub(crate) unsafe fn new(irp: *mut nt::IRP) -> Self {
        Self(irp, PhantomData)
    }

    pub(super) fn major(self) -> MajorFunction {
        match self.raw_major() {
            nt::IRP_MJ_READ => MajorFunction::Read,
            nt::IRP_MJ_WRITE => MajorFunction::Write,
            nt::IRP_MJ_FLUSH_BUFFERS => MajorFunction::FlushBuffers,
            nt::IRP_MJ_INTERNAL_DEVICE_CONTROL => MajorFunction::InternalDeviceControl,
            nt::IRP_MJ_DEVICE_CONTROL => MajorFunction::DeviceControl,
            nt::IRP_MJ_QUERY_INFORMATION => MajorFunction::QueryInformation,
            nt::IRP_MJ_SET_INFORMATION => MajorFunction::SetInformation,
            nt::IRP_MJ_CREATE | nt::IRP_MJ_CREATE_NAMED_PIPE | nt::IRP_MJ_CREATE_MAILSLOT => {
                MajorFunction::Create
            }
            nt::IRP_MJ_CLEANUP => MajorFunction::Cleanup,
            nt::IRP_MJ_CLOSE => MajorFunction::Close,
            _ => MajorFunction::Other,
        }
    }

    fn raw_major(self) -> usize {
        // SAFETY: the IRP is not completed while this exists.
        unsafe { nt::irp::major_function(self.0) }
    }

    /// Returns the system buffer, NULL if there is none.
    fn system_buffer(self) -> *mut u8 {
        // SAFETY: the IRP is not completed while this exists.
        unsafe { nt::irp::system_buffer(self.0) }
    }

    /// Returns the parameters of a device control, `None` for another request.
    fn io_control(self) -> Option<IoControl> {
        let is_control = matches!(
            self.raw_major(),
            nt::IRP_MJ_DEVICE_CONTROL | nt::IRP_MJ_INTERNAL_DEVICE_CONTROL
        );
        // SAFETY: the IRP is a device control and is not completed while this exists.
        is_control.then(|| unsafe { nt::irp::io_control(self.0) })
    }

    pub(super) fn code(self) -> u32 {
        self.io_control().map_or(0, |asked| asked.code)
    }

    /// Returns the parameters of a request that is not a device control.
    pub(super) fn others(self) -> Parameters {
        match self.raw_major() {
            major @ (nt::IRP_MJ_READ | nt::IRP_MJ_WRITE) => {
                // SAFETY: the IRP is a read or a write, and is not completed while this exists.
                let asked = unsafe { nt::irp::transfer(self.0) };
                Parameters {
                    offset: asked.offset,
                    ..Parameters::one_way(major == nt::IRP_MJ_READ, asked.length)
                }
            }
            major @ (nt::IRP_MJ_QUERY_INFORMATION | nt::IRP_MJ_SET_INFORMATION) => {
                // SAFETY: the IRP is a request for information, and is not completed while this exists.
                let asked = unsafe { nt::irp::file_information(self.0) };
                Parameters {
                    class: asked.class,
                    ..Parameters::one_way(major == nt::IRP_MJ_QUERY_INFORMATION, asked.length)
                }
            }
            _ => Parameters::default(),
        }
    }

    /// Returns the bytes that the system has copied in.
    // Device controls come first and inline, since nearly all requests with an input are such.
    pub(super) fn input(self) -> Result<&'a [u8], Error> {
        let length = match self.io_control() {
            Some(asked) => self.input_of_control(&asked),
            None => self.other_input(),
        };
        // SAFETY: the input has this length.
        unsafe { self.in_system_buffer(length?) }
    }

    /// Returns the bytes that the system has copied in, if they are as many as a type has.
    // Not generic, so that it is compiled once; with the optimisation of the driver that calls it.
    #[inline]
    pub(super) fn input_of(self, size: usize) -> Result<&'a [u8], Error> {
        let length = match self.io_control() {
            Some(asked) => self.input_of_control(&asked),
            None => self.other_input(),
        };
        if length? != size {
            return Err(Error::INFO_LENGTH_MISMATCH);
        }
        // SAFETY: the input has this length.
        unsafe { self.in_system_buffer(size) }
    }

    /// Returns the first bytes of the system buffer.
    ///
    /// # Safety
    /// The request has an input or an output in the system buffer of at least this length.
    unsafe fn in_system_buffer(self, length: usize) -> Result<&'a [u8], Error> {
        if length == 0 {
            return Ok(&[]);
        }
        let buffer = self.system_buffer();
        if buffer.is_null() {
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
        // SAFETY: the I/O manager allocated the buffer with the length of the longer of what is copied in and out and the
        // alignment of the pool, and copied the input into it. It stays until the IRP is completed, and is not
        // written before that: writing a reply takes the IRP by value.
        Ok(unsafe { core::slice::from_raw_parts(buffer, length) })
    }

    /// Returns the length of a device control's input, if the driver may read it.
    fn input_of_control(self, asked: &IoControl) -> Result<usize, Error> {
        if self.buffering_of_control(asked) == Buffering::None {
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
        Ok(asked.input_length as usize)
    }

    /// Returns the number of bytes that the system has copied in for a request that is not a device control.
    #[cold]
    #[inline(never)]
    fn other_input(self) -> Result<usize, Error> {
        match self.other_buffering() {
            // The bytes are only in the MDL.
            Buffering::InDirect => Err(Error::INVALID_DEVICE_REQUEST),
            _ => Ok(self.others().input_length as usize),
        }
    }

    /// Returns how many bytes can be written to the output; fails if the driver cannot write to it.
    pub(super) fn output_length(self) -> Result<usize, Error> {
        match self.output() {
            (Buffering::System, length) if length == 0 || !self.system_buffer().is_null() => {
                Ok(length as usize)
            }
            (Buffering::OutDirect, length) => Ok(length as usize),
            _ => Err(Error::INVALID_DEVICE_REQUEST),
        }
    }

    /// Checks that the output has room for `size` bytes.
    #[inline]
    pub(super) fn check_output(self, size: usize) -> Result<(), Error> {
        if self.output_length()? < size {
            return Err(Error::BUFFER_TOO_SMALL);
        }
        Ok(())
    }

    /// Returns the bytes of the output in the system buffer that were written, at most those that it holds.
    pub(super) fn written(self, length: usize) -> Result<&'a [u8], Error> {
        let (Buffering::System, room) = self.output() else {
            return Err(Error::INVALID_DEVICE_REQUEST);
        };
        // SAFETY: the output has at least this length.
        unsafe { self.in_system_buffer(length.min(room as usize)) }
    }

    /// Returns how the output of the request is passed, and its length.
    fn output(self) -> (Buffering, u32) {
        match self.io_control() {
            Some(asked) => (self.buffering_of_control(&asked), asked.output_length),
            None => self.other_output(),
        }
    }

    #[cold]
    #[inline(never)]
    fn other_output(self) -> (Buffering, u32) {
        (self.other_buffering(), self.others().output_length)
    }

    /// Returns how the data of a device control is passed.
    fn buffering_of_control(self, asked: &IoControl) -> Buffering {
        match asked.code & 3 {
            _ if self.is_opaque() => Buffering::None,
            nt::METHOD_BUFFERED => Buffering::System,
            nt::METHOD_IN_DIRECT => Buffering::InDirect,
            nt::METHOD_OUT_DIRECT => Buffering::OutDirect,
            _ => Buffering::None,
        }
    }

    /// Returns how the data of another request is passed.
    fn other_buffering(self) -> Buffering {
        // SAFETY: the IRP is not completed while this exists.
        let has_mdl = !unsafe { nt::irp::mdl(self.0) }.is_null();
        match self.raw_major() {
            nt::IRP_MJ_READ if has_mdl => Buffering::OutDirect,
            nt::IRP_MJ_WRITE if has_mdl => Buffering::InDirect,
            _ => Buffering::System,
        }
    }

    /// Returns whether `Parameters.Others.Argument4` may have a meaning for a lower driver. It has none in a read, write or flush, nor in
    /// a device control whose input is not in the user's buffer.
    pub(super) fn has_argument4(self) -> bool {
        match self.raw_major() {
            nt::IRP_MJ_READ | nt::IRP_MJ_WRITE | nt::IRP_MJ_FLUSH_BUFFERS => false,
            nt::IRP_MJ_DEVICE_CONTROL => self
                .io_control()
                .is_none_or(|asked| self.buffering_of_control(&asked) == Buffering::None),
            _ => true,
        }
    }

    /// Returns whether a driver has sent the request as a control. A lower driver trusts the addresses in its buffers.
    pub(crate) fn is_control_of_a_driver(self) -> bool {
        match self.raw_major() {
            nt::IRP_MJ_INTERNAL_DEVICE_CONTROL => true,
            nt::IRP_MJ_DEVICE_CONTROL | nt::IRP_MJ_FILE_SYSTEM_CONTROL => {
                // SAFETY: the IRP is not completed while this exists.
                unsafe { nt::irp::requestor_mode(self.0) == nt::KERNEL_MODE }
            }
            _ => false,
        }
    }

    /// Returns whether the data is at addresses of the requestor's process, since the request uses neither buffered nor direct I/O. A
    /// lower driver can access it only in a thread of that process. An internal device control has addresses of the system.
    pub(super) fn is_for_one_process(self) -> bool {
        // SAFETY: the IRP is not completed while this exists.
        let has_address = is_of_a_process(unsafe { nt::user_buffer(self.0) });
        match self.raw_major() {
            nt::IRP_MJ_INTERNAL_DEVICE_CONTROL => false,
            nt::IRP_MJ_DEVICE_CONTROL | nt::IRP_MJ_FILE_SYSTEM_CONTROL => {
                // SAFETY: the IRP is a control and is not completed while this exists.
                let asked = unsafe { nt::irp::io_control(self.0) };
                // SAFETY: as above. With this method the argument is the address of the input.
                let has_input = is_of_a_process(unsafe { nt::irp::argument4(self.0) });
                asked.code & 3 == nt::METHOD_NEITHER && (has_address || has_input)
            }
            _ => {
                // SAFETY: as above.
                let has_mdl = !unsafe { nt::irp::mdl(self.0) }.is_null();
                has_address && !has_mdl && self.system_buffer().is_null()
            }
        }
    }

    /// Returns whether the meaning of the request's parameters is not known. A filter may be one of a storage device, whose
    /// internal requests have other parameters (`IRP_MJ_SCSI`).
    fn is_opaque(self) -> bool {
        self.raw_major() == nt::IRP_MJ_INTERNAL_DEVICE_CONTROL && self.is_of_filter()
    }

    /// Returns whether the request was sent to the device of a filter.
    fn is_of_filter(self) -> bool {
        // SAFETY: the IRP is not completed while this exists.
        let device = unsafe { nt::irp::device_object(self.0) };
        // SAFETY: the IRP was sent to a device of this crate, which its hold keeps.
        unsafe { Extension::of(device) }.is_filter()
    }

    /// Returns the buffer of a request with direct I/O.
    ///
    /// # Safety
    /// The caller has exclusive access to the IRP as long as the buffer is used.
    #[inline(never)]
    pub(super) unsafe fn user_buffer(self) -> Result<UserBuffer<'a>, Error> {
        let asked = self.others();
        let (length, is_input) = match (self.major(), self.output()) {
            (MajorFunction::Write, (Buffering::InDirect, _)) => (asked.input_length, true),
            (_, (Buffering::InDirect, length)) => (length, true),
            (_, (Buffering::OutDirect, length)) => (length, false),
            // An empty buffer has no MDL.
            (MajorFunction::Read, (Buffering::System, 0)) => (0, false),
            (MajorFunction::Write, (Buffering::System, _)) if asked.input_length == 0 => (0, true),
            _ => return Err(Error::INVALID_DEVICE_REQUEST),
        };
        // SAFETY: the IRP is one with direct I/O and a buffer of this length; the rest is guaranteed by the caller.
        unsafe { UserBuffer::map(self.0, length as usize, is_input) }
    }

    /// Writes a reply into the output and returns its length.
    ///
    /// # Safety
    /// As for [`IrpData::write_at`].
    #[inline(never)]
    pub(super) unsafe fn write(self, reply: &[u8]) -> Result<usize, Error> {
        self.check_output(reply.len())?;
        // SAFETY: the output is at least as long, which was checked above; the rest is guaranteed by the caller.
        unsafe { self.write_at(0, reply) }?;
        Ok(reply.len())
    }

    /// Writes bytes into the output, at an offset. This fails only if a user buffer cannot be mapped.
    ///
    /// # Safety
    /// The output has that many bytes from the offset on. The caller has exclusive access to the IRP, and its input is not borrowed.
    pub(crate) unsafe fn write_at(self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.output().0 == Buffering::OutDirect {
            // SAFETY: guaranteed by the caller.
            let buffer = unsafe { self.user_buffer() }?;
            // SAFETY: the buffer was mapped to be written.
            return unsafe { buffer.copy_from(offset, bytes) };
        }
        let buffer = self.system_buffer();
        // SAFETY: there is output, so there is a system buffer, at least as long as the output; the caller guarantees the
        // offset.
        let place = unsafe { buffer.add(offset) };
        // SAFETY: as above. No other code accesses the buffer, and `bytes` is not part of it.
        unsafe { place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }
}

/// Returns whether an address is in the user part of the address space, its lower half. As numbers with a sign,
/// the addresses of the system are negative.
fn is_of_a_process(address: *mut c_void) -> bool {
    address.addr().cast_signed() > 0
}

impl Parameters {
    /// The parameters of a request whose data goes in one direction.
    fn one_way(is_output: bool, length: u32) -> Self {
        Self {
            input_length: if is_output { 0 } else { length },
            output_length: if is_output { length } else { 0 },
            ..Self::default()
        }
    }
}
