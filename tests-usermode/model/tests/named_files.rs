//! Files that a driver opens by name, bitmaps, and UUIDs.
//!
//! Microsoft's pages: [`ZwCreateFile`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwcreatefile),
//! [`ZwReadFile`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwreadfile),
//! [`RtlSetBits`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlsetbits),
//! [`RtlFindClearBits`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlfindclearbits)

#[macro_use]
mod call;
mod common;

use std::{ffi::c_void, ptr::null_mut};

use call::{attributes, with_string};
use common::{NO_CODE, delete, passes, stops};
use nt::{
    DEVICE_OBJECT, DRIVER_OBJECT, HANDLE, IO_STATUS_BLOCK, NTSTATUS, RTL_BITMAP,
    STATUS_ACCESS_DENIED, STATUS_END_OF_FILE, STATUS_INFO_LENGTH_MISMATCH,
    STATUS_INVALID_PARAMETER, STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_OBJECT_PATH_NOT_FOUND, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Config, Kernel, Rule};

const NAME: &str = r"\??\C:\Drivers\log.txt";

const GENERIC_READ: u32 = 1 << 31;
const GENERIC_WRITE: u32 = 1 << 30;
const FILE_OPEN: u32 = 1;
const FILE_CREATE: u32 = 2;
const FILE_OVERWRITE_IF: u32 = 5;
const SYNCHRONOUS_NONALERT: u32 = 0x20;
const STANDARD_INFORMATION: i32 = 5;
const POSITION_INFORMATION: i32 = 14;

fn block() -> IO_STATUS_BLOCK {
    // SAFETY: zero is valid for every field.
    unsafe { std::mem::zeroed() }
}

fn create(
    name: &str,
    access: u32,
    disposition: u32,
    options: u32,
) -> Result<(HANDLE, u64), NTSTATUS> {
    let (mut handle, mut block) = (null_mut(), block());
    let status = with_string(name, |name| {
        let mut attributes = attributes(null_mut(), name, nt::OBJ_KERNEL_HANDLE);
        nt!(ZwCreateFile(
            &raw mut handle,
            access,
            &raw mut attributes,
            &raw mut block,
            null_mut(),
            0,
            0,
            disposition,
            options,
            null_mut(),
            0
        ))
    });
    if status < 0 {
        Err(status)
    } else {
        Ok((handle, block.Information))
    }
}

fn write(handle: HANDLE, bytes: &[u8], offset: *mut i64) -> (NTSTATUS, u64) {
    let mut block = block();
    let length = u32::try_from(bytes.len()).expect("it is small");
    let buffer = bytes.as_ptr().cast_mut().cast::<c_void>();
    let none = null_mut();
    let (key, place) = (null_mut(), &raw mut block);
    let status = nt!(ZwWriteFile(
        handle, none, none, none, place, buffer, length, offset, key
    ));
    (status, block.Information)
}

fn read(handle: HANDLE, bytes: &mut [u8], offset: *mut i64) -> (NTSTATUS, u64) {
    let mut block = block();
    let length = u32::try_from(bytes.len()).expect("it is small");
    let buffer = bytes.as_mut_ptr().cast::<c_void>();
    let none = null_mut();
    let (key, place) = (null_mut(), &raw mut block);
    let status = nt!(ZwReadFile(
        handle, none, none, none, place, buffer, length, offset, key
    ));
    (status, block.Information)
}

fn query(handle: HANDLE, class: i32, answer: &mut [u64]) -> NTSTATUS {
    let mut block = block();
    let length = u32::try_from(size_of_val(answer)).expect("it is small");
    let answer = answer.as_mut_ptr().cast();
    nt!(ZwQueryInformationFile(
        handle,
        &raw mut block,
        answer,
        length,
        class
    ))
}

