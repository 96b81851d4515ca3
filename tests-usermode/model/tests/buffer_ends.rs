//! Buffers, arrays and strings of a driver that are longer than their memory, and pointers to no memory.
//!
//! A pool block has exactly the size that the driver requests: [Microsoft's
//! page](https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-0xd6--driver-page-fault-beyond-end-of-allocation).

#[macro_use]
mod call;
mod common;

use std::{
    ffi::c_void,
    ptr::{null, null_mut},
};

use call::{BLOCK, attributes, with_string};
use common::{found, found_in, is, load};
use nt::{
    ANSI_STRING, DEVICE_OBJECT, DRIVER_OBJECT, HANDLE, KEY_ALL_ACCESS, MDL, NTSTATUS, RTL_BITMAP,
    RTL_QUERY_REGISTRY_DIRECT, RTL_QUERY_REGISTRY_TABLE, STATUS_CANCELLED, STATUS_SUCCESS,
    UNICODE_STRING,
};
use ntmodel::{Driver, Rule, Violation};

const NAME: &str = r"\??\C:\file.txt";
const SERVICE: &str = r"\Registry\Machine\System\CurrentControlSet\Services\driver";
const LONG: u32 = 64;

/// Allocates a pool block. The tests pass a routine a length that is greater than the size of the block.
fn block<T>(size: usize) -> *mut T {
    nt!(ExAllocatePool2(nt::POOL_FLAG_NON_PAGED, size, 1)).cast()
}

/// Creates a file for synchronous I/O.
fn file() -> HANDLE {
    const ALL: u32 = 1 << 28;
    const OVERWRITE_IF: u32 = 5;
    const SYNCHRONOUS_NONALERT: u32 = 0x20;
    let (mut handle, mut answer) = (null_mut(), BLOCK);
    let status = with_string(NAME, |name| {
        let mut attributes = attributes(null_mut(), name, nt::OBJ_KERNEL_HANDLE);
        nt!(ZwCreateFile(
            &raw mut handle,
            ALL,
            &raw mut attributes,
            &raw mut answer,
            null_mut(),
            0,
            0,
            OVERWRITE_IF,
            SYNCHRONOUS_NONALERT,
            null_mut(),
            0
        ))
    });
    assert_eq!(status, STATUS_SUCCESS);
    handle
}

fn write(handle: HANDLE, buffer: *mut c_void, length: u32) {
    let (none, mut answer, mut start) = (null_mut(), BLOCK, 0);
    nt!(ZwWriteFile(
        handle,
        none,
        none,
        none,
        &raw mut answer,
        buffer,
        length,
        &raw mut start,
        null_mut()
    ));
}

fn read(handle: HANDLE, buffer: *mut c_void, length: u32, start: *mut i64) {
    let (none, mut answer) = (null_mut(), BLOCK);
    nt!(ZwReadFile(
        handle,
        none,
        none,
        none,
        &raw mut answer,
        buffer,
        length,
        start,
        null_mut()
    ));
}

/// Opens the key of the driver, with a value of four bytes.
fn key() -> HANDLE {
    let mut handle = null_mut();
    let status = with_string(SERVICE, |name| {
        let mut attributes = attributes(null_mut(), name, nt::OBJ_KERNEL_HANDLE);
        nt!(ZwOpenKey(
            &raw mut handle,
            KEY_ALL_ACCESS,
            &raw mut attributes
        ))
    });
    assert_eq!(status, STATUS_SUCCESS);
    set_value(handle, [0_u8; 20].as_mut_ptr().cast(), 20);
    handle
}

fn set_value(key: HANDLE, data: *mut c_void, size: u32) {
    with_string("value", |name| {
        nt!(ZwSetValueKey(key, name, 0, 3, data, size));
    });
}

