//! Keys that a driver creates, their values, and the table of `RtlQueryRegistryValues`. Microsoft's pages:
//! [1](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwcreatekey),
//! [2](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwenumeratekey),
//! [3](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-zwquerykey),
//! [4](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlqueryregistryvalues)

#[macro_use]
mod call;
mod body;

use std::{
    ffi::c_void,
    ptr::null_mut,
    sync::atomic::{AtomicU32, Ordering},
};

use body::{passes, run, stops};
use call::{NO_STRING, attributes};
use nt::{
    HANDLE, KEY_ALL_ACCESS, KEY_READ, NTSTATUS, REG_DWORD, REG_MULTI_SZ, REG_SZ,
    RTL_QUERY_REGISTRY_DIRECT, RTL_QUERY_REGISTRY_NOEXPAND, RTL_QUERY_REGISTRY_REQUIRED,
    RTL_QUERY_REGISTRY_SUBKEY, RTL_QUERY_REGISTRY_TABLE, RTL_QUERY_REGISTRY_TYPECHECK,
    STATUS_ACCESS_DENIED, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_CANNOT_DELETE,
    STATUS_INVALID_PARAMETER, STATUS_NO_MORE_ENTRIES, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_OBJECT_TYPE_MISMATCH, STATUS_SUCCESS, UNICODE_STRING,
};
use ntmodel::{Config, Kernel, Rule};

const SERVICE: &str = r"\Registry\Machine\System\CurrentControlSet\Services\driver";
const CREATED: u32 = 1;
const OPENED: u32 = 2;

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    wide(text).into_iter().flat_map(u16::to_le_bytes).collect()
}

fn string(units: &mut [u16]) -> UNICODE_STRING {
    let mut string = NO_STRING;
    nt!(RtlInitUnicodeString(&raw mut string, units.as_ptr()));
    string
}

fn create(root: HANDLE, name: &str, access: u32) -> Result<(HANDLE, u32), NTSTATUS> {
    let mut units = wide(name);
    let mut name = string(&mut units);
    let mut attributes = attributes(root, &raw mut name, nt::OBJ_KERNEL_HANDLE);
    let (mut handle, mut disposition) = (null_mut(), 0);
    let status = nt!(ZwCreateKey(
        &raw mut handle,
        access,
        &raw mut attributes,
        0,
        null_mut(),
        0,
        &raw mut disposition
    ));
    (status == STATUS_SUCCESS)
        .then_some((handle, disposition))
        .ok_or(status)
}

fn set(key: HANDLE, name: &str, kind: u32, data: &[u8]) -> NTSTATUS {
    let mut units = wide(name);
    let mut name = string(&mut units);
    let size = u32::try_from(data.len()).expect("it is short");
    let data = data.as_ptr().cast_mut().cast();
    nt!(ZwSetValueKey(key, &raw mut name, 0, kind, data, size))
}

/// The words of the information that a query returns, and its status and length.
fn words(
    length: u32,
    query: impl Fn(*mut c_void, u32, *mut u32) -> NTSTATUS,
) -> (NTSTATUS, u32, [u32; 16]) {
    let (mut buffer, mut needed) = ([0_u32; 16], 0);
    let status = query(buffer.as_mut_ptr().cast(), length, &raw mut needed);
    (status, needed, buffer)
}