#[test]
fn file_is_written_and_read() {
    passes(|device| {
        let access = GENERIC_READ | GENERIC_WRITE;
        assert_eq!(
            create(NAME, access, FILE_OPEN, 0),
            Err(STATUS_OBJECT_NAME_NOT_FOUND)
        );
        let opened = create(NAME, access, FILE_OVERWRITE_IF, SYNCHRONOUS_NONALERT);
        let (handle, result) = opened.expect("it is created");
        assert_eq!(result, u64::from(FILE_CREATE), "FILE_CREATED");
        let result = create(NAME, access, FILE_CREATE, 0);
        assert_eq!(result, Err(STATUS_OBJECT_NAME_COLLISION));
        assert_eq!(write(handle, b"one two", null_mut()), (STATUS_SUCCESS, 7));
        assert_eq!(write(handle, b"!", &mut -1), (STATUS_SUCCESS, 1));
        let mut bytes = [0; 16];
        let end = (STATUS_END_OF_FILE, 0);
        assert_eq!(read(handle, &mut bytes, null_mut()), end);
        assert_eq!(read(handle, &mut bytes, &mut 4), (STATUS_SUCCESS, 4));
        assert_eq!(&bytes[..4], b"two!");
        let mut standard = [0; 3];
        let status = query(handle, STANDARD_INFORMATION, &mut standard[..1]);
        assert_eq!(status, STATUS_INFO_LENGTH_MISMATCH);
        let status = query(handle, STANDARD_INFORMATION, &mut standard);
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(standard, [0x1000, 8, 1]);
        let mut position = [0];
        query(handle, POSITION_INFORMATION, &mut position);
        assert_eq!(position, [8]);
        nt!(ZwClose(handle));
        delete(device);
    });
}

#[test]
fn access_and_options_are_checked() {
    passes(|device| {
        let invalid = Err(STATUS_INVALID_PARAMETER);
        // FILE_READ_DATA without SYNCHRONIZE
        assert_eq!(create(NAME, 1, FILE_CREATE, SYNCHRONOUS_NONALERT), invalid);
        let both = 0x30;
        assert_eq!(create(NAME, GENERIC_READ, FILE_CREATE, both), invalid);
        let elsewhere = create(r"\Device\None\a", GENERIC_READ, FILE_OPEN, 0);
        assert_eq!(elsewhere, Err(STATUS_OBJECT_PATH_NOT_FOUND));
        let (handle, _) = create(NAME, GENERIC_READ, FILE_CREATE, 0).expect("it is created");
        let denied = (STATUS_ACCESS_DENIED, 0);
        assert_eq!(write(handle, b"a", &mut 0), denied);
        // A file that is not opened for synchronous I/O has no position.
        let none = (STATUS_INVALID_PARAMETER, 0);
        assert_eq!(read(handle, &mut [0], null_mut()), none);
        nt!(ZwClose(handle));
        delete(device);
    });
}

unsafe extern "C" fn copies(_: *mut DRIVER_OBJECT, _: *mut UNICODE_STRING) -> NTSTATUS {
    let mut bytes = [0; 8];
    let (source, _) = create(NAME, GENERIC_READ, FILE_OPEN, 0).expect("the test has written it");
    let (status, length) = read(source, &mut bytes, &mut 0);
    assert_eq!((status, length), (STATUS_SUCCESS, 5));
    let (target, _) =
        create(r"\SystemRoot\copy", GENERIC_WRITE, FILE_CREATE, 0).expect("it is new");
    write(target, &bytes[..5], &mut 0);
    nt!(ZwClose(source));
    nt!(ZwClose(target));
    nt::STATUS_CANCELLED
}

#[test]
fn test_and_driver_share_files() {
    let kernel = Kernel::new(Config::default());
    kernel.write_file(NAME, b"hello");
    common::load(&kernel, copies);
    let copy = kernel.read_file(r"\??\C:\Windows\copy");
    assert_eq!(copy.as_deref(), Some(&b"hello"[..]));
}

