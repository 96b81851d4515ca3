//! The I/O manager (`Io`): IRPs, cancel-safe queues, StartIo, work items and symbolic links; and the power manager (`Po`), which also
//! sends IRPs.

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

mod csq;
mod interrupt;
pub mod irp;
mod named_file;
mod notification;
mod power_setting;
mod registry;
mod resources;
mod send;
mod start_io;

pub use csq::*;
pub use interrupt::*;
pub use named_file::*;
pub use notification::*;
pub use power_setting::*;
pub use registry::*;
pub use resources::*;
pub use send::*;
pub use start_io::*;

use core::ffi::c_void;

use crate::{
    DEVICE_OBJECT, DRIVER_OBJECT, FILE_OBJECT, GUID, IO_STATUS_BLOCK, IRP, NTSTATUS, UNICODE_STRING,
};

/// The numbers of devices that legacy drivers have found. Each of these drivers increments its number.
#[repr(C)]
pub struct CONFIGURATION_INFORMATION {
    pub DiskCount: u32,
    pub FloppyCount: u32,
    pub CdRomCount: u32,
    pub TapeCount: u32,
    pub ScsiPortCount: u32,
    pub SerialCount: u32,
    pub ParallelCount: u32,
    pub AtDiskPrimaryAddressClaimed: u8,
    pub AtDiskSecondaryAddressClaimed: u8,
    pub Version: u32,
    pub MediumChangerCount: u32,
}

/// A work item, allocated by `IoAllocateWorkItem`. Its contents are opaque, and its size is not documented.
#[repr(C)]
pub struct IO_WORKITEM {
    pub Reserved: [u64; 0],
}

pub type PIO_WORKITEM_ROUTINE =
    Option<unsafe extern "C" fn(DeviceObject: *mut DEVICE_OBJECT, Context: *mut c_void)>;

/// `IoObject` is the device object of the item.
pub type PIO_WORKITEM_ROUTINE_EX = Option<
    unsafe extern "C" fn(IoObject: *mut c_void, Context: *mut c_void, IoWorkItem: *mut IO_WORKITEM),
>;

pub type PIO_TIMER_ROUTINE =
    Option<unsafe extern "C" fn(DeviceObject: *mut DEVICE_OBJECT, Context: *mut c_void)>;

/// `Count` is the number of calls, this one included.
pub type PDRIVER_REINITIALIZE = Option<
    unsafe extern "C" fn(DriverObject: *mut DRIVER_OBJECT, Context: *mut c_void, Count: u32),
>;

/// The routine of a driver that is called when a power request that the driver has requested is completed.
pub type PREQUEST_POWER_COMPLETE = Option<
    unsafe extern "C" fn(
        DeviceObject: *mut DEVICE_OBJECT,
        MinorFunction: u8,
        PowerState: i32,
        Context: *mut c_void,
        IoStatus: *mut IO_STATUS_BLOCK,
    ),
>;

/// The only `WORK_QUEUE_TYPE` that a driver may pass to `IoQueueWorkItem`.
pub const DelayedWorkQueue: i32 = 1;

/// The `POWER_STATE_TYPE` of a device's power state.
pub const DevicePowerState: i32 = 1;

