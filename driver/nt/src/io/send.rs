//! IRPs that a driver makes, and sends to another driver.

use core::{
    ffi::c_void,
    ptr::{addr_of_mut, null_mut},
};

use crate::{
    DEVICE_OBJECT, FILE_OBJECT, IO_STACK_LOCATION, IO_STATUS_BLOCK, IRP, KEVENT, MDL, NTSTATUS,
    PIO_COMPLETION_ROUTINE, UNICODE_STRING,
    irp::{DeviceIoControl, IoControl, ReadWrite, Transfer, current_stack_location},
};

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn IoAllocateIrp(StackSize: i8, ChargeQuota: u8) -> *mut IRP;
    pub fn IoFreeIrp(Irp: *mut IRP);
    pub fn IoInitializeIrp(Irp: *mut IRP, PacketSize: u16, StackSize: i8);
    pub fn IoReuseIrp(Irp: *mut IRP, Iostatus: NTSTATUS);
    /// `InputBuffer`, `OutputBuffer` and `Event` may be NULL.
    pub fn IoBuildDeviceIoControlRequest(
        IoControlCode: u32,
        DeviceObject: *mut DEVICE_OBJECT,
        InputBuffer: *mut c_void,
        InputBufferLength: u32,
        OutputBuffer: *mut c_void,
        OutputBufferLength: u32,
        InternalDeviceIoControl: u8,
        Event: *mut KEVENT,
        IoStatusBlock: *mut IO_STATUS_BLOCK,
    ) -> *mut IRP;
    /// `Buffer` and `StartingOffset` may be NULL.
    pub fn IoBuildSynchronousFsdRequest(
        MajorFunction: u32,
        DeviceObject: *mut DEVICE_OBJECT,
        Buffer: *mut c_void,
        Length: u32,
        StartingOffset: *mut i64,
        Event: *mut KEVENT,
        IoStatusBlock: *mut IO_STATUS_BLOCK,
    ) -> *mut IRP;
    /// `Buffer`, `StartingOffset` and `IoStatusBlock` may be NULL.
    pub fn IoBuildAsynchronousFsdRequest(
        MajorFunction: u32,
        DeviceObject: *mut DEVICE_OBJECT,
        Buffer: *mut c_void,
        Length: u32,
        StartingOffset: *mut i64,
        IoStatusBlock: *mut IO_STATUS_BLOCK,
    ) -> *mut IRP;
    /// The I/O manager references the device object until the routine has returned.
    pub fn IoSetCompletionRoutineEx(
        DeviceObject: *mut DEVICE_OBJECT,
        Irp: *mut IRP,
        CompletionRoutine: PIO_COMPLETION_ROUTINE,
        Context: *mut c_void,
        InvokeOnSuccess: u8,
        InvokeOnError: u8,
        InvokeOnCancel: u8,
    ) -> NTSTATUS;
    /// Returns FALSE if the IRP has no stack location for the lower driver, and was not sent.
    pub fn IoForwardIrpSynchronously(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> u8;
    pub fn IoMakeAssociatedIrp(Irp: *mut IRP, StackSize: i8) -> *mut IRP;
    pub fn IoGetDeviceObjectPointer(
        ObjectName: *mut UNICODE_STRING,
        DesiredAccess: u32,
        FileObject: *mut *mut FILE_OBJECT,
        DeviceObject: *mut *mut DEVICE_OBJECT,
    ) -> NTSTATUS;
}

/// `IoSizeOfIrp`: returns the number of bytes of an IRP with this number of stack locations.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    reason = "both sizes are small, and an IRP has at most 127 stack locations"
)]
pub const fn IoSizeOfIrp(stack_size: i8) -> u16 {
    (size_of::<IRP>() + stack_size.unsigned_abs() as usize * size_of::<IO_STACK_LOCATION>()) as u16
}

/// `IoGetNextIrpStackLocation`: returns the stack location of the next lower driver.
///
/// # Safety
/// The caller owns `irp`, which has a stack location for a lower driver.
#[must_use]
pub unsafe fn IoGetNextIrpStackLocation(irp: *mut IRP) -> *mut IO_STACK_LOCATION {
    // SAFETY: guaranteed by the caller.
    unsafe { current_stack_location(irp) }.wrapping_sub(1)
}

/// Sets `AssociatedIrp.IrpCount` of a master IRP: the number of IRPs that `IoMakeAssociatedIrp` made and that have not ended.
///
/// # Safety
/// The caller owns `master`, which has no system buffer, and has sent none of the associated IRPs.
pub unsafe fn set_irp_count(master: *mut IRP, count: i32) {
    // SAFETY: only the address is computed. The count is at the start of the union.
    let field = unsafe { addr_of_mut!((*master).AssociatedIrp) }.cast::<i32>();
    // SAFETY: guaranteed by the caller.
    unsafe { field.write(count) };
}

