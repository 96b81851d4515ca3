//! Interrupts.

use core::{ffi::c_void, mem::offset_of};

use crate::{DEVICE_OBJECT, KSPIN_LOCK, NTSTATUS};

/// An interrupt object is opaque: a `PKINTERRUPT` is a pointer to nothing that a driver may access. The result is TRUE if the
/// interrupt is that of the driver's device.
pub type PKSERVICE_ROUTINE =
    Option<unsafe extern "C" fn(Interrupt: *mut c_void, ServiceContext: *mut c_void) -> u8>;

pub type PKMESSAGE_SERVICE_ROUTINE = Option<
    unsafe extern "C" fn(Interrupt: *mut c_void, ServiceContext: *mut c_void, MessageId: u32) -> u8,
>;

pub type PKSYNCHRONIZE_ROUTINE =
    Option<unsafe extern "C" fn(SynchronizeContext: *mut c_void) -> u8>;

/// The values of `KINTERRUPT_MODE`.
pub const LevelSensitive: i32 = 0;
pub const Latched: i32 = 1;

pub const CONNECT_FULLY_SPECIFIED: u32 = 1;
pub const CONNECT_LINE_BASED: u32 = 2;
pub const CONNECT_MESSAGE_BASED: u32 = 3;
pub const CONNECT_FULLY_SPECIFIED_GROUP: u32 = 4;

/// `IO_CONNECT_INTERRUPT_PARAMETERS` with the members of `FullySpecified`, the first of which are also those of `LineBased`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IO_CONNECT_INTERRUPT_PARAMETERS {
    pub Version: u32,
    pub PhysicalDeviceObject: *mut DEVICE_OBJECT,
    /// Where the interrupt object is stored.
    pub InterruptObject: *mut *mut c_void,
    pub ServiceRoutine: PKSERVICE_ROUTINE,
    pub ServiceContext: *mut c_void,
    pub SpinLock: *mut KSPIN_LOCK,
    pub SynchronizeIrql: u8,
    pub FloatingSave: u8,
    pub ShareVector: u8,
    pub Vector: u32,
    pub Irql: u8,
    pub InterruptMode: i32,
    pub ProcessorEnableMask: usize,
    pub Group: u16,
}

/// `IO_CONNECT_INTERRUPT_PARAMETERS` with the members of `MessageBased`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IO_CONNECT_INTERRUPT_MESSAGE_BASED_PARAMETERS {
    pub Version: u32,
    pub PhysicalDeviceObject: *mut DEVICE_OBJECT,
    /// Where the table of the messages is stored, or the interrupt object if the device has no messages.
    pub ConnectionContext: *mut *mut c_void,
    pub MessageServiceRoutine: PKMESSAGE_SERVICE_ROUTINE,
    pub ServiceContext: *mut c_void,
    pub SpinLock: *mut KSPIN_LOCK,
    pub SynchronizeIrql: u8,
    pub FloatingSave: u8,
    pub FallBackServiceRoutine: PKSERVICE_ROUTINE,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct IO_DISCONNECT_INTERRUPT_PARAMETERS {
    pub Version: u32,
    /// The interrupt object, or the table of the messages.
    pub ConnectionContext: *mut c_void,
}

const _: () = assert!(
    offset_of!(IO_CONNECT_INTERRUPT_PARAMETERS, SynchronizeIrql) == 0x30
        && offset_of!(IO_CONNECT_INTERRUPT_PARAMETERS, Vector) == 0x34
        && offset_of!(IO_CONNECT_INTERRUPT_PARAMETERS, ProcessorEnableMask) == 0x40
        && offset_of!(
            IO_CONNECT_INTERRUPT_MESSAGE_BASED_PARAMETERS,
            FallBackServiceRoutine
        ) == 0x38
);

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    /// `SpinLock` may be NULL.
    pub fn IoConnectInterrupt(
        InterruptObject: *mut *mut c_void,
        ServiceRoutine: PKSERVICE_ROUTINE,
        ServiceContext: *mut c_void,
        SpinLock: *mut KSPIN_LOCK,
        Vector: u32,
        Irql: u8,
        SynchronizeIrql: u8,
        InterruptMode: i32,
        ShareVector: u8,
        ProcessorEnableMask: usize,
        FloatingSave: u8,
    ) -> NTSTATUS;
    /// `Parameters` is an `IO_CONNECT_INTERRUPT_PARAMETERS` of any version.
    pub fn IoConnectInterruptEx(Parameters: *mut IO_CONNECT_INTERRUPT_PARAMETERS) -> NTSTATUS;
    pub fn IoDisconnectInterrupt(InterruptObject: *mut c_void);
    pub fn IoDisconnectInterruptEx(Parameters: *mut IO_DISCONNECT_INTERRUPT_PARAMETERS);
    pub fn KeSynchronizeExecution(
        Interrupt: *mut c_void,
        SynchronizeRoutine: PKSYNCHRONIZE_ROUTINE,
        SynchronizeContext: *mut c_void,
    ) -> u8;
    pub fn KeAcquireInterruptSpinLock(Interrupt: *mut c_void) -> u8;
    pub fn KeReleaseInterruptSpinLock(Interrupt: *mut c_void, OldIrql: u8);
}
