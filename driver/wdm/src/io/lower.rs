//! Requests that a driver makes and sends to the lower device.

use core::time::Duration;

use crate::{
    DeviceObject, Error, PassiveLevel,
    io::{
        extension::Extension,
        own_irp::{Operation, exchange},
    },
};

/// An I/O control code that a driver sends to the lower device.
///
/// Drivers trust each other: many codes pass addresses of buffers or even of routines, and the receiver does not check the addresses of a
/// sender in kernel mode. So each code is declared once, by an unsafe function whose contract is that the code passes no addresses.
///
/// WDK: [Defining I/O Control
/// Codes](https://learn.microsoft.com/windows-hardware/drivers/kernel/defining-i-o-control-codes).
///
/// # Examples
///
/// ```
/// use wdm::ControlCode;
/// use wdm::ctl_code::{Access, Method, UNKNOWN_DEVICE, ctl_code};
///
/// // SAFETY: the lower device returns its version, and takes no input.
/// const GET_VERSION: ControlCode =
///     unsafe { ControlCode::new(ctl_code(UNKNOWN_DEVICE, 0x800, Method::Buffered, Access::Read)) };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlCode(u32);

impl ControlCode {
    /// Declares a code, such as one that `ctl_code` makes.
    ///
    /// # Safety
    /// The lower driver serves this code with any bytes as its input and output, of any length, from a sender in kernel mode: it
    /// accesses no memory by an address or handle in them, and no other memory of the request than its buffers.
    #[must_use]
    pub const unsafe fn new(code: u32) -> Self {
        Self(code)
    }

    /// The operation of a device control with this code.
    pub(super) const fn operation(self, major: usize) -> Operation {
        Operation::Control(major, self.0)
    }
}

/// The lower device, to which a driver sends its own requests (`IoAllocateIrp`, `IoBuildDeviceIoControlRequest`).
///
/// A request is sent immediately, and the thread waits until it is completed. It holds the remove lock of the driver's own device,
/// so the lower device stays. The lower driver gets copies of the buffers, in the nonpaged pool: in the system buffer, by an MDL, or by
/// their addresses, as its device or the I/O control code demands.
///
/// To send a request without waiting for it, make a [`LowerIrp`](crate::LowerIrp).
///
/// Without a timeout, the thread waits until the lower driver completes the request, at the latest when the device is removed. A
/// [`Thread`](crate::Thread) that has to stop earlier passes a timeout, and checks between its requests whether it is stopping.
///
/// The requests have no file, so the lower device must be one that serves such requests, as the drivers of a device stack do for
/// each other. A [`Device`](crate::Device) of this crate fails them, except for internal device controls.
///
/// WDK: [Creating IRPs for Lower-Level Drivers](https://learn.microsoft.com/windows-hardware/drivers/kernel/creating-irps-for-lower-level-drivers).
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use wdm::{ControlCode, Error, Lower, PassiveLevel};
///
/// // SAFETY: the lower device returns its version, and takes no input.
/// const GET_VERSION: ControlCode = unsafe { ControlCode::new(0x22_2000) };
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
/// keeps no hold of its remove lock; passes a buffer in paged memory or on its stack to a driver that uses it at `DISPATCH_LEVEL`; or
/// waits with normal or special kernel APCs disabled for an IRP that only an APC completes.
#[doc(alias = "IoAllocateIrp")]
#[doc(alias = "IoBuildSynchronousFsdRequest")]
#[doc(alias = "IoBuildAsynchronousFsdRequest")]
#[doc(alias = "IoAllocateMdl")]
#[doc(alias = "IoFreeMdl")]
#[doc(alias = "MmBuildMdlForNonPagedPool")]
#[doc(alias = "IoFreeIrp")]
#[doc(alias = "IoBuildDeviceIoControlRequest")]
#[doc(alias = "IoGetNextIrpStackLocation")]
#[doc(alias = "IoCallDriver")]
pub struct Lower(DeviceObject);

impl Lower {
    /// Returns the lower device of one of the driver's devices.
    ///
    /// # IRQL
    /// At most `DISPATCH_LEVEL`.
    #[must_use]
    pub fn new(device: &DeviceObject) -> Self {
        Self(device.clone())
    }