#[test]
fn key_is_created_as_a_subkey_of_an_existing_key() {
    passes(|| {
        let (service, done) = create(null_mut(), SERVICE, KEY_ALL_ACCESS).expect("it exists");
        assert_eq!(done, OPENED);
        let (own, done) = create(service, "Own", KEY_ALL_ACCESS).expect("it is a subkey");
        assert_eq!(done, CREATED);
        let missing = create(service, r"Other\Own", KEY_READ);
        assert_eq!(missing.err(), Some(STATUS_OBJECT_NAME_NOT_FOUND));
        let (again, done) = create(service, "OWN", KEY_READ).expect("it exists");
        assert_eq!(done, OPENED);
        let denied = create(again, "New", KEY_READ);
        assert_eq!(denied.err(), Some(STATUS_ACCESS_DENIED));
        let status = set(again, "Value", REG_DWORD, &[0; 4]);
        assert_eq!(status, STATUS_ACCESS_DENIED);
        assert_eq!(nt!(ZwDeleteKey(service)), STATUS_CANNOT_DELETE);
        assert_eq!(nt!(ZwDeleteKey(own)), STATUS_SUCCESS);
        for key in [again, own, service] {
            nt!(ZwClose(key));
        }
    });
}

#[test]
fn keys_and_values_are_enumerated() {
    let kernel = Kernel::new(Config::default());
    run(&kernel, || {
        const BASIC: i32 = 0;
        const FULL: i32 = 2;
        let (key, _) = create(null_mut(), SERVICE, KEY_ALL_ACCESS).expect("it exists");
        let (own, _) = create(key, "Own", KEY_ALL_ACCESS).expect("it is a subkey");
        let status = set(key, "Depth", REG_DWORD, &7_u32.to_le_bytes());
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(set(key, "Text", REG_SZ, &bytes("abc")), STATUS_SUCCESS);
        let status = set(key, "DEPTH", REG_DWORD, &8_u32.to_le_bytes());
        assert_eq!(status, STATUS_SUCCESS);
        // LastWriteTime, TitleIndex, NameLength and the name of the first subkey.
        let basic = |length| {
            words(length, |buffer, length, needed| {
                nt!(ZwEnumerateKey(key, 0, BASIC, buffer, length, needed))
            })
        };
        let (status, needed, found) = basic(64);
        assert_eq!((status, needed, found[3]), (STATUS_SUCCESS, 22, 6));
        assert_eq!(found[4], u32::from(b'O') | u32::from(b'w') << 16);
        assert_eq!(basic(20).0, STATUS_BUFFER_OVERFLOW);
        assert_eq!((basic(15).0, basic(15).1), (STATUS_BUFFER_TOO_SMALL, 22));
        let other = |index, class| {
            words(64, |buffer, length, needed| {
                nt!(ZwEnumerateKey(key, index, class, buffer, length, needed))
            })
        };
        assert_eq!(other(1, BASIC).0, STATUS_NO_MORE_ENTRIES);
        assert_eq!(other(0, 3).0, STATUS_INVALID_PARAMETER, "the name");
        // SubKeys, MaxNameLen, MaxClassLen, Values, MaxValueNameLen and MaxValueDataLen.
        let (status, _, found) = words(64, |buffer, length, needed| {
            nt!(ZwQueryKey(key, FULL, buffer, length, needed))
        });
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(found[5..11], [1, 6, 0, 2, 10, 8]);
        let value = |index| {
            words(64, |buffer, length, needed| {
                nt!(ZwEnumerateValueKey(key, index, 2, buffer, length, needed))
            })
        };
        let (status, _, found) = value(1);
        // TitleIndex, Type, DataLength and the data: the one that was written last.
        assert_eq!(status, STATUS_SUCCESS);
        assert_eq!(found[1..4], [REG_DWORD, 4, 8]);
        assert_eq!(value(2).0, STATUS_NO_MORE_ENTRIES);
        nt!(ZwClose(own));
        nt!(ZwClose(key));
    });
    let text = kernel.registry_value("", "text");
    assert_eq!(text, Some((REG_SZ, bytes("abc"))));
}

const EMPTY: RTL_QUERY_REGISTRY_TABLE = RTL_QUERY_REGISTRY_TABLE {
    QueryRoutine: None,
    Flags: 0,
    Name: null_mut(),
    EntryContext: null_mut(),
    DefaultType: 0,
    DefaultData: null_mut(),
    DefaultLength: 0,
};

