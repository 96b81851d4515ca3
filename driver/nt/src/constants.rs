//! Values from `ntstatus.h`, `wdm.h` and `dpfilter.h`, typed as they are used.

#![allow(
    missing_docs,
    reason = "the names are the WDK's own, and documented there"
)]

pub const STATUS_TIMEOUT: i32 = 0x102;
pub const STATUS_PENDING: i32 = 0x103;
pub const STATUS_REPARSE: i32 = 0x104;
pub const STATUS_MORE_PROCESSING_REQUIRED: i32 = status(0xC000_0016);
pub const STATUS_SUCCESS: i32 = 0;
pub const STATUS_BUFFER_OVERFLOW: i32 = status(0x8000_0005);
pub const STATUS_NO_MORE_FILES: i32 = status(0x8000_0006);
pub const STATUS_DEVICE_BUSY: i32 = status(0x8000_0011);
pub const STATUS_NO_MORE_ENTRIES: i32 = status(0x8000_001A);
pub const STATUS_UNSUCCESSFUL: i32 = status(0xC000_0001);
pub const STATUS_NOT_IMPLEMENTED: i32 = status(0xC000_0002);
pub const STATUS_INVALID_INFO_CLASS: i32 = status(0xC000_0003);
pub const STATUS_INFO_LENGTH_MISMATCH: i32 = status(0xC000_0004);
pub const STATUS_INVALID_HANDLE: i32 = status(0xC000_0008);
pub const STATUS_INVALID_PARAMETER: i32 = status(0xC000_000D);
pub const STATUS_NO_SUCH_DEVICE: i32 = status(0xC000_000E);
pub const STATUS_NO_SUCH_FILE: i32 = status(0xC000_000F);
pub const STATUS_INVALID_DEVICE_REQUEST: i32 = status(0xC000_0010);
pub const STATUS_END_OF_FILE: i32 = status(0xC000_0011);
pub const STATUS_WRONG_VOLUME: i32 = status(0xC000_0012);
pub const STATUS_NO_MEDIA_IN_DEVICE: i32 = status(0xC000_0013);
pub const STATUS_NO_MEMORY: i32 = status(0xC000_0017);
pub const STATUS_INVALID_LOCK_SEQUENCE: i32 = status(0xC000_001E);
pub const STATUS_ALREADY_COMMITTED: i32 = status(0xC000_0021);
pub const STATUS_ACCESS_DENIED: i32 = status(0xC000_0022);
pub const STATUS_BUFFER_TOO_SMALL: i32 = status(0xC000_0023);
pub const STATUS_OBJECT_TYPE_MISMATCH: i32 = status(0xC000_0024);
pub const STATUS_REVISION_MISMATCH: i32 = status(0xC000_0059);
pub const STATUS_OBJECT_NAME_INVALID: i32 = status(0xC000_0033);
pub const STATUS_OBJECT_NAME_NOT_FOUND: i32 = status(0xC000_0034);
/// A success: the object existed, and was opened.
pub const STATUS_OBJECT_NAME_EXISTS: i32 = status(0x4000_0000);
pub const STATUS_OBJECT_NAME_COLLISION: i32 = status(0xC000_0035);
pub const STATUS_DATA_OVERRUN: i32 = status(0xC000_003C);
pub const STATUS_DATA_ERROR: i32 = status(0xC000_003E);
pub const STATUS_CRC_ERROR: i32 = status(0xC000_003F);
pub const STATUS_SHARING_VIOLATION: i32 = status(0xC000_0043);
pub const STATUS_QUOTA_EXCEEDED: i32 = status(0xC000_0044);
pub const STATUS_DELETE_PENDING: i32 = status(0xC000_0056);
pub const STATUS_NO_SUCH_PRIVILEGE: i32 = status(0xC000_0060);
pub const STATUS_PRIVILEGE_NOT_HELD: i32 = status(0xC000_0061);
pub const STATUS_INSUFFICIENT_RESOURCES: i32 = status(0xC000_009A);
pub const STATUS_DEVICE_NOT_CONNECTED: i32 = status(0xC000_009D);
pub const STATUS_DEVICE_POWER_FAILURE: i32 = status(0xC000_009E);
pub const STATUS_MEDIA_WRITE_PROTECTED: i32 = status(0xC000_00A2);
pub const STATUS_DEVICE_NOT_READY: i32 = status(0xC000_00A3);
pub const STATUS_PIPE_DISCONNECTED: i32 = status(0xC000_00B0);
pub const STATUS_IO_TIMEOUT: i32 = status(0xC000_00B5);
pub const STATUS_FILE_FORCED_CLOSED: i32 = status(0xC000_00B6);
pub const STATUS_NOT_SUPPORTED: i32 = status(0xC000_00BB);
pub const STATUS_ADAPTER_HARDWARE_ERROR: i32 = status(0xC000_00C2);
pub const STATUS_BAD_DEVICE_TYPE: i32 = status(0xC000_00CB);
pub const STATUS_INTERNAL_ERROR: i32 = status(0xC000_00E5);
pub const STATUS_INVALID_USER_BUFFER: i32 = status(0xC000_00E8);
pub const STATUS_OBJECT_PATH_NOT_FOUND: i32 = status(0xC000_003A);
pub const STATUS_OBJECT_PATH_SYNTAX_BAD: i32 = status(0xC000_003B);
pub const STATUS_INVALID_SECURITY_DESCR: i32 = status(0xC000_0079);
pub const STATUS_NAME_TOO_LONG: i32 = status(0xC000_0106);
pub const STATUS_CANCELLED: i32 = status(0xC000_0120);
pub const STATUS_CANNOT_DELETE: i32 = status(0xC000_0121);
pub const STATUS_FILE_CLOSED: i32 = status(0xC000_0128);
pub const STATUS_PIPE_BROKEN: i32 = status(0xC000_014B);
pub const STATUS_INVALID_DEVICE_STATE: i32 = status(0xC000_0184);
pub const STATUS_IO_DEVICE_ERROR: i32 = status(0xC000_0185);
pub const STATUS_DEVICE_PROTOCOL_ERROR: i32 = status(0xC000_0186);
pub const STATUS_INVALID_BUFFER_SIZE: i32 = status(0xC000_0206);
pub const STATUS_NOT_FOUND: i32 = status(0xC000_0225);
pub const STATUS_RETRY: i32 = status(0xC000_022D);
pub const STATUS_DEVICE_REMOVED: i32 = status(0xC000_02B6);
pub const STATUS_POWER_STATE_INVALID: i32 = status(0xC000_02D3);

