//! IRPs that a driver makes: their buffers, and an exchange with the lower driver.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::{
    alloc::Layout,
    mem::MaybeUninit,
    ptr::{NonNull, null_mut, slice_from_raw_parts_mut},
    time::Duration,
};

use nt::irp::{IoControl, Transfer};

use crate::{Error, NtStatus, PassiveLevel, io::forward::set_event, ke::wait};

/// The operation of a request.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    /// `IRP_MJ_DEVICE_CONTROL` or `IRP_MJ_INTERNAL_DEVICE_CONTROL`, with a code.
    Control(usize, u32),
    /// `IRP_MJ_READ`, from an offset.
    Read(i64),
    /// `IRP_MJ_WRITE`, to an offset.
    Write(i64),
}

/// How the lower driver gets the data of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Buffered,
    Direct,
    Neither,
}

impl Operation {
    /// Returns the method of a device control's code, or that of a device with these flags for reads and writes.
    const fn method(self, flags: u32) -> Method {
        match self {
            Self::Control(_, code) => match code & 3 {
                nt::METHOD_BUFFERED => Method::Buffered,
                nt::METHOD_NEITHER => Method::Neither,
                _ => Method::Direct,
            },
            _ if flags & nt::DO_BUFFERED_IO != 0 => Method::Buffered,
            _ if flags & nt::DO_DIRECT_IO != 0 => Method::Direct,
            _ => Method::Neither,
        }
    }

    /// Fills in the buffer of a request: copies the input of a device control with one buffer. Fails if the buffer is too short.
    ///
    /// # Safety
    /// `lower` is a device object that stays valid during the call.
    pub(super) unsafe fn fill(
        self,
        lower: *mut nt::DEVICE_OBJECT,
        input: &[u8],
        lengths: (usize, usize),
        buffer: &mut [u8],
    ) -> Result<(), Error> {
        // SAFETY: guaranteed by the caller.
        let has_both = self.has_both(self.method(unsafe { (*lower).Flags }));
        let input_length = if has_both { 0 } else { lengths.0 };
        if input_length.max(lengths.1) > buffer.len() {
            return Err(Error::INVALID_PARAMETER);
        }
        if !has_both {
            for (byte, input) in buffer.iter_mut().zip(input) {
                *byte = *input;
            }
        }
        Ok(())
    }

    /// Returns whether there are two buffers: those of a device control, unless one is used for both directions.
    fn has_both(self, method: Method) -> bool {
        matches!(self, Self::Control(..)) && method != Method::Buffered
    }
}

/// An IRP that is filled in for the lower driver, with the buffers that only it uses. Dropping it frees it: the caller owns it then.
pub(super) struct OwnIrp {
    irp: *mut nt::IRP,
    operation: Operation,
    /// The number of bytes that can be transferred.
    room: usize,
    // Dropped after the IRP is freed.
    _mdl: Option<Mdl>,
    _second: Option<Buffer>,
}