    /// Sends an `IRP_MJ_READ`, waits until it is completed, and returns the number of bytes that were read. `offset` is a byte
    /// offset, for a device that has offsets.
    ///
    /// If it takes longer than `timeout`, it is cancelled (`IoCancelIrp`); the call still waits until it is completed.
    ///
    /// WDK: [IRP_MJ_READ](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mj-read),
    /// [IoBuildSynchronousFsdRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iobuildsynchronousfsdrequest).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// The error or warning with which the request is completed; with a warning, there can be output. `STATUS_IO_TIMEOUT` if it was
    /// cancelled after the timeout. `STATUS_DELETE_PENDING` if the driver's device is being removed, and
    /// `STATUS_INVALID_DEVICE_REQUEST` before it is attached. `STATUS_INSUFFICIENT_RESOURCES` if there is no memory.
    #[doc(alias = "IRP_MJ_READ")]
    pub fn read(
        &self,
        offset: i64,
        output: &mut [u8],
        timeout: Option<Duration>,
        irql: &mut PassiveLevel,
    ) -> Result<usize, Error> {
        self.send(Operation::Read(offset), &[], output, timeout, irql)
    }

    /// Sends an `IRP_MJ_WRITE`, waits until it is completed, and returns the number of bytes that were written.
    ///
    /// WDK: [IRP_MJ_WRITE](https://learn.microsoft.com/windows-hardware/drivers/kernel/irp-mj-write).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// As for [`Lower::read`].
    #[doc(alias = "IRP_MJ_WRITE")]
    pub fn write(
        &self,
        offset: i64,
        input: &[u8],
        timeout: Option<Duration>,
        irql: &mut PassiveLevel,
    ) -> Result<usize, Error> {
        self.send(Operation::Write(offset), input, &mut [], timeout, irql)
    }

    /// Sends an `IRP_MJ_DEVICE_CONTROL`, waits until it is completed, and returns the number of bytes of its output.
    ///
    /// With `METHOD_IN_DIRECT` the lower driver reads what `output` contains.
    ///
    /// WDK: [IoBuildDeviceIoControlRequest](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-iobuilddeviceiocontrolrequest),
    /// [Buffer Descriptions for I/O Control Codes](https://learn.microsoft.com/windows-hardware/drivers/kernel/buffer-descriptions-for-i-o-control-codes).
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// As for [`Lower::read`].
    pub fn device_control(
        &self,
        code: ControlCode,
        input: &[u8],
        output: &mut [u8],
        timeout: Option<Duration>,
        irql: &mut PassiveLevel,
    ) -> Result<usize, Error> {
        let operation = code.operation(nt::IRP_MJ_DEVICE_CONTROL);
        self.send(operation, input, output, timeout, irql)
    }

    /// Like [`Lower::device_control`], with an `IRP_MJ_INTERNAL_DEVICE_CONTROL`.
    ///
    /// The buffers are passed as the method in the code says. A request that passes a structure by `Parameters.Others.Argument1`,
    /// such as a USB request block, cannot be sent: no [`ControlCode`] may be made for it.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    ///
    /// # Errors
    /// As for [`Lower::read`].
    #[doc(alias = "IRP_MJ_INTERNAL_DEVICE_CONTROL")]
    pub fn internal_device_control(
        &self,
        code: ControlCode,
        input: &[u8],
        output: &mut [u8],
        timeout: Option<Duration>,
        irql: &mut PassiveLevel,
    ) -> Result<usize, Error> {
        let operation = code.operation(nt::IRP_MJ_INTERNAL_DEVICE_CONTROL);
        self.send(operation, input, output, timeout, irql)
    }

    fn send(
        &self,
        operation: Operation,
        input: &[u8],
        output: &mut [u8],
        timeout: Option<Duration>,
        irql: &mut PassiveLevel,
    ) -> Result<usize, Error> {
        if !self.0.is_attached() {
            return Err(Error::INVALID_DEVICE_REQUEST);
        }
        let device = self.0.as_ptr();
        // SAFETY: the reference keeps the device object, whose extension was initialised before it was attached.
        let extension = unsafe { Extension::of(device) };
        if !extension.holds.acquire(device.cast()) {
            return Err(Error::DELETE_PENDING);
        }
        let result = extension.lower_for_request().and_then(|lower| {
            // SAFETY: the hold keeps the device attached to the lower one.
            unsafe { exchange(lower, operation, input, output, timeout, irql) }
        });
        // SAFETY: the hold was acquired above.
        unsafe { Extension::release(device, device.cast()) };
        result
    }
}
