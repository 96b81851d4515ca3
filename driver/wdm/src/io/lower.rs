//! Requests that a driver makes and sends to the device below its own.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::{alloc::Layout, mem::MaybeUninit, ptr::NonNull, time::Duration};

use crate::{
    DeviceObject, Error, NtStatus, PassiveLevel,
    io::{extension::Extension, forward::set_event},
    ke::wait,
};

/// The device below a driver's own, to which it sends requests (`IoAllocateIrp`, `IoBuildDeviceIoControlRequest`).
///
/// A request is sent at once, and the thread waits until it is completed. It holds the remove lock of the driver's own device,
/// so the device below stays.
///
/// WDK: [Creating IRPs for Lower-Level Drivers](https://learn.microsoft.com/windows-hardware/drivers/kernel/creating-irps-for-lower-level-drivers).
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use wdm::{Error, Lower, PassiveLevel};
///
/// const GET_VERSION: u32 = 0x22_2000;
///
/// fn version(below: &Lower, irql: &mut PassiveLevel) -> Result<u32, Error> {
///     let mut version = [0; 4];
///     match below.device_control(GET_VERSION, &[], &mut version, Some(Duration::from_secs(1)), irql)? {
///         4 => Ok(u32::from_ne_bytes(version)),
///         _ => Err(Error::INVALID_DEVICE_REQUEST),
///     }
/// }
/// ```
///
/// # What goes wrong in C
///
/// A driver frees or reuses the IRP, its buffer or its event after a wait with a timeout, while the lower driver still uses them;
/// keeps no hold of its remove lock; or waits with normal or special kernel APCs disabled for an IRP that only an APC completes.
#[doc(alias = "IoAllocateIrp")]
#[doc(alias = "IoFreeIrp")]
#[doc(alias = "IoBuildDeviceIoControlRequest")]
#[doc(alias = "IoGetNextIrpStackLocation")]
#[doc(alias = "IoCallDriver")]
pub struct Lower(DeviceObject);

impl Lower {
    /// Returns the device below one of the driver's own.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn new(device: &DeviceObject) -> Self {
        Self(device.clone())
    }

    /// Sends an `IRP_MJ_DEVICE_CONTROL` with an input, waits until it is completed, and returns the number of bytes of its output.
    ///
    /// If it takes longer than `timeout`, it is cancelled (`IoCancelIrp`); the call still waits until it is completed.
    ///
    /// WDK: [IoBuildDeviceIoControlRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iobuilddeviceiocontrolrequest).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The error or warning with which the request is completed; with a warning, there can be output. `STATUS_IO_TIMEOUT` if it was cancelled
    /// after the timeout. `STATUS_DELETE_PENDING` if the driver's device is being removed, and
    /// `STATUS_INVALID_DEVICE_REQUEST` before it is attached, or if the code is not one of `METHOD_BUFFERED`.
    /// `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    pub fn device_control(
        &self,
        code: u32,
        input: &[u8],
        output: &mut [u8],
        timeout: Option<Duration>,
        irql: &mut PassiveLevel,
    ) -> Result<usize, Error> {
        self.send(
            nt::IRP_MJ_DEVICE_CONTROL,
            code,
            input,
            output,
            timeout,
            irql,
        )
    }

    /// Like [`Lower::device_control`], with an `IRP_MJ_INTERNAL_DEVICE_CONTROL`.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// As for [`Lower::device_control`].
    pub fn internal_device_control(
        &self,
        code: u32,
        input: &[u8],
        output: &mut [u8],
        timeout: Option<Duration>,
        irql: &mut PassiveLevel,
    ) -> Result<usize, Error> {
        let major = nt::IRP_MJ_INTERNAL_DEVICE_CONTROL;
        self.send(major, code, input, output, timeout, irql)
    }

    fn send(
        &self,
        major: usize,
        code: u32,
        input: &[u8],
        output: &mut [u8],
        timeout: Option<Duration>,
        irql: &mut PassiveLevel,
    ) -> Result<usize, Error> {
        const METHOD: u32 = 3;
        if code & METHOD != 0 || !self.0.is_attached() {
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
        let device = self.0.as_ptr();
        // SAFETY: the reference keeps the device object, whose extension was initialised before it was attached.
        let extension = unsafe { Extension::of(device) };
        if !extension.holds.acquire(device.cast()) {
            return Err(Error::DELETE_PENDING);
        }
        // SAFETY: the hold keeps the device attached to the lower one.
        let result =
            unsafe { exchange(extension.lower(), major, code, input, output, timeout, irql) };
        // SAFETY: the hold was acquired above.
        unsafe { Extension::release(device, device.cast()) };
        result
    }
}