#[test]
fn file_is_used_at_passive_level_with_apcs_and_closed() {
    let body = |_: *mut DEVICE_OBJECT| {
        nt!(KfRaiseIrql(1));
        let _ = create(NAME, GENERIC_READ, FILE_CREATE, 0);
    };
    stops(body, Rule::IrqlZwPassive, 0xc4, 0x2_001f, "ZwCreateFile");
    let body = |_: *mut DEVICE_OBJECT| {
        nt!(KeEnterGuardedRegion());
        let _ = create(NAME, GENERIC_READ, FILE_CREATE, 0);
    };
    stops(body, Rule::IrqlZwPassive, NO_CODE, 0, "ZwCreateFile");
    let body = |device: *mut DEVICE_OBJECT| {
        let _ = create(NAME, GENERIC_READ, FILE_CREATE, 0);
        delete(device);
    };
    stops(body, Rule::Pool, 0xce, 0, "DriverEntry");
}

fn bitmap(buffer: &mut [u32], size: u32) -> RTL_BITMAP {
    let mut bitmap = RTL_BITMAP {
        SizeOfBitMap: 0,
        Buffer: null_mut(),
    };
    let words = buffer.as_mut_ptr();
    nt!(RtlInitializeBitMap(&raw mut bitmap, words, size));
    bitmap
}

#[test]
fn bits_are_set_and_found() {
    passes(|device| {
        let mut words = [u32::MAX; 2];
        let mut map = bitmap(&mut words, 40);
        let map = &raw mut map;
        nt!(RtlClearAllBits(map));
        nt!(RtlSetBits(map, 0, 3));
        nt!(RtlSetBits(map, 30, 4));
        assert_eq!(nt!(RtlNumberOfSetBits(map)), 7);
        assert_eq!(nt!(RtlNumberOfClearBits(map)), 33);
        assert_eq!(nt!(RtlAreBitsSet(map, 30, 4)), 1);
        assert_eq!(nt!(RtlAreBitsClear(map, 2, 4)), 0);
        assert_eq!(nt!(RtlFindClearBits(map, 8, 0)), 3);
        assert_eq!(nt!(RtlFindClearBits(map, 6, 24)), 24);
        // From the hint on there are not so many, but from the start on there are.
        assert_eq!(nt!(RtlFindClearBits(map, 8, 25)), 3);
        assert_eq!(nt!(RtlFindClearBits(map, 28, 0)), u32::MAX);
        assert_eq!(nt!(RtlFindClearBitsAndSet(map, 27, 0)), 3);
        assert_eq!(nt!(RtlFindSetBitsAndClear(map, 34, 0)), 0);
        assert_eq!(nt!(RtlNumberOfSetBits(map)), 0);
        // The bits past the size are the driver's.
        assert_eq!(words[1] >> 8, u32::MAX >> 8);
        delete(device);
    });
}

#[test]
fn bits_outside_of_a_bitmap_are_not_changed() {
    let body = |_: *mut DEVICE_OBJECT| {
        let mut words = [0; 2];
        let mut map = bitmap(&mut words, 40);
        nt!(RtlSetBits(&raw mut map, 38, 3));
    };
    stops(body, Rule::Bitmap, NO_CODE, 0, "RtlSetBits");
    let body = |_: *mut DEVICE_OBJECT| {
        let mut words = [0; 2];
        let mut map = bitmap(&mut words, 40);
        nt!(RtlClearBits(&raw mut map, 40, 1));
    };
    stops(body, Rule::Bitmap, NO_CODE, 0, "RtlClearBits");
}

#[test]
fn two_uuids_differ() {
    passes(|device| {
        let made = [(); 2].map(|()| {
            let mut uuid = nt::GUID {
                Data1: 0,
                Data2: 0,
                Data3: 0,
                Data4: [0; 8],
            };
            assert_eq!(nt!(ExUuidCreate(&raw mut uuid)), STATUS_SUCCESS);
            (uuid.Data1, uuid.Data4)
        });
        assert_ne!(made[0], made[1]);
        delete(device);
    });
}