/// Queries the driver's key by one entry.
fn query(entry: RTL_QUERY_REGISTRY_TABLE) -> NTSTATUS {
    let path = wide("driver");
    let mut table = [entry, EMPTY];
    nt!(RtlQueryRegistryValues(
        nt::RTL_REGISTRY_SERVICES,
        path.as_ptr(),
        table.as_mut_ptr(),
        null_mut(),
        null_mut()
    ))
}

fn write(name: &str, kind: u32, data: &[u8]) {
    let (path, name) = (wide("driver"), wide(name));
    let status = nt!(RtlWriteRegistryValue(
        nt::RTL_REGISTRY_SERVICES,
        path.as_ptr(),
        name.as_ptr(),
        kind,
        data.as_ptr().cast_mut().cast(),
        u32::try_from(data.len()).expect("it is short")
    ));
    assert_eq!(status, STATUS_SUCCESS);
}

#[test]
fn value_is_stored_directly() {
    passes(|| {
        write("Depth", REG_DWORD, &7_u32.to_le_bytes());
        write("Text", REG_SZ, &bytes("abc"));
        let (mut depth, mut none) = (wide("Depth"), wide("None"));
        let mut number = 1_u32;
        let direct = |name: &mut Vec<u16>, into: *mut u32| RTL_QUERY_REGISTRY_TABLE {
            Flags: RTL_QUERY_REGISTRY_DIRECT | RTL_QUERY_REGISTRY_TYPECHECK,
            Name: name.as_mut_ptr(),
            EntryContext: into.cast(),
            DefaultType: REG_DWORD << 24,
            ..EMPTY
        };
        assert_eq!(query(direct(&mut depth, &raw mut number)), STATUS_SUCCESS);
        assert_eq!(number, 7);
        let mut default = 9_u32;
        let mut entry = direct(&mut none, &raw mut number);
        entry.DefaultType |= REG_DWORD;
        entry.DefaultData = (&raw mut default).cast();
        entry.DefaultLength = 4;
        assert_eq!(query(entry), STATUS_SUCCESS);
        assert_eq!(number, 9, "the default");
        let mut entry = direct(&mut none, &raw mut number);
        entry.Flags |= RTL_QUERY_REGISTRY_REQUIRED;
        assert_eq!(query(entry), STATUS_OBJECT_NAME_NOT_FOUND);
        let mut text = wide("Text");
        let wrong = query(direct(&mut text, &raw mut number));
        assert_eq!(wrong, STATUS_OBJECT_TYPE_MISMATCH);
        let mut found = NO_STRING;
        let entry = RTL_QUERY_REGISTRY_TABLE {
            EntryContext: (&raw mut found).cast(),
            DefaultType: REG_SZ << 24,
            ..direct(&mut text, null_mut())
        };
        assert_eq!(query(entry), STATUS_SUCCESS);
        assert_eq!((found.Length, found.MaximumLength), (6, 8));
        nt!(RtlFreeUnicodeString(&raw mut found));
        let mut units = [0_u16; 3];
        let mut short = UNICODE_STRING {
            Length: 0,
            MaximumLength: 6,
            Buffer: units.as_mut_ptr(),
        };
        let entry = RTL_QUERY_REGISTRY_TABLE {
            EntryContext: (&raw mut short).cast(),
            DefaultType: REG_SZ << 24,
            ..direct(&mut text, null_mut())
        };
        assert_eq!(query(entry), STATUS_BUFFER_TOO_SMALL);
        let nameless = direct(&mut text, &raw mut number);
        let nameless = RTL_QUERY_REGISTRY_TABLE {
            Name: null_mut(),
            QueryRoutine: Some(reported),
            ..nameless
        };
        assert_eq!(query(nameless), STATUS_INVALID_PARAMETER);
    });
}