/// Sends a device control of `METHOD_BUFFERED` and waits for its end.
///
/// # Safety
/// `lower` is a device object that stays valid during the call.
unsafe fn exchange(
    lower: *mut nt::DEVICE_OBJECT,
    major: usize,
    code: u32,
    input: &[u8],
    output: &mut [u8],
    timeout: Option<Duration>,
    irql: &mut PassiveLevel,
) -> Result<usize, Error> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| Error::INVALID_PARAMETER);
    let parameters = nt::irp::IoControl {
        code,
        input_length: length(input)?,
        output_length: length(output)?,
    };
    let buffer = Buffer::new(input, output.len())?;
    // SAFETY: guaranteed by the caller.
    let stack_size = unsafe { (*lower).StackSize };
    // SAFETY: the IRQL is PASSIVE_LEVEL.
    let irp = unsafe { nt::IoAllocateIrp(stack_size, 0) };
    if irp.is_null() {
        return Err(Error::INSUFFICIENT_RESOURCES);
    }
    let mut event = MaybeUninit::<nt::KEVENT>::uninit();
    // One pointer for all uses: the kernel stores pointers derived from it in the event.
    let event = event.as_mut_ptr();
    // SAFETY: the event is valid for writes. It stays in this stack frame until the wait below has ended; the wait
    // is in kernel mode, so the stack stays resident.
    unsafe { nt::KeInitializeEvent(event, nt::_EVENT_TYPE::NotificationEvent, 0) };
    // SAFETY: this thread owns the IRP.
    unsafe { nt::set_system_buffer(irp, buffer.start.as_ptr().cast()) };
    // SAFETY: the IRP has a stack location for the lower driver.
    let stack = unsafe { nt::IoGetNextIrpStackLocation(irp) };
    // SAFETY: as above.
    unsafe { nt::set_io_control(stack, major, parameters) };
    let context = event.cast();
    // SAFETY: as above. The event outlives the routine, which runs on success, error and cancellation.
    unsafe { nt::irp::IoSetCompletionRoutine(irp, Some(set_event), context, true, true, true) };
    // The completion routine runs whether or not the lower driver pends the IRP, so the returned status does not matter.
    // SAFETY: the completion routine stops the completion, so the IRP stays allocated.
    let _ = unsafe { nt::IofCallDriver(lower, irp) };
    // SAFETY: the event is initialised, and stays in this stack frame until the completion routine has set it.
    let in_time = timeout.is_none_or(|time| unsafe { wait::for_object_until(context, time, irql) });
    if !in_time {
        // SAFETY: the IRP is freed below only, so it is valid, whether or not it is completed by now. No lock is held.
        unsafe { nt::IoCancelIrp(irp) };
    }
    // SAFETY: as above. The event stays set, so this returns at once if the wait before has ended.
    unsafe { wait::for_object(context, irql) };
    // SAFETY: the completion routine has stopped the completion, so this thread owns the IRP again.
    let status = unsafe { nt::irp::status(irp) };
    // SAFETY: as above.
    let information = unsafe { nt::irp::information(irp) };
    // SAFETY: as above, and the IRP is not used any more.
    unsafe { nt::IoFreeIrp(irp) };
    // The lower driver may have returned any number.
    let written = information.min(output.len());
    let result = Error::check(status);
    if !result.is_err_and(|error| NtStatus::from(error).is_error()) {
        buffer.copy_to(&mut output[..written]);
    }
    match result {
        Ok(()) => Ok(written),
        Err(Error::CANCELLED) if !in_time => Err(Error::IO_TIMEOUT),
        Err(error) => Err(error),
    }
}

/// A system buffer in the nonpaged pool, for both input and output.
struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
}

impl Buffer {
    /// Allocates a buffer that starts with the input and has room for the output.
    fn new(input: &[u8], output: usize) -> Result<Self, Error> {
        let size = input.len().max(output).max(1);
        let layout = Layout::from_size_align(size, nt::MEMORY_ALLOCATION_ALIGNMENT)
            .map_err(|_| Error::INSUFFICIENT_RESOURCES)?;
        // SAFETY: the size is not zero.
        let start =
            NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Error::INSUFFICIENT_RESOURCES)?;
        // SAFETY: the buffer is new, and at least as long as the input.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(input).cast(), input.len()) };
        Ok(Self { start, layout })
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
