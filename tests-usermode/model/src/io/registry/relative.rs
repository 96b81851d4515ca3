//! The routines of the run-time library that take a key as a root and a path.

use std::ffi::c_void;

use nt::{
    HANDLE, NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS,
};

use super::hive;
use crate::{ex::terminated, host::Call, verifier::Rule};

/// `RTL_REGISTRY_HANDLE` and `RTL_REGISTRY_OPTIONAL`
const BY_HANDLE: u32 = 0x4000_0000;
const OPTIONAL: u32 = 0x8000_0000;

/// The roots that a path can be relative to, from `RTL_REGISTRY_ABSOLUTE` to `RTL_REGISTRY_USER`.
const PLACES: [&str; 6] = [
    "",
    r"\Registry\Machine\System\CurrentControlSet\Services",
    r"\Registry\Machine\System\CurrentControlSet\Control",
    r"\Registry\Machine\Software\Microsoft\Windows NT\CurrentVersion",
    r"\Registry\Machine\Hardware\DeviceMap",
    r"\Registry\User\.Default",
];

impl Call {
    /// Enters a routine of the run-time library that uses the registry.
    pub(super) fn enter_relative(routine: &'static str) -> Self {
        let call = Self::enter(routine);
        call.require_at_most(0, Rule::Irql, 0xe5);
        call
    }

    /// Returns the path of the key that is given by a root and a path, or by a handle.
    pub(super) fn relative(&self, place: u32, path: *const u16) -> Result<String, NTSTATUS> {
        if place & BY_HANDLE != 0 {
            let handle: HANDLE = path.cast_mut().cast();
            return self.key(handle, 0);
        }
        let root = PLACES.get((place & !OPTIONAL) as usize);
        let root = root.ok_or(STATUS_INVALID_PARAMETER)?;
        // SAFETY: the caller passes a path that ends with a zero, or NULL.
        let path = String::from_utf16_lossy(unsafe { terminated(path) });
        Ok(hive::below(root, &path))
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlwriteregistryvalue)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlWriteRegistryValue(
    place: u32,
    path: *const u16,
    name: *const u16,
    kind: u32,
    data: *mut c_void,
    length: u32,
) -> NTSTATUS {
    let call = Call::enter_relative("RtlWriteRegistryValue");
    let path = match call.relative(place, path) {
        Ok(path) => path,
        Err(status) => return status,
    };
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    // SAFETY: the caller passes a name that ends with a zero.
    let name = String::from_utf16_lossy(unsafe { terminated(name) });
    // SAFETY: the caller passes data of this length.
    let data = unsafe { call.elements(data.cast(), length as usize) };
    let is_written = call.kernel.with_hive(|hive| {
        let exists = hive.contains(&path) || hive.create(&path);
        exists && hive.set(&path, &name, kind, data)
    });
    if is_written {
        STATUS_SUCCESS
    } else {
        STATUS_OBJECT_NAME_NOT_FOUND
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtldeleteregistryvalue)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlDeleteRegistryValue(place: u32, path: *const u16, name: *const u16) -> NTSTATUS {
    let call = Call::enter_relative("RtlDeleteRegistryValue");
    let path = match call.relative(place, path) {
        Ok(path) => path,
        Err(status) => return status,
    };
    // SAFETY: the caller passes a name that ends with a zero.
    let name = String::from_utf16_lossy(unsafe { terminated(name) });
    if call.kernel.with_hive(|hive| hive.remove(&path, &name)) {
        STATUS_SUCCESS
    } else {
        STATUS_OBJECT_NAME_NOT_FOUND
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlcheckregistrykey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlCheckRegistryKey(place: u32, path: *mut u16) -> NTSTATUS {
    let call = Call::enter_relative("RtlCheckRegistryKey");
    match call.relative(place, path) {
        Ok(path) if call.kernel.with_hive(|hive| hive.contains(&path)) => STATUS_SUCCESS,
        Ok(_) => STATUS_OBJECT_NAME_NOT_FOUND,
        Err(status) => status,
    }
}

/// [Microsoft's page](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-rtlcreateregistrykey)
// SAFETY: see `irql`.
#[unsafe(no_mangle)]
extern "C" fn RtlCreateRegistryKey(place: u32, path: *mut u16) -> NTSTATUS {
    let call = Call::enter_relative("RtlCreateRegistryKey");
    let path = match call.relative(place, path) {
        Ok(path) => path,
        Err(status) => return status,
    };
    if call.kernel.fails() {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    let exists = call
        .kernel
        .with_hive(|hive| hive.contains(&path) || hive.create(&path));
    if exists {
        STATUS_SUCCESS
    } else {
        STATUS_OBJECT_NAME_NOT_FOUND
    }
}