/// Converts a status code from the unsigned form of the documentation to a signed NTSTATUS.
const fn status(code: u32) -> i32 {
    code.cast_signed()
}

pub const IRP_MJ_CREATE: usize = 0x00;
pub const IRP_MJ_CREATE_NAMED_PIPE: usize = 0x01;
pub const IRP_MJ_CLOSE: usize = 0x02;
pub const IRP_MJ_READ: usize = 0x03;
pub const IRP_MJ_WRITE: usize = 0x04;
pub const IRP_MJ_QUERY_INFORMATION: usize = 0x05;
pub const IRP_MJ_SET_INFORMATION: usize = 0x06;
pub const IRP_MJ_FLUSH_BUFFERS: usize = 0x09;
pub const IRP_MJ_FILE_SYSTEM_CONTROL: usize = 0x0d;
pub const IRP_MJ_DEVICE_CONTROL: usize = 0x0e;
pub const IRP_MJ_INTERNAL_DEVICE_CONTROL: usize = 0x0f;
pub const IRP_MJ_SHUTDOWN: usize = 0x10;
pub const IRP_MJ_CLEANUP: usize = 0x12;
pub const IRP_MJ_CREATE_MAILSLOT: usize = 0x13;
pub const IRP_MJ_POWER: usize = 0x16;
pub const IRP_MJ_SYSTEM_CONTROL: usize = 0x17;
pub const IRP_MJ_PNP: usize = 0x1b;

/// A flag of `IRP.Flags`: the IRP is part of a master IRP (`IoMakeAssociatedIrp`).
pub const IRP_ASSOCIATED_IRP: u32 = 0x8;
/// The IRP has a system buffer.
pub const IRP_BUFFERED_IO: u32 = 0x10;
/// The system buffer is to be freed when the IRP is.
pub const IRP_DEALLOCATE_BUFFER: u32 = 0x20;
/// The content of the system buffer is to be copied to `UserBuffer`.
pub const IRP_INPUT_OPERATION: u32 = 0x40;

pub const IRP_MN_START_DEVICE: u8 = 0x00;
pub const IRP_MN_QUERY_REMOVE_DEVICE: u8 = 0x01;
pub const IRP_MN_REMOVE_DEVICE: u8 = 0x02;
pub const IRP_MN_CANCEL_REMOVE_DEVICE: u8 = 0x03;
pub const IRP_MN_STOP_DEVICE: u8 = 0x04;
pub const IRP_MN_QUERY_STOP_DEVICE: u8 = 0x05;
pub const IRP_MN_CANCEL_STOP_DEVICE: u8 = 0x06;
pub const IRP_MN_QUERY_INTERFACE: u8 = 0x08;
pub const IRP_MN_QUERY_CAPABILITIES: u8 = 0x09;
/// `SurpriseRemovalOK` in `DEVICE_CAPABILITIES`, the tenth of its bit fields.
pub const SURPRISE_REMOVAL_OK: u32 = 1 << 9;
pub const IRP_MN_DEVICE_USAGE_NOTIFICATION: u8 = 0x16;
pub const IRP_MN_SURPRISE_REMOVAL: u8 = 0x17;

pub const IRP_MN_SET_POWER: u8 = 0x02;
pub const IRP_MN_QUERY_POWER: u8 = 0x03;