static REPORTED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn reported(
    _: *mut u16,
    kind: u32,
    _: *mut c_void,
    length: u32,
    _: *mut c_void,
    context: *mut c_void,
) -> NTSTATUS {
    assert_eq!(context.addr(), 7);
    let digit = if kind == REG_SZ { length } else { 9 };
    let before = REPORTED.load(Ordering::SeqCst);
    REPORTED.store(before * 10 + digit, Ordering::SeqCst);
    STATUS_SUCCESS
}

#[test]
fn each_string_is_reported() {
    passes(|| {
        write("Strings", REG_MULTI_SZ, &bytes("a\0bc\0"));
        let name = wide("Strings");
        let entry = |flags| RTL_QUERY_REGISTRY_TABLE {
            QueryRoutine: Some(reported),
            Flags: flags,
            Name: name.as_ptr().cast_mut(),
            EntryContext: std::ptr::without_provenance_mut(7),
            ..EMPTY
        };
        assert_eq!(query(entry(0)), STATUS_SUCCESS);
        assert_eq!(REPORTED.swap(0, Ordering::SeqCst), 46, "with the zeros");
        assert_eq!(query(entry(RTL_QUERY_REGISTRY_NOEXPAND)), STATUS_SUCCESS);
        assert_eq!(REPORTED.swap(0, Ordering::SeqCst), 9, "the value itself");
        let all = RTL_QUERY_REGISTRY_TABLE {
            Name: null_mut(),
            ..entry(RTL_QUERY_REGISTRY_NOEXPAND)
        };
        assert_eq!(query(all), STATUS_SUCCESS);
        assert_eq!(REPORTED.swap(0, Ordering::SeqCst), 9, "the only value");
        let subkey = RTL_QUERY_REGISTRY_TABLE {
            Name: null_mut(),
            ..entry(RTL_QUERY_REGISTRY_SUBKEY)
        };
        assert_eq!(query(subkey), STATUS_INVALID_PARAMETER, "without a name");
    });
}

#[test]
fn key_is_checked_and_created_relative_to_a_standard_path() {
    passes(|| {
        let mut path = wide(r"driver\Own");
        let path = path.as_mut_ptr();
        let services = nt::RTL_REGISTRY_SERVICES;
        let missing = nt!(RtlCheckRegistryKey(services, path));
        assert_eq!(missing, STATUS_OBJECT_NAME_NOT_FOUND);
        assert_eq!(nt!(RtlCreateRegistryKey(services, path)), STATUS_SUCCESS);
        assert_eq!(nt!(RtlCheckRegistryKey(services, path)), STATUS_SUCCESS);
        let none = nt!(RtlDeleteRegistryValue(
            services,
            path,
            wide("None").as_ptr()
        ));
        assert_eq!(none, STATUS_OBJECT_NAME_NOT_FOUND);
        let other = nt!(RtlCheckRegistryKey(6, path));
        assert_eq!(other, STATUS_INVALID_PARAMETER);
    });
}

#[test]
fn registry_is_used_at_passive_level() {
    let body = || {
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        nt!(ZwFlushKey(null_mut()));
        std::hint::black_box(());
    };
    stops(body, Rule::IrqlZwPassive, 0xc4, 0x2_001f, "ZwFlushKey");
    let body = || {
        let _ = nt!(KeRaiseIrqlToDpcLevel());
        nt!(RtlCheckRegistryKey(0, null_mut::<u16>()));
        std::hint::black_box(());
    };
    stops(body, Rule::Irql, 0xc4, 0xe5, "RtlCheckRegistryKey");
}

#[test]
fn variables_of_the_environment_are_not_expanded() {
    let body = || {
        write("Path", 2, &bytes("%PATH%"));
        let mut name = wide("Path");
        query(RTL_QUERY_REGISTRY_TABLE {
            QueryRoutine: Some(reported),
            Name: name.as_mut_ptr(),
            ..EMPTY
        });
    };
    stops(body, Rule::RegistryQuery, 0, 0, "RtlQueryRegistryValues");
}
