//! IRPs that a driver makes: their buffers, and one exchange with the driver below.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::{
    alloc::Layout,
    mem::MaybeUninit,
    ptr::{NonNull, null_mut},
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

/// How the driver below gets the data of a request.
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
}

/// Sends a request and waits for its end. All of its buffers are copies in the nonpaged pool, which stay until then.
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
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| Error::INVALID_PARAMETER);
    let (input_length, output_length) = (length(input)?, length(output)?);
    // SAFETY: guaranteed by the caller.
    let flags = unsafe { (*lower).Flags };
    let method = operation.method(flags);
    let is_control = matches!(operation, Operation::Control(..));
    // What comes back is in `data`. A device control has a second buffer, unless one is used for both directions.
    let has_both = is_control && method != Method::Buffered;
    let data = if has_both {
        Buffer::new(output, 0)?
    } else {
        Buffer::new(input, output.len())?
    };
    let second = if has_both {
        Some(Buffer::new(input, 0)?)
    } else {
        None
    };
    let second = second.as_ref().map_or(null_mut(), Buffer::start);
    let mdl = match method {
        Method::Direct if data.length != 0 => Some(Mdl::new(&data)?),
        _ => None,
    };
    // SAFETY: guaranteed by the caller.
    let stack_size = unsafe { (*lower).StackSize };
    // SAFETY: the IRQL is PASSIVE_LEVEL.
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
            unsafe { nt::set_system_buffer(irp, second) };
            let mdl = mdl.as_ref().map_or(null_mut(), |mdl| mdl.0);
            // SAFETY: as above.
            unsafe { nt::set_mdl(irp, mdl) };
        }
        Method::Neither => {
            // SAFETY: as above.
            unsafe { nt::set_user_buffer(irp, data.start()) };
            if has_both {
                // SAFETY: as above, and the parameters are those of a device control.
                unsafe { nt::set_type3_input(stack, second) };
            }
        }
    }
    // SAFETY: this thread owns the IRP, which is filled in, and `lower` stays valid.
    let in_time = unsafe { send_and_wait(lower, irp, timeout, irql) };
    // SAFETY: this thread owns the IRP again.
    let status = unsafe { nt::irp::status(irp) };
    // SAFETY: as above.
    let information = unsafe { nt::irp::information(irp) };
    // SAFETY: as above, and the IRP is not used any more.
    unsafe { nt::IoFreeIrp(irp) };
    let result = Error::check(status);
    let has_failed = result.is_err_and(|error| NtStatus::from(error).is_error());
    let room = match operation {
        Operation::Write(_) => input.len(),
        _ => output.len(),
    };
    // The lower driver may have returned any number.
    let count = information.min(room);
    if !has_failed && !matches!(operation, Operation::Write(_)) {
        data.copy_to(&mut output[..count]);
    }
    match result {
        Ok(()) => Ok(count),
        Err(Error::CANCELLED) if !in_time => Err(Error::IO_TIMEOUT),
        Err(error) => Err(error),
    }
}

/// Sends an IRP and waits until it has come back; returns whether it came back in time. If not, it is cancelled.
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
    // SAFETY: as above. The event stays set, so this returns at once if the wait before has ended.
    unsafe { wait::for_object(context, irql) };
    in_time
}

/// A buffer in the nonpaged pool.
struct Buffer {
    start: NonNull<u8>,
    length: usize,
    layout: Layout,
}

impl Buffer {
    /// Allocates a buffer with a copy of some bytes, and zeros after them up to `length` bytes.
    fn new(bytes: &[u8], length: usize) -> Result<Self, Error> {
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
    /// Makes the MDL of a buffer, which is not empty and stays as long as the MDL (`IoAllocateMdl`,
    /// `MmBuildMdlForNonPagedPool`).
    fn new(buffer: &Buffer) -> Result<Self, Error> {
        let length = u32::try_from(buffer.length).map_err(|_| Error::INVALID_PARAMETER)?;
        // SAFETY: the IRQL is PASSIVE_LEVEL, and no IRP gets the MDL yet.
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