impl OwnIrp {
    /// Makes an IRP. `data` is the buffer of the transfer, and `input` the buffer of a device control's input, which is in `data` if the
    /// method is `METHOD_BUFFERED`.
    ///
    /// # Safety
    /// `lower` is a device object that stays valid during the call. `data` is long enough for the output and, except for a device control
    /// with two buffers, for the input; it stays valid as long as the `OwnIrp`. The IRQL is at most `DISPATCH_LEVEL`.
    pub(super) unsafe fn new(
        lower: *mut nt::DEVICE_OBJECT,
        operation: Operation,
        data: &Buffer,
        input: &[u8],
        lengths: (usize, usize),
    ) -> Result<Self, Error> {
        let length = |length| u32::try_from(length).map_err(|_| Error::INVALID_PARAMETER);
        let (input_length, output_length) = (length(lengths.0)?, length(lengths.1)?);
        // SAFETY: guaranteed by the caller.
        let method = operation.method(unsafe { (*lower).Flags });
        let has_both = operation.has_both(method);
        let second = has_both.then(|| Buffer::new(input, 0)).transpose()?;
        let second_start = second.as_ref().map_or(null_mut(), Buffer::start);
        let room = match operation {
            Operation::Write(_) => input_length,
            _ => output_length,
        };
        let mdl = match method {
            Method::Direct if room != 0 => Some(Mdl::new(data, room)?),
            _ => None,
        };
        // SAFETY: guaranteed by the caller.
        let stack_size = unsafe { (*lower).StackSize };
        // SAFETY: the IRQL is at most DISPATCH_LEVEL.
        let irp = unsafe { nt::IoAllocateIrp(stack_size, 0) };
        if irp.is_null() {
            return Err(Error::INSUFFICIENT_RESOURCES);
        }
        // SAFETY: the IRP has a stack location for the lower driver.
        let stack = unsafe { nt::IoGetNextIrpStackLocation(irp) };
        match operation {
            Operation::Control(major, code) => {
                let parameters = IoControl {
                    code,
                    input_length,
                    output_length,
                };
                // SAFETY: this thread owns the IRP, whose next stack location this is.
                unsafe { nt::set_io_control(stack, major, parameters) };
            }
            Operation::Read(offset) => {
                let length = output_length;
                // SAFETY: as above.
                unsafe { nt::set_transfer(stack, nt::IRP_MJ_READ, Transfer { length, offset }) };
            }
            Operation::Write(offset) => {
                let length = input_length;
                // SAFETY: as above.
                unsafe { nt::set_transfer(stack, nt::IRP_MJ_WRITE, Transfer { length, offset }) };
            }
        }
        match method {
            // SAFETY: this thread owns the IRP.
            Method::Buffered => unsafe { nt::set_system_buffer(irp, data.start()) },
            Method::Direct => {
                // SAFETY: as above. A read or a write has no second buffer.
                unsafe { nt::set_system_buffer(irp, second_start) };
                let mdl = mdl.as_ref().map_or(null_mut(), |mdl| mdl.0);
                // SAFETY: as above.
                unsafe { nt::set_mdl(irp, mdl) };
            }
            Method::Neither => {
                // SAFETY: as above.
                unsafe { nt::set_user_buffer(irp, data.start()) };
                if has_both {
                    // SAFETY: as above, and the parameters are those of a device control.
                    unsafe { nt::set_type3_input(stack, second_start) };
                }
            }
        }
        Ok(Self {
            irp,
            operation,
            // On all targets, a `u32` fits.
            room: room as usize,
            _mdl: mdl,
            _second: second,
        })
    }

    /// The IRP, which this owns unless the lower drivers do.
    pub(super) const fn irp(&self) -> *mut nt::IRP {
        self.irp
    }

    /// Returns the result of the request: its status, the number of bytes that were transferred, and how many of them are output.
    ///
    /// # Safety
    /// The lower drivers have completed the IRP.
    pub(super) unsafe fn end(&self) -> End {
        // SAFETY: guaranteed by the caller.
        let result = Error::check(unsafe { nt::irp::status(self.irp) });
        // SAFETY: as above. The lower driver may have returned any number.
        let count = unsafe { nt::irp::information(self.irp) }.min(self.room);
        let has_failed = result.is_err_and(|error| NtStatus::from(error).is_error());
        let has_output = !has_failed && !matches!(self.operation, Operation::Write(_));
        End {
            result,
            count,
            output: if has_output { count } else { 0 },
        }
    }
}

impl Drop for OwnIrp {
    fn drop(&mut self) {
        // SAFETY: the caller owns the IRP, which other code no longer uses. The IRQL is at most DISPATCH_LEVEL.
        unsafe { nt::IoFreeIrp(self.irp) };
    }
}

/// The result of a request.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) result: Result<(), Error>,
    /// The number of bytes that were transferred.
    pub(super) count: usize,
    /// The number of bytes of output.
    pub(super) output: usize,
}

/// Sends a request and waits until it is completed. All of its buffers are copies in the nonpaged pool, which stay until then.
///
/// # Safety
/// `lower` is a device object that stays valid during the call.
pub(super) unsafe fn exchange(
    lower: *mut nt::DEVICE_OBJECT,
    operation: Operation,
    input: &[u8],
    output: &mut [u8],
    timeout: Option<Duration>,
    irql: &mut PassiveLevel,
) -> Result<usize, Error> {
    // SAFETY: guaranteed by the caller.
    let method = operation.method(unsafe { (*lower).Flags });
    // The output is in `data`.
    let data = if operation.has_both(method) {
        Buffer::new(output, 0)?
    } else {
        Buffer::new(input, output.len())?
    };
    let lengths = (input.len(), output.len());
    // SAFETY: guaranteed by the caller; the IRQL is PASSIVE_LEVEL, and `data` is dropped after the IRP.
    let own = unsafe { OwnIrp::new(lower, operation, &data, input, lengths) }?;
    // SAFETY: this thread owns the IRP, which is filled in, and `lower` stays valid.
    let in_time = unsafe { send_and_wait(lower, own.irp(), timeout, irql) };
    // SAFETY: this thread owns the IRP again.
    let end = unsafe { own.end() };
    if let Some(output) = output.get_mut(..end.output) {
        data.copy_to(output);
    }
    match end.result {
        Ok(()) => Ok(end.count),
        Err(Error::CANCELLED) if !in_time => Err(Error::IO_TIMEOUT),
        Err(error) => Err(error),
    }
}