#[cfg_attr(feature = "wdk", link(name = "ntoskrnl"))]
unsafe extern "C" {
    pub fn IoCreateUnprotectedSymbolicLink(
        SymbolicLinkName: *mut UNICODE_STRING,
        DeviceName: *mut UNICODE_STRING,
    ) -> NTSTATUS;
    /// Returns a `PCONFIGURATION_INFORMATION`.
    pub fn IoGetConfigurationInformation() -> *mut CONFIGURATION_INFORMATION;
    pub fn IoRegisterLastChanceShutdownNotification(DeviceObject: *mut DEVICE_OBJECT) -> NTSTATUS;
    pub fn IoRegisterShutdownNotification(DeviceObject: *mut DEVICE_OBJECT) -> NTSTATUS;
    pub fn IoUnregisterShutdownNotification(DeviceObject: *mut DEVICE_OBJECT);
    pub fn IoAttachDeviceToDeviceStackSafe(
        SourceDevice: *mut DEVICE_OBJECT,
        TargetDevice: *mut DEVICE_OBJECT,
        AttachedToDeviceObject: *mut *mut DEVICE_OBJECT,
    ) -> NTSTATUS;
    /// The I/O manager frees the memory with the driver object.
    pub fn IoAllocateDriverObjectExtension(
        DriverObject: *mut DRIVER_OBJECT,
        ClientIdentificationAddress: *mut c_void,
        DriverObjectExtensionSize: u32,
        DriverObjectExtension: *mut *mut c_void,
    ) -> NTSTATUS;
    pub fn IoGetDriverObjectExtension(
        DriverObject: *mut DRIVER_OBJECT,
        ClientIdentificationAddress: *mut c_void,
    ) -> *mut c_void;
    pub fn IoAllocateWorkItem(DeviceObject: *mut DEVICE_OBJECT) -> *mut IO_WORKITEM;
    /// `IoObject` is a device object or a driver object.
    pub fn IoAllocateErrorLogEntry(IoObject: *mut c_void, EntrySize: u8) -> *mut c_void;
    pub fn IoFreeErrorLogEntry(ElEntry: *mut c_void);
    pub fn IoWriteErrorLogEntry(ElEntry: *mut c_void);
    /// `DeviceObject` is the physical device object, and `Type` a `DEVICE_RELATION_TYPE`.
    pub fn IoInvalidateDeviceRelations(DeviceObject: *mut DEVICE_OBJECT, Type: i32);
    pub fn IoInvalidateDeviceState(PhysicalDeviceObject: *mut DEVICE_OBJECT);
    /// `WnodeEventItem` is a `WNODE_EVENT_ITEM` in the nonpaged pool, which the system frees if it returns `STATUS_SUCCESS`.
    pub fn IoWMIWriteEvent(WnodeEventItem: *mut c_void) -> NTSTATUS;
    pub fn IoWMIRegistrationControl(DeviceObject: *mut DEVICE_OBJECT, Action: u32) -> NTSTATUS;
    pub fn IoCancelIrp(Irp: *mut IRP) -> u8;
    pub fn IoFreeWorkItem(IoWorkItem: *mut IO_WORKITEM);
    pub fn IoQueueWorkItem(
        IoWorkItem: *mut IO_WORKITEM,
        WorkerRoutine: PIO_WORKITEM_ROUTINE,
        QueueType: i32,
        Context: *mut c_void,
    );
    pub fn IoQueueWorkItemEx(
        IoWorkItem: *mut IO_WORKITEM,
        WorkerRoutine: PIO_WORKITEM_ROUTINE_EX,
        QueueType: i32,
        Context: *mut c_void,
    );
    /// Returns the number of bytes of a work item, for which the driver allocates nonpaged memory.
    pub fn IoSizeofWorkItem() -> u32;
    pub fn IoInitializeWorkItem(IoObject: *mut c_void, IoWorkItem: *mut IO_WORKITEM);
    pub fn IoUninitializeWorkItem(IoWorkItem: *mut IO_WORKITEM);
    pub fn IoCreateSymbolicLink(
        SymbolicLinkName: *mut UNICODE_STRING,
        DeviceName: *mut UNICODE_STRING,
    ) -> NTSTATUS;
    pub fn IoDeleteSymbolicLink(SymbolicLinkName: *mut UNICODE_STRING) -> NTSTATUS;
    pub fn IoInitializeTimer(
        DeviceObject: *mut DEVICE_OBJECT,
        TimerRoutine: PIO_TIMER_ROUTINE,
        Context: *mut c_void,
    ) -> NTSTATUS;
    pub fn IoStartTimer(DeviceObject: *mut DEVICE_OBJECT);
    pub fn IoStopTimer(DeviceObject: *mut DEVICE_OBJECT);
    /// `AttachedDevice` is in memory that is not freed before the device object, such as a device extension.
    pub fn IoAttachDevice(
        SourceDevice: *mut DEVICE_OBJECT,
        TargetDevice: *mut UNICODE_STRING,
        AttachedDevice: *mut *mut DEVICE_OBJECT,
    ) -> NTSTATUS;
    pub fn IoGetAttachedDevice(DeviceObject: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT;
    pub fn IoGetRelatedDeviceObject(FileObject: *mut FILE_OBJECT) -> *mut DEVICE_OBJECT;
    /// `Irp` may be NULL.
    pub fn IoIs32bitProcess(Irp: *mut IRP) -> u8;
    /// Returns a `PEPROCESS`.
    pub fn IoGetRequestorProcess(Irp: *mut IRP) -> *mut c_void;
    pub fn IoGetRequestorProcessId(Irp: *mut IRP) -> u32;
    pub fn IoGetAttachedDeviceReference(DeviceObject: *mut DEVICE_OBJECT) -> *mut DEVICE_OBJECT;
    /// The caller frees the list with `ExFreePool`. `PhysicalDeviceObject` may be NULL.
    pub fn IoGetDeviceInterfaces(
        InterfaceClassGuid: *const GUID,
        PhysicalDeviceObject: *mut DEVICE_OBJECT,
        Flags: u32,
        SymbolicLinkList: *mut *mut u16,
    ) -> NTSTATUS;
    /// `DeviceProperty` is a `DEVICE_REGISTRY_PROPERTY`.
    pub fn IoGetDeviceProperty(
        DeviceObject: *mut DEVICE_OBJECT,
        DeviceProperty: i32,
        BufferLength: u32,
        PropertyBuffer: *mut c_void,
        ResultLength: *mut u32,
    ) -> NTSTATUS;
    pub fn IoRegisterDriverReinitialization(
        DriverObject: *mut DRIVER_OBJECT,
        DriverReinitializationRoutine: PDRIVER_REINITIALIZE,
        Context: *mut c_void,
    );
    pub fn IoRegisterBootDriverReinitialization(
        DriverObject: *mut DRIVER_OBJECT,
        DriverReinitializationRoutine: PDRIVER_REINITIALIZE,
        Context: *mut c_void,
    );
    /// Called by `WdmlibIoValidateDeviceIoControlAccess` of wdmsec.lib.
    pub fn IoValidateDeviceIoControlAccess(Irp: *mut IRP, RequiredAccess: u32) -> NTSTATUS;
    pub fn IoIsWdmVersionAvailable(MajorVersion: u8, MinorVersion: u8) -> u8;
    /// As `IofCallDriver` since Windows Vista.
    pub fn PoCallDriver(DeviceObject: *mut DEVICE_OBJECT, Irp: *mut IRP) -> NTSTATUS;
    /// Does nothing since Windows Vista.
    pub fn PoStartNextPowerIrp(Irp: *mut IRP);
    /// `POWER_STATE` is a union of two enumerations, which is passed as an `i32` is.
    pub fn PoSetPowerState(DeviceObject: *mut DEVICE_OBJECT, Type: i32, State: i32) -> i32;
    /// `PowerState` is a union, as in `PoSetPowerState`. `Irp` is NULL unless the minor function is `IRP_MN_WAIT_WAKE`.
    pub fn PoRequestPowerIrp(
        DeviceObject: *mut DEVICE_OBJECT,
        MinorFunction: u8,
        PowerState: i32,
        CompletionFunction: PREQUEST_POWER_COMPLETE,
        Context: *mut c_void,
        Irp: *mut *mut IRP,
    ) -> NTSTATUS;
}