/// Returns `AssociatedIrp.MasterIrp` of an IRP that `IoMakeAssociatedIrp` made.
///
/// # Safety
/// The caller owns `irp`, which is an associated IRP.
#[must_use]
pub unsafe fn master_irp(irp: *mut IRP) -> *mut IRP {
    // SAFETY: guaranteed by the caller.
    let associated = unsafe { &(*irp).AssociatedIrp };
    // SAFETY: this member of the union is in use in an associated IRP.
    unsafe { associated.MasterIrp }.cast()
}

/// Sets `AssociatedIrp.SystemBuffer`.
///
/// # Safety
/// The caller owns `irp`, which is not an associated IRP.
pub unsafe fn set_system_buffer(irp: *mut IRP, buffer: *mut c_void) {
    // SAFETY: guaranteed by the caller.
    let associated = unsafe { &mut (*irp).AssociatedIrp };
    associated.SystemBuffer = buffer;
}

/// Fills in a stack location for a device control: `MajorFunction`, and `Parameters.DeviceIoControl` with a
/// `Type3InputBuffer` of NULL.
///
/// # Safety
/// The stack location is that of the next lower driver in an IRP that the caller owns.
pub unsafe fn set_io_control(stack: *mut IO_STACK_LOCATION, major: usize, parameters: IoControl) {
    // Every major function fits.
    let [major, ..] = major.to_le_bytes();
    // SAFETY: guaranteed by the caller.
    unsafe { (*stack).MajorFunction = major };
    // SAFETY: only the address is computed.
    let field = unsafe { addr_of_mut!((*stack).Parameters) }.cast::<DeviceIoControl>();
    let value = DeviceIoControl {
        OutputBufferLength: parameters.output_length,
        Reserved0: 0,
        InputBufferLength: parameters.input_length,
        Reserved1: 0,
        IoControlCode: parameters.code,
        Reserved2: 0,
        Type3InputBuffer: null_mut(),
    };
    // SAFETY: guaranteed by the caller; `layout` asserts that the view fits.
    unsafe { field.write(value) };
}

/// Sets `Parameters.DeviceIoControl.Type3InputBuffer`: the input of a device control with `METHOD_NEITHER`.
///
/// # Safety
/// As for [`set_io_control`], which was called before.
pub unsafe fn set_type3_input(stack: *mut IO_STACK_LOCATION, input: *mut c_void) {
    // SAFETY: only the address is computed.
    let field = unsafe { addr_of_mut!((*stack).Parameters) }.cast::<DeviceIoControl>();
    // SAFETY: guaranteed by the caller; `layout` asserts that the view fits.
    unsafe { (*field).Type3InputBuffer = input };
}

/// Fills in a stack location for a read or a write: `MajorFunction`, and `Parameters.Read` or `Parameters.Write` with a `Key` of
/// zero.
///
/// # Safety
/// As for [`set_io_control`].
pub unsafe fn set_transfer(stack: *mut IO_STACK_LOCATION, major: usize, parameters: Transfer) {
    // Every major function fits.
    let [major, ..] = major.to_le_bytes();
    // SAFETY: guaranteed by the caller.
    unsafe { (*stack).MajorFunction = major };
    // SAFETY: only the address is computed.
    let field = unsafe { addr_of_mut!((*stack).Parameters) }.cast::<ReadWrite>();
    let value = ReadWrite {
        Length: parameters.length,
        Reserved0: 0,
        Key: 0,
        Reserved1: 0,
        ByteOffset: parameters.offset,
    };
    // SAFETY: guaranteed by the caller; `layout` asserts that the view fits.
    unsafe { field.write(value) };
}

/// Sets `Irp->MdlAddress`: the buffer of a request with direct I/O.
///
/// # Safety
/// The caller owns `irp`.
pub unsafe fn set_mdl(irp: *mut IRP, mdl: *mut MDL) {
    // SAFETY: guaranteed by the caller.
    unsafe { (*irp).MdlAddress = mdl.cast() };
}

/// Sets `Irp->UserBuffer`: the buffer of a request with neither buffered nor direct I/O.
///
/// # Safety
/// The caller owns `irp`.
pub unsafe fn set_user_buffer(irp: *mut IRP, buffer: *mut c_void) {
    // SAFETY: guaranteed by the caller.
    unsafe { (*irp).UserBuffer = buffer };
}

/// Returns `Irp->UserBuffer`: the buffer of a request with neither buffered nor direct I/O, and where the I/O manager copies the output of
/// one with buffered I/O.
///
/// # Safety
/// The caller owns `irp`.
#[must_use]
pub unsafe fn user_buffer(irp: *mut IRP) -> *mut c_void {
    // SAFETY: guaranteed by the caller.
    unsafe { (*irp).UserBuffer }
}