/// Queries a value of the driver's key directly, with a default.
fn query(value: &[u8], into: *mut c_void, kind: u32, default: (*mut c_void, u32)) {
    let key = key();
    if !value.is_empty() {
        let size = u32::try_from(value.len()).expect("it is short");
        with_string("data", |name| {
            let data = value.as_ptr().cast_mut().cast();
            nt!(ZwSetValueKey(key, name, 0, kind, data, size));
        });
    }
    let [mut path, mut name] = ["driver", "data"].map(wide);
    let entry = RTL_QUERY_REGISTRY_TABLE {
        QueryRoutine: None,
        Flags: RTL_QUERY_REGISTRY_DIRECT,
        Name: name.as_mut_ptr(),
        EntryContext: into,
        DefaultType: if default.0.is_null() { 0 } else { kind },
        DefaultData: default.0,
        DefaultLength: default.1,
    };
    // SAFETY: zero is valid for every field.
    let mut table = [entry, unsafe { std::mem::zeroed() }];
    nt!(RtlQueryRegistryValues(
        1,
        path.as_mut_ptr(),
        table.as_mut_ptr(),
        null_mut(),
        null_mut()
    ));
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// A string whose `MaximumLength` is greater than its block.
fn long_string() -> UNICODE_STRING {
    UNICODE_STRING {
        Length: 0,
        MaximumLength: 64,
        Buffer: block(12),
    }
}

/// An MDL of a buffer that is longer than its block.
fn mdl() -> *mut MDL {
    nt!(IoAllocateMdl(block(12), LONG, 0, 0, null_mut()))
}

fn control(device: *mut DEVICE_OBJECT, method: u32) {
    let mut answer = BLOCK;
    let code = nt::FILE_DEVICE_UNKNOWN << 16 | 0x800 << 2 | method;
    let (input, output): (*mut c_void, *mut c_void) = match method {
        nt::METHOD_BUFFERED => (block(12), null_mut()),
        _ => (null_mut(), block(12)),
    };
    let length = |buffer: *mut c_void| if buffer.is_null() { 0 } else { LONG };
    nt!(IoBuildDeviceIoControlRequest(
        code,
        device,
        input,
        length(input),
        output,
        length(output),
        0,
        null_mut(),
        &raw mut answer
    ));
}

/// Queries a property of a device. Only AddDevice gets its physical device object.
unsafe extern "C" fn add_device(_: *mut DRIVER_OBJECT, pdo: *mut DEVICE_OBJECT) -> NTSTATUS {
    const HARDWARE_ID: i32 = 1;
    let mut needed = 0;
    nt!(IoGetDeviceProperty(
        pdo,
        HARDWARE_ID,
        LONG,
        block(12),
        &raw mut needed
    ));
    STATUS_CANCELLED
}

unsafe extern "C" fn entry(driver: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    // SAFETY: the driver object is valid in DriverEntry.
    let driver = unsafe { &mut *driver };
    // SAFETY: as above.
    unsafe { (*driver.DriverExtension).AddDevice = Some(add_device) };
    STATUS_SUCCESS
}

/// A SID with 15 parts in a block that is shorter.
fn long_sid() -> *mut c_void {
    let sid = block::<u8>(12);
    // SAFETY: the block is longer.
    unsafe { sid.cast::<[u8; 2]>().write([1, 15]) };
    sid.cast()
}

/// Writes an entry of the error log with these lengths: `DumpDataSize`, `NumberOfStrings` and `StringOffset`.
fn write_entry(device: *mut DEVICE_OBJECT, lengths: [u16; 3]) {
    let entry = nt!(IoAllocateErrorLogEntry(device.cast(), 0x34)).cast::<u16>();
    // SAFETY: the entry is longer.
    unsafe { entry.wrapping_add(1).cast::<[u16; 3]>().write(lengths) };
    // The last unit of the entry is not zero.
    // SAFETY: the entry has 26 units.
    unsafe { entry.wrapping_add(25).write(0x78) };
    nt!(IoWriteErrorLogEntry(entry.cast()));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of all routines")]
fn a_buffer_ends_in_its_block() {
    let rows: Vec<(&str, Violation)> = vec![
        ("ZwWriteFile", found(|_| write(file(), block(12), LONG))),
        // The file is empty, so no byte is written to the buffer. The length is still an error.
        (
            "ZwReadFile",
            found(|_| read(file(), block(12), LONG, null_mut())),
        ),
        (
            "ZwQueryInformationFile",
            found(|_| {
                let mut answer = BLOCK;
                nt!(ZwQueryInformationFile(
                    file(),
                    &raw mut answer,
                    block(12),
                    24,
                    5
                ));
            }),
        ),
        (
            "ZwSetInformationFile",
            found(|_| {
                let mut answer = BLOCK;
                nt!(ZwSetInformationFile(
                    file(),
                    &raw mut answer,
                    block(4),
                    8,
                    14
                ));
            }),
        ),
        (
            "IoGetDeviceProperty",
            found_in(|kernel| {
                // SAFETY: the entry point is that of a driver on `nt`.
                let driver = unsafe { Driver::load(kernel, entry) };
                let _ = driver.expect("it is loaded").add_device();
            }),
        ),
        (
            "ZwQueryValueKey",
            found(|_| {
                let (key, mut needed) = (key(), 0);
                with_string("value", |name| {
                    nt!(ZwQueryValueKey(
                        key,
                        name,
                        2,
                        block(30),
                        32,
                        &raw mut needed
                    ));
                });
            }),
        ),
        (
            "ZwEnumerateValueKey",
            found(|_| {
                let (key, mut needed) = (key(), 0);
                nt!(ZwEnumerateValueKey(
                    key,
                    0,
                    2,
                    block(30),
                    32,
                    &raw mut needed
                ));
            }),
        ),
        (
            "ZwQueryKey",
            found(|_| {
                let (key, mut needed) = (key(), 0);
                nt!(ZwQueryKey(key, 0, block(30), LONG, &raw mut needed));
            }),
        ),
        ("ZwSetValueKey", found(|_| set_value(key(), block(12), 16))),
        (
            "RtlWriteRegistryValue",
            found(|_| {
                let [path, name] = ["driver", "value"].map(wide);
                let (path, name) = (path.as_ptr(), name.as_ptr());
                nt!(RtlWriteRegistryValue(1, path, name, 3, block(12), 16));
            }),
        ),
        (
            "RtlQueryRegistryValues",
            found(|_| query(&[1, 0, 0, 0], block(2), nt::REG_DWORD, (null_mut(), 0))),
        ),
        (
            "RtlQueryRegistryValues",
            found(|_| {
                let into = block::<i32>(12);
                // SAFETY: the block is long enough for the length.
                unsafe { into.write(-32) };
                query(&[1; 20], into.cast(), nt::REG_BINARY, (null_mut(), 0));
            }),
        ),
        (
            "RtlQueryRegistryValues",
            found(|_| {
                let mut into = long_string();
                let into = (&raw mut into).cast();
                query(&[b'x', 0, 0, 0], into, nt::REG_SZ, (null_mut(), 0));
            }),
        ),
        (
            "RtlQueryRegistryValues",
            found(|_| {
                let mut into = [0_u8; 64];
                let into = into.as_mut_ptr().cast();
                query(&[], into, nt::REG_DWORD, (block(2), 4));
            }),
        ),
        (
            "RtlCreateAcl",
            found(|_| {
                nt!(RtlCreateAcl(block(12), LONG, 2));
            }),
        ),
        (
            "RtlAddAccessAllowedAce",
            found(|_| {
                let acl = block::<u8>(12);
                nt!(RtlCreateAcl(acl.cast(), 12, 2));
                // SAFETY: the block is longer.
                unsafe { acl.wrapping_add(2).write(64) };
                nt!(RtlAddAccessAllowedAce(acl.cast(), 2, 1, long_sid()));
            }),
        ),
        (
            "RtlLengthSid",
            found(|_| {
                nt!(RtlLengthSid(long_sid()));
            }),
        ),
        (
            "IoWriteErrorLogEntry",
            found(|device| write_entry(device, [16, 0, 0])),
        ),
        (
            "IoWriteErrorLogEntry",
            found(|device| write_entry(device, [0, 1, 0x32])),
        ),
        (
            "IoWriteErrorLogEntry",
            found(|device| write_entry(device, [0, 1, 0x40])),
        ),
        (
            "KeWaitForMultipleObjects",
            found(|_| {
                let (objects, none) = (block(20), null_mut());
                nt!(KeWaitForMultipleObjects(
                    3,
                    objects,
                    nt::WaitAny,
                    0,
                    0,
                    0,
                    none,
                    null_mut()
                ));
            }),
        ),
        (
            "IoBuildDeviceIoControlRequest",
            found(|device| control(device, nt::METHOD_BUFFERED)),
        ),
        (
            "IoBuildDeviceIoControlRequest",
            found(|device| control(device, nt::METHOD_OUT_DIRECT)),
        ),
        (
            "RtlSetAllBits",
            found(|_| {
                let mut bitmap = RTL_BITMAP {
                    SizeOfBitMap: 0,
                    Buffer: null_mut(),
                };
                nt!(RtlInitializeBitMap(&raw mut bitmap, block(12), 100));
                nt!(RtlSetAllBits(&raw mut bitmap));
            }),
        ),
        (
            "EtwWrite",
            found(|_| {
                let provider = nt::GUID {
                    Data1: 1,
                    Data2: 2,
                    Data3: 3,
                    Data4: [4; 8],
                };
                let mut handle = 0;
                nt!(EtwRegister(
                    &raw const provider,
                    None,
                    null_mut(),
                    &raw mut handle
                ));
                let mut data = nt::EVENT_DATA_DESCRIPTOR {
                    Ptr: block::<u8>(12).expose_provenance() as u64,
                    Size: 16,
                    Reserved: 0,
                };
                nt!(EtwWrite(handle, null(), null(), 1, &raw mut data));
            }),
        ),
        (
            "RtlIntegerToUnicodeString",
            found(|_| {
                let mut string = long_string();
                nt!(RtlIntegerToUnicodeString(1_000_000, 10, &raw mut string));
            }),
        ),
        (
            "RtlAnsiStringToUnicodeString",
            found(|_| {
                let from = ANSI_STRING {
                    Length: 16,
                    MaximumLength: 16,
                    Buffer: block(12),
                };
                let mut string = UNICODE_STRING {
                    Length: 0,
                    MaximumLength: 0,
                    Buffer: null_mut(),
                };
                nt!(RtlAnsiStringToUnicodeString(
                    &raw mut string,
                    &raw const from,
                    1
                ));
            }),
        ),
        (
            "RtlAppendUnicodeToString",
            found(|_| {
                let mut string = long_string();
                nt!(RtlAppendUnicodeToString(
                    &raw mut string,
                    wide("x").as_ptr()
                ));
            }),
        ),
        (
            "RtlGetVersion",
            found(|_| {
                let version = block::<nt::RTL_OSVERSIONINFOW>(276);
                // SAFETY: the block is long enough for the shorter structure.
                unsafe { (*version).dwOSVersionInfoSize = 284 };
                nt!(RtlGetVersion(version));
            }),
        ),
        (
            "MmBuildMdlForNonPagedPool",
            found(|_| nt!(MmBuildMdlForNonPagedPool(mdl()))),
        ),
        (
            "MmProbeAndLockPages",
            found(|_| nt!(MmProbeAndLockPages(mdl(), nt::KERNEL_MODE, 0))),
        ),
    ];
    for (routine, violation) in rows {
        let seen = (violation.rule, violation.code, violation.routine);
        assert_eq!(seen, (Rule::Pool, 0xd6, routine), "\n{violation}");
        let message = violation.to_string();
        assert!(message.contains("past the end of a block"), "{message}");
    }
}

/// Only on Linux has the model a handler for faults.
#[cfg(target_os = "linux")]
#[test]
fn a_text_ends_in_its_block() {
    let full = || {
        let text = block::<[u8; 16]>(16);
        // SAFETY: the block is as long.
        unsafe { text.write([b'x'; 16]) };
        text
    };
    let rows = [
        (
            "DbgPrint",
            found(move |_| _ = nt!(DbgPrint(c"%s".as_ptr(), full()))),
        ),
        (
            "RtlAssert",
            found(move |_| nt!(RtlAssert(full().cast(), null_mut(), 1, null_mut()))),
        ),
    ];
    for (routine, violation) in rows {
        let seen = (violation.rule, violation.code, violation.routine);
        assert_eq!(seen, (Rule::Pool, 0xd6, routine), "\n{violation}");
    }
}

/// As above.
#[cfg(target_os = "linux")]
#[test]
fn an_optional_pointer_is_null_or_valid() {
    fn nowhere<T>() -> *mut T {
        std::ptr::without_provenance_mut(0x10_0000)
    }
    fn event() -> *mut c_void {
        let event = block(24);
        nt!(KeInitializeEvent(event, 0, 0));
        event.cast()
    }
    let rows = [
        (
            "KeWaitForSingleObject",
            found(|_| _ = nt!(KeWaitForSingleObject(event(), 0, 0, 0, nowhere()))),
        ),
        (
            "KeWaitForMultipleObjects",
            found(|_| {
                let mut objects = [event()];
                let objects = objects.as_mut_ptr();
                nt!(KeWaitForMultipleObjects(
                    1,
                    objects,
                    nt::WaitAny,
                    0,
                    0,
                    0,
                    nowhere(),
                    null_mut()
                ));
            }),
        ),
        (
            "ZwReadFile",
            found(|_| read(file(), null_mut(), 0, nowhere())),
        ),
        (
            "ZwWaitForSingleObject",
            found(|_| _ = nt!(ZwWaitForSingleObject(null_mut(), 0, nowhere()))),
        ),
        (
            "RtlFreeUnicodeString",
            found(|_| nt!(RtlFreeUnicodeString(nowhere()))),
        ),
        (
            "RtlGetVersion",
            found(|_| _ = nt!(RtlGetVersion(nowhere()))),
        ),
        (
            "RtlEqualUnicodeString",
            found(|_| _ = nt!(RtlEqualUnicodeString(nowhere(), nowhere(), 0))),
        ),
    ];
    for (routine, violation) in rows {
        is(&violation, Rule::Pointer, 0x50, 0x10_0000, routine);
    }
    // A correct driver.
    let kernel = ntmodel::Kernel::new(ntmodel::Config::default());
    load(&kernel, correct);
}

unsafe extern "C" fn correct(_: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let (file, buffer, mut start) = (file(), block::<c_void>(12), 0);
    write(file, buffer, 12);
    read(file, buffer, 12, &raw mut start);
    nt!(ZwClose(file));
    let key = key();
    set_value(key, buffer, 12);
    nt!(ZwClose(key));
    nt!(RtlCreateAcl(buffer, 12, 2));
    nt!(ExFreePoolWithTag(buffer, 1));
    STATUS_CANCELLED
}