/// Sends an IRP and waits until it has returned; returns whether it returned in time. If not, it is cancelled.
///
/// # Safety
/// The caller owns the IRP, which has no completion routine. `lower` is a device object that stays valid during the call.
unsafe fn send_and_wait(
    lower: *mut nt::DEVICE_OBJECT,
    irp: *mut nt::IRP,
    timeout: Option<Duration>,
    irql: &mut PassiveLevel,
) -> bool {
    let mut event = MaybeUninit::<nt::KEVENT>::uninit();
    // One pointer for all uses: the kernel stores pointers derived from it in the event.
    let event = event.as_mut_ptr();
    // SAFETY: the event is valid for writes. It stays in this stack frame until the wait below has ended; the wait
    // is in kernel mode, so the stack stays resident.
    unsafe { nt::KeInitializeEvent(event, nt::_EVENT_TYPE::NotificationEvent, 0) };
    let context = event.cast();
    // SAFETY: the caller owns the IRP. The event outlives the routine, which runs on success, error and cancellation.
    unsafe { nt::irp::IoSetCompletionRoutine(irp, Some(set_event), context, true, true, true) };
    // The completion routine runs whether or not the lower driver pends the IRP, so the returned status does not matter.
    // SAFETY: the completion routine stops the completion, so the IRP stays allocated.
    let _ = unsafe { nt::IofCallDriver(lower, irp) };
    // SAFETY: the event is initialised, and stays in this stack frame until the completion routine has set it.
    let in_time = timeout.is_none_or(|time| unsafe { wait::for_object_until(context, time, irql) });
    if !in_time {
        // SAFETY: the caller frees the IRP, so it is valid, whether or not it is completed by now. No lock is held.
        unsafe { nt::IoCancelIrp(irp) };
    }
    // SAFETY: as above. The event stays set, so this returns immediately if the first wait has ended.
    unsafe { wait::for_object(context, irql) };
    in_time
}

/// A buffer in the nonpaged pool.
pub(super) struct Buffer {
    start: NonNull<u8>,
    length: usize,
    layout: Layout,
}

impl Buffer {
    /// Allocates a buffer with a copy of some bytes, and zeros after them up to `length` bytes.
    pub(super) fn new(bytes: &[u8], length: usize) -> Result<Self, Error> {
        let length = bytes.len().max(length);
        let layout = Layout::from_size_align(length.max(1), nt::MEMORY_ALLOCATION_ALIGNMENT)
            .map_err(|_| Error::INSUFFICIENT_RESOURCES)?;
        // SAFETY: the size is not zero.
        let start =
            NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::INSUFFICIENT_RESOURCES)?;
        // SAFETY: the buffer is new, and at least as long as the bytes.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        Ok(Self {
            start,
            length,
            layout,
        })
    }

    const fn start(&self) -> *mut core::ffi::c_void {
        self.start.as_ptr().cast()
    }

    /// The bytes. Whoever owns the request accesses them.
    pub(super) const fn bytes(&self) -> *mut [u8] {
        slice_from_raw_parts_mut(self.start.as_ptr(), self.length)
    }

    /// Copies from the start of the buffer. `output` is not longer than the buffer.
    fn copy_to(&self, output: &mut [u8]) {
        // SAFETY: the lower driver has completed the request, so no other code uses the buffer, which is long enough.
        unsafe {
            self.start
                .copy_to_nonoverlapping(NonNull::from(&mut *output).cast(), output.len());
        };
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the buffer was allocated with this layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// The MDL of a buffer in the nonpaged pool, whose pages need not be locked.
struct Mdl(*mut nt::MDL);

impl Mdl {
    /// Makes the MDL of the start of a buffer, which is not empty and stays as long as the MDL (`IoAllocateMdl`,
    /// `MmBuildMdlForNonPagedPool`).
    fn new(buffer: &Buffer, length: u32) -> Result<Self, Error> {
        // SAFETY: the IRQL is at most DISPATCH_LEVEL, and no IRP gets the MDL yet.
        let mdl = unsafe { nt::IoAllocateMdl(buffer.start(), length, 0, 0, null_mut()) };
        if mdl.is_null() {
            return Err(Error::INSUFFICIENT_RESOURCES);
        }
        // SAFETY: the MDL is new, and describes memory of the nonpaged pool.
        unsafe { nt::MmBuildMdlForNonPagedPool(mdl) };
        Ok(Self(mdl))
    }
}

impl Drop for Mdl {
    fn drop(&mut self) {
        // SAFETY: `IoAllocateMdl` has made the MDL, and the IRP that had it is freed.
        unsafe { nt::IoFreeMdl(self.0) };
    }
}
