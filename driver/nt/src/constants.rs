//! Values from `ntstatus.h`, `wdm.h` and `dpfilter.h`, typed as they are used.

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

pub const STATUS_SUCCESS: i32 = 0;
pub const STATUS_PENDING: i32 = 0x103;
pub const STATUS_BUFFER_TOO_SMALL: i32 = status(0xC000_0023);
pub const STATUS_CANCELLED: i32 = status(0xC000_0120);
pub const STATUS_DEVICE_NOT_READY: i32 = status(0xC000_00A3);
pub const STATUS_DELETE_PENDING: i32 = status(0xC000_0056);
pub const STATUS_INFO_LENGTH_MISMATCH: i32 = status(0xC000_0004);
pub const STATUS_INSUFFICIENT_RESOURCES: i32 = status(0xC000_009A);
pub const STATUS_INTERNAL_ERROR: i32 = status(0xC000_00E5);
pub const STATUS_INVALID_DEVICE_REQUEST: i32 = status(0xC000_0010);
pub const STATUS_INVALID_PARAMETER: i32 = status(0xC000_000D);
pub const STATUS_MORE_PROCESSING_REQUIRED: i32 = status(0xC000_0016);
pub const STATUS_NAME_TOO_LONG: i32 = status(0xC000_0106);
pub const STATUS_NO_SUCH_DEVICE: i32 = status(0xC000_000E);
pub const STATUS_NOT_FOUND: i32 = status(0xC000_0225);
pub const STATUS_OBJECT_TYPE_MISMATCH: i32 = status(0xC000_0024);

/// An error status as the documents write it, as the signed number that NTSTATUS is.
const fn status(code: u32) -> i32 {
    code.cast_signed()
}

pub const IRP_MJ_CREATE: usize = 0x00;
pub const IRP_MJ_CLOSE: usize = 0x02;
pub const IRP_MJ_DEVICE_CONTROL: usize = 0x0e;
pub const IRP_MJ_CLEANUP: usize = 0x12;
pub const IRP_MJ_POWER: usize = 0x16;
pub const IRP_MJ_SYSTEM_CONTROL: usize = 0x17;
pub const IRP_MJ_PNP: usize = 0x1b;

pub const IRP_MN_START_DEVICE: u8 = 0x00;
pub const IRP_MN_QUERY_REMOVE_DEVICE: u8 = 0x01;
pub const IRP_MN_REMOVE_DEVICE: u8 = 0x02;
pub const IRP_MN_CANCEL_REMOVE_DEVICE: u8 = 0x03;
pub const IRP_MN_STOP_DEVICE: u8 = 0x04;
pub const IRP_MN_QUERY_STOP_DEVICE: u8 = 0x05;
pub const IRP_MN_CANCEL_STOP_DEVICE: u8 = 0x06;
pub const IRP_MN_SURPRISE_REMOVAL: u8 = 0x17;

pub const SL_PENDING_RETURNED: u8 = 0x01;
pub const SL_INVOKE_ON_CANCEL: u8 = 0x20;
pub const SL_INVOKE_ON_SUCCESS: u8 = 0x40;
pub const SL_INVOKE_ON_ERROR: u8 = 0x80;

pub const IO_NO_INCREMENT: i8 = 0;

pub const FILE_DEVICE_UNKNOWN: u32 = 0x22;
pub const FILE_DEVICE_SECURE_OPEN: u32 = 0x100;
pub const METHOD_BUFFERED: u32 = 0;

pub const DO_DEVICE_INITIALIZING: u32 = 0x80;
pub const DO_POWER_PAGABLE: u32 = 0x2000;

pub const KERNEL_MODE: i8 = 0;

pub const OBJ_CASE_INSENSITIVE: u32 = 0x40;
pub const OBJ_KERNEL_HANDLE: u32 = 0x200;
pub const KEY_READ: u32 = 0x2_0019;
pub const REG_DWORD: u32 = 4;

pub const DPFLTR_IHVDRIVER_ID: u32 = 77;

/// The bug check for a kernel structure that does not hold together, such as a list.
pub const KERNEL_SECURITY_CHECK_FAILURE: u32 = 0x139;
/// The first parameter of [`KERNEL_SECURITY_CHECK_FAILURE`] for a `LIST_ENTRY`.
pub const FAST_FAIL_CORRUPT_LIST_ENTRY: u64 = 3;

/// What the pool aligns every allocation to on 64-bit Windows.
pub const MEMORY_ALLOCATION_ALIGNMENT: usize = 16;

/// What `DISPATCH_LEVEL` is as a number.
pub const DISPATCH_LEVEL: u8 = 2;

/// Every processor group, for `KeQueryMaximumProcessorCountEx`.
pub const ALL_PROCESSOR_GROUPS: u16 = 0xffff;

pub const THREAD_ALL_ACCESS: u32 = 0x1f_ffff;

pub const SPIN_LOCK_ALREADY_OWNED: u32 = 0x0f;
/// The bug check for a driver that is unloaded while the kernel may still call it.
pub const DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS: u32 = 0xce;
/// The bug check for what was done at too high an IRQL.
pub const IRQL_NOT_LESS_OR_EQUAL: u32 = 0x0a;