pub const SL_PENDING_RETURNED: u8 = 0x01;
pub const SL_INVOKE_ON_CANCEL: u8 = 0x20;
pub const SL_INVOKE_ON_SUCCESS: u8 = 0x40;
pub const SL_INVOKE_ON_ERROR: u8 = 0x80;

pub const IO_NO_INCREMENT: i8 = 0;

pub const FILE_DEVICE_UNKNOWN: u32 = 0x22;
pub const FILE_REMOVABLE_MEDIA: u32 = 0x1;
pub const FILE_DEVICE_SECURE_OPEN: u32 = 0x100;
pub const METHOD_BUFFERED: u32 = 0;
pub const METHOD_IN_DIRECT: u32 = 1;
pub const METHOD_OUT_DIRECT: u32 = 2;
pub const METHOD_NEITHER: u32 = 3;

pub const DO_BUFFERED_IO: u32 = 0x4;
pub const DO_DIRECT_IO: u32 = 0x10;
pub const DO_DEVICE_INITIALIZING: u32 = 0x80;
pub const DO_POWER_PAGABLE: u32 = 0x2000;

pub const KERNEL_MODE: i8 = 0;
pub const USER_MODE: i8 = 1;

pub const EVENT_MODIFY_STATE: u32 = 0x2;
pub const SYNCHRONIZE: u32 = 0x10_0000;
pub const WRITE_DAC: u32 = 0x4_0000;
pub const FILE_ALL_ACCESS: u32 = 0x1f_01ff;
pub const FILE_GENERIC_READ: u32 = 0x12_0089;
pub const FILE_GENERIC_WRITE: u32 = 0x12_0116;
pub const FILE_GENERIC_EXECUTE: u32 = 0x12_00a0;
pub const DACL_SECURITY_INFORMATION: u32 = 0x4;
pub const SE_DACL_PRESENT: u16 = 0x4;
pub const SE_DACL_PROTECTED: u16 = 0x1000;
pub const SE_SELF_RELATIVE: u16 = 0x8000;

pub const OBJ_CASE_INSENSITIVE: u32 = 0x40;
pub const OBJ_PERMANENT: u32 = 0x10;
pub const OBJ_OPENIF: u32 = 0x80;
pub const OBJ_KERNEL_HANDLE: u32 = 0x200;
pub const KEY_READ: u32 = 0x2_0019;
pub const KEY_WRITE: u32 = 0x2_0006;
pub const KEY_ALL_ACCESS: u32 = 0xf_003f;
pub const REG_SZ: u32 = 1;
pub const REG_BINARY: u32 = 3;
pub const REG_MULTI_SZ: u32 = 7;
pub const REG_DWORD: u32 = 4;
pub const PLUGPLAY_REGKEY_DEVICE: u32 = 1;
pub const PLUGPLAY_REGKEY_DRIVER: u32 = 2;
pub const PLUGPLAY_REGKEY_CURRENT_HWPROFILE: u32 = 4;

pub const DPFLTR_IHVDRIVER_ID: u32 = 77;

/// The bug check for a corrupt kernel structure, such as a list.
pub const KERNEL_SECURITY_CHECK_FAILURE: u32 = 0x139;
/// The first parameter of [`KERNEL_SECURITY_CHECK_FAILURE`] for a `LIST_ENTRY`.
pub const FAST_FAIL_CORRUPT_LIST_ENTRY: u64 = 3;

/// The pools of `ExAllocatePool2`.
pub const POOL_FLAG_NON_PAGED: u64 = 0x40;
pub const POOL_FLAG_PAGED: u64 = 0x100;

/// The `POOL_TYPE`s of `ExAllocatePoolWithTag`, and the flags that can be added.
pub const NonPagedPool: i32 = 0;
pub const PagedPool: i32 = 1;
pub const POOL_QUOTA_FAIL_INSTEAD_OF_RAISE: i32 = 8;
pub const POOL_ZERO_ALLOCATION: i32 = 0x400;

/// The alignment of pool allocations on 64-bit Windows.
pub const MEMORY_ALLOCATION_ALIGNMENT: usize = 16;

/// The value of `DISPATCH_LEVEL`.
pub const DISPATCH_LEVEL: u8 = 2;

/// The types of timers for `KeInitializeTimerEx`: a notification timer stays signaled, a synchronization timer is
/// reset by the first wait.
pub const NotificationTimer: i32 = 0;
pub const SynchronizationTimer: i32 = 1;

/// Every processor group, for `KeQueryMaximumProcessorCountEx`.
pub const ALL_PROCESSOR_GROUPS: u16 = 0xffff;

pub const THREAD_ALL_ACCESS: u32 = 0x1f_ffff;

pub const SPIN_LOCK_ALREADY_OWNED: u32 = 0x0f;
/// The bug check for a driver that is unloaded while the kernel may still call it.
pub const DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS: u32 = 0xce;
/// The bug check for an operation at too high an IRQL.
pub const IRQL_NOT_LESS_OR_EQUAL: u32 = 0x0a;
/// The bug check for a driver that found an inconsistency in its own state.
pub const DRIVER_VIOLATION: u32 = 0x121;
